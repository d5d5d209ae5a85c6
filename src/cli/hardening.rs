//! Hardens the process before it holds a secret.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

use super::exit::CliError;

/// Disables core dumps, and access to the memory by other processes of the same user: it contains PINs
/// and the secrets of AccessKeys.
///
/// # Errors
/// When the system refuses.
pub(super) fn protect_memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Keeps all memory of the process out of swap, if the system allows locking without a limit; returns
/// whether it does. With a limit it is not attempted: above the limit, allocations fail and the process
/// ends.
///
/// It locks all memory, because the PKCS#11 module, TLS and the HTTP library also hold secrets. Pages
/// are locked when they are first used.
pub(super) fn lock_memory() -> bool {
    let has_capability =
        capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::IPC_LOCK));
    if !has_capability {
        let unlimited = Rlimit { current: None, maximum: None };
        let is_limited = getrlimit(Resource::Memlock).maximum.is_some();
        if is_limited || setrlimit(Resource::Memlock, unlimited).is_err() {
            return false;
        }
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

/// Refuses to serve as root, unless it is allowed.
///
/// # Errors
/// As root.
pub(super) fn refuse_root(is_allowed: bool) -> Result<(), CliError> {
    if geteuid().is_root() && !is_allowed {
        return Err(CliError::usage(
            "hsmgate does not need root and refuses to serve as root: start it as a separate user \
             (packaging/systemd/hsmgate.service), or allow root with --allow-root",
        ));
    }
    Ok(())
}
