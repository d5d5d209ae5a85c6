//! What the process does to itself before it holds a secret.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

use super::exit::CliError;

/// No core dump, and no look into the memory by other processes of the same user: PINs and the
/// secrets of AccessKeys stand in it.
///
/// # Errors
/// When the system refuses.
pub(super) fn protect_memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Keeps all memory of the process out of swap, where the system lets it lock as much as it wants;
/// whether that is so. With a limit it is not tried: beyond it, memory is refused, and the process
/// ends.
///
/// All of it, since secrets are not only in our own buffers but in those of the PKCS#11 module, of
/// TLS and of the HTTP library. Pages are locked as they are first used.
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

/// Refuses to go on as root, unless that was asked for.
///
/// # Errors
/// As root.
pub(super) fn refuse_root(is_allowed: bool) -> Result<(), CliError> {
    if geteuid().is_root() && !is_allowed {
        return Err(CliError::usage(
            "hsmgate needs no root rights and does not serve with them: start it as a user of its \
             own (packaging/systemd/hsmgate.service), or ask for it with --allow-root",
        ));
    }
    Ok(())
}
