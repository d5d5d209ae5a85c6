//! The tests of keys and their use, once more on tokens with the manners of production HSMs.
//!
//! A test is left out where a manner takes away what it is about.

use std::env;
use std::process::Command;

use fault_token::MANNERS_VARIABLE;

/// The modules of the tests.
const MODULES: [&str; 4] = ["cipher::", "import::", "key_pairs::", "objects::"];

macro_rules! manners {
    ($($name:ident: $manners:literal $(without [$($test:literal),+])?;)+) => {
        $(#[test]
        fn $name() {
            run($manners, &[$($($test),+)?]);
        })+
    };
}

manners! {
    iv_written_back: "iv-written-back";
    iv_written_back_by_encrypt: "iv-written-back-by-encrypt";
    iv_appended: "iv-appended-12";
    iv_of_16_bytes_appended: "iv-appended-16";
    iv_in_front: "iv-in-front-12";
    message_calls_only: "message-calls-only";
    cloud_hsm: "cloud-hsm" without ["objects::a_destroyed_key_stops_working_with_its_copy"];
    no_copies: "no-copy-object" without ["objects::a_destroyed_key_stops_working_with_its_copy"];
    no_changes: "no-set-attribute-value";
    no_session_objects: "no-session-objects"
        without ["objects::a_destroyed_key_stops_working_with_its_copy"];
    unwrap_template_ignored: "unwrap-template-ignored";
    attributes_refused: "attribute-refused=CKA_MODIFIABLE:CKR_ATTRIBUTE_VALUE_INVALID,\
        attribute-refused=CKA_COPYABLE:CKR_TEMPLATE_INCONSISTENT"
        without ["objects::a_destroyed_key_stops_working_with_its_copy"];
    pair_attributes_required: "pair-requires=CKA_SUBJECT";
    modulus_bits_not_told: "attribute-not-told=CKA_MODULUS_BITS";
    short_random_draws: "random-limit=1024";
    one_code_for_bad_ciphertexts: "decrypt-error=CKR_FUNCTION_FAILED";
    bad_ciphertexts_are_bad_arguments: "decrypt-error=CKR_ARGUMENTS_BAD";
    few_sessions: "session-limit=6:CKR_SESSION_COUNT";
    zero_filled_texts: "zero-filled-texts,serial-number=0";
    attribute_not_kept: "attribute-ignored=CKA_COPYABLE";
    foreign_objects_and_limits: "foreign-objects,key-limit=100000:CKR_KEY_EXHAUSTED,\
        object-limit=1000:CKR_DEVICE_MEMORY"
        without ["key_pairs::a_private_key_does_only_what_its_usage_says"];
    no_ecb: "no-mechanism=CKM_AES_ECB,mechanism-fails=CKM_AES_CBC:CKR_MECHANISM_INVALID,\
        no-mechanism=CKM_AES_CMAC"
        without ["import::imported_material_becomes_a_closed_key_that_works"];
    message_calls_alone: "message-calls,mechanism-fails=CKM_AES_GCM:CKR_MECHANISM_INVALID";
    no_small_aes_and_large_rsa_keys: "aes-256-only,rsa-limit=2048,label-limit=92"
        without [
            "cipher::what_is_encrypted_decrypts_with_its_data_and_with_no_other",
            "key_pairs::rsa_signatures_are_good_elsewhere_and_here"
        ];
    no_import: "unwrap-template-ignored,no-copy-object,no-set-attribute-value"
        without ["import::", "objects::a_destroyed_key_stops_working_with_its_copy"];
    no_curve: "no-secp256k1=CKR_GENERAL_ERROR"
        without ["key_pairs::ecdsa_signatures_are_good_elsewhere_and_here"];
}

fn run(manners: &str, left_out: &[&str]) {
    let output = Command::new(env::current_exe().unwrap())
        .args(MODULES)
        .args(left_out.iter().flat_map(|test| ["--skip", test]))
        .env(MANNERS_VARIABLE, manners)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "behind {manners}:\n{text}");
    // The filters name the tests.
    assert!(!text.contains(" 0 passed"), "no test behind {manners}:\n{text}");
}
