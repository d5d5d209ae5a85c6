//! Where SoftHSM2 is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where distributions install the module; the variable names another place.
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// The PKCS#11 module of SoftHSM2.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    let named = std::env::var("SOFTHSM2_MODULE").ok();
    let mut candidates = named.as_deref().into_iter().chain(MODULES.iter().copied());
    let found = candidates.find(|path| Path::new(path).is_file());
    found.map(PathBuf::from).context("SoftHSM2 is not installed: softhsm/install.sh")
}
