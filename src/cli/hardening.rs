//! What the process does to itself before it holds a secret.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};

use super::exit::Complaint;

/// No core dump, and no look into the memory by other processes of the same user: PINs and the
/// secrets of AccessKeys stand in it.
///
/// # Errors
/// When the system refuses.
pub(super) fn close_memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Refuses to go on as root, unless that was asked for.
///
/// # Errors
/// As root.
pub(super) fn refuse_root(is_allowed: bool) -> Result<(), Complaint> {
    if geteuid().is_root() && !is_allowed {
        return Err(Complaint::usage(
            "hsmgate needs no root rights and does not serve with them: start it as a user of its \
             own (packaging/systemd/hsmgate.service), or ask for it with --allow-root",
        ));
    }
    Ok(())
}
