#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hsmgate_fuzz::instance_body(data));
