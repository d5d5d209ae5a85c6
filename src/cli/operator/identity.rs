//! Who runs a command: the account of the host, as the kernel names it.

use std::fmt;
use std::fs;

use nix::unistd::{Uid, User};

use super::super::exit::CliError;
use crate::config::{Duty, Operators};
use crate::model::PrincipalName;

/// The uid in place of each that the user namespace of this process does not know (Linux,
/// `/proc/sys/kernel/overflowuid`).
const OVERFLOW_UID: u32 = 65_534;
/// The number of uids of a user namespace that knows all.
const ALL_UIDS: &str = "4294967295";

/// An operator, by the uid of its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Operator {
    uid: u32,
    /// The name of the account, if the system knows it.
    name: Option<String>,
}

impl Operator {
    /// The operator with a uid. Its name is looked up, which may block.
    pub(super) fn of_uid(uid: u32) -> Self {
        // Without a name the uid identifies it.
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Self { uid, name: user.map(|user| user.name) }
    }

    /// The operator that runs this process.
    pub(super) fn of_this_process() -> Self {
        Self::of_uid(rustix::process::getuid().as_raw())
    }

    /// Checks that the operator has a duty, or any. `owner` is the uid of the gateway.
    ///
    /// # Errors
    /// With what is missing.
    pub(super) fn require(
        &self,
        operators: &Operators,
        owner: u32,
        duty: Option<Duty>,
    ) -> Result<(), CliError> {
        if self.uid == OVERFLOW_UID && !knows_all_uids() {
            return Err(CliError::Refused(format!(
                "the gateway cannot identify this account, because its user namespace does not \
                 know it (uid {OVERFLOW_UID}): for systemd, set PrivateUsers=no"
            )));
        }
        if operators.permits(self.uid, self.name.as_deref(), owner, duty) {
            return Ok(());
        }
        let what = duty.map_or_else(
            || "a duty".to_owned(),
            |duty| format!("the duty {duty:?}", duty = duty.as_str()),
        );
        Err(CliError::Refused(format!(
            "the operator {self} does not have {what}: see [operators] in the configuration"
        )))
    }

    /// The user of the gateway that stands for this account: an account of the host and a user with the same
    /// name are one person. An account without a name is `uid-N`.
    pub(in super::super) fn user(&self) -> PrincipalName {
        let named = self.name.as_deref().and_then(|name| PrincipalName::user(name).ok());
        // No user has the fallback of an id that is no name.
        let unnamed = || PrincipalName::user(&format!("uid-{}", self.uid)).ok();
        named.or_else(unnamed).unwrap_or_else(PrincipalName::root)
    }
}

/// Whether the system knows an account with this name. Looking it up may block.
pub(in super::super) fn is_account(name: &str) -> bool {
    User::from_name(name).is_ok_and(|user| user.is_some())
}

/// Whether every uid has its own number in the user namespace of this process.
fn knows_all_uids() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some(ALL_UIDS)
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid:{}", self.uid)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}
