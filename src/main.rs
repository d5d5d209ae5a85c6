//! The program: see `hsmgate --help`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// Takes the place of malloc for the PKCS#11 module too, which allocates on every call and is a
/// quarter faster with it (SoftHSM2, measured). Memory that Rust code frees is overwritten first.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

fn main() -> ExitCode {
    hsmgate::cli::run()
}
