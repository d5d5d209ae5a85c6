//! Which accounts of the host may run which commands through the running gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::text_form::is_ascii_name;

/// The socket for commands, in the state directory.
const SOCKET: &str = "operator.sock";
/// Maximum length of the path of a Unix socket: `sun_path` of Linux without its final zero byte.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Maximum length of the name of an account (`useradd`).
const MAX_NAME_BYTES: usize = 32;

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Take rights away.
    Revoke,
    /// Give rights: users, roles, AccessKeys, temporary credentials.
    Principals,
    /// Change aliases, apply keys and secrets of seed files, and encrypt data keys of secrets again.
    Keys,
    /// Release and refuse requests for approvals.
    Approvals,
    /// Back the database up, and replace, rebuild or sign it.
    Restore,
    /// Export the audit, and create reports.
    Audit,
}

impl Duty {
    /// Every duty.
    pub const ALL: [Self; 6] =
        [Self::Revoke, Self::Principals, Self::Keys, Self::Approvals, Self::Restore, Self::Audit];

    /// Its name, which is that of its setting in `[operators]`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Principals => "principals",
            Self::Keys => "keys",
            Self::Approvals => "approvals",
            Self::Restore => "restore",
            Self::Audit => "audit",
        }
    }

    /// Its setting.
    pub(super) const fn setting(self) -> &'static str {
        match self {
            Self::Revoke => "operators.revoke",
            Self::Principals => "operators.principals",
            Self::Keys => "operators.keys",
            Self::Approvals => "operators.approvals",
            Self::Restore => "operators.restore",
            Self::Audit => "operators.audit",
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account of the host, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    Uid(u32),
    Name(String),
}

impl Account {
    /// Parses a uid or a user name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Uid);
        }
        is_ascii_name(text, MAX_NAME_BYTES, b".-_$").then(|| Self::Name(text.to_owned()))
    }

    /// Whether this is the account with a uid and a name.
    fn is(&self, uid: u32, name: Option<&str>) -> bool {
        match self {
            Self::Uid(wanted) => *wanted == uid,
            Self::Name(wanted) => name == Some(wanted),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => uid.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The socket of the running gateway for commands, and the duties of operators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators {
    /// The socket. `None` if the gateway opens none.
    pub socket: Option<PathBuf>,
    pub(super) duties: BTreeMap<Duty, Vec<Account>>,
}

/// The path of a socket that the system does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} has {} bytes, and the path of a Unix socket has at most {MAX_SOCKET_PATH_BYTES}: set a shorter one, \
     or \"\" for no socket", .0.display(), .0.as_os_str().len()
)]
pub struct SocketPathTooLong(PathBuf);

impl Operators {
    /// The path of the socket in a state directory.
    pub fn default_socket(state_directory: &Path) -> PathBuf {
        state_directory.join(SOCKET)
    }

    /// Checks the length of a path.
    ///
    /// # Errors
    /// [`SocketPathTooLong`].
    pub fn check_socket(path: &Path) -> Result<(), SocketPathTooLong> {
        let is_short = path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES;
        is_short.then_some(()).ok_or_else(|| SocketPathTooLong(path.to_owned()))
    }

    /// Whether the configuration assigns any duty.
    pub fn has_duties(&self) -> bool {
        !self.duties.is_empty()
    }

    /// The user names with a duty.
    pub fn names(&self) -> BTreeSet<&str> {
        let accounts = self.duties.values().flatten();
        accounts
            .filter_map(|account| match account {
                Account::Name(name) => Some(name.as_str()),
                Account::Uid(_) => None,
            })
            .collect()
    }

    /// The accounts that have both duties, as the configuration names them.
    pub fn accounts_with(&self, one: Duty, other: Duty) -> Vec<String> {
        let of = |duty| self.duties.get(&duty).map(Vec::as_slice).unwrap_or_default();
        let both = of(one).iter().filter(|account| of(other).contains(account));
        both.map(ToString::to_string).collect()
    }

    /// Whether an account may run a command that needs this duty; without one, it must have any.
    /// `owner` is the uid of the gateway, which has all duties together with root if the
    /// configuration assigns none.
    pub fn permits(&self, uid: u32, name: Option<&str>, owner: u32, duty: Option<Duty>) -> bool {
        if !self.has_duties() {
            return uid == 0 || uid == owner;
        }
        let has = |accounts: &Vec<Account>| accounts.iter().any(|account| account.is(uid, name));
        match duty {
            Some(duty) => self.duties.get(&duty).is_some_and(has),
            None => self.duties.values().any(has),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(duties: &[(Duty, &[&str])]) -> Operators {
        let duties = duties.iter().map(|(duty, names)| {
            (*duty, names.iter().map(|name| Account::parse(name).unwrap()).collect())
        });
        Operators { socket: None, duties: duties.collect() }
    }

    #[test]
    fn without_duties_only_the_account_of_the_gateway_and_root_may_run_commands() {
        let operators = Operators::default();
        for duty in Duty::ALL.map(Some).into_iter().chain([None]) {
            assert!(operators.permits(0, None, 997, duty));
            assert!(operators.permits(997, None, 997, duty));
            assert!(!operators.permits(1000, Some("alice"), 997, duty));
        }
    }

    #[test]
    fn a_duty_is_given_to_uids_and_names_and_to_no_others() {
        let operators =
            operators(&[(Duty::Revoke, &["alice", "1001"]), (Duty::Approvals, &["bob"])]);
        let revokes = |uid, name| operators.permits(uid, name, 997, Some(Duty::Revoke));
        assert!(revokes(1000, Some("alice")) && revokes(1001, None));
        assert!(!revokes(1000, None) && !revokes(1002, Some("bob")));
        assert!(!revokes(0, Some("root")) && !revokes(997, Some("hsmgate")));
        assert!(operators.permits(1002, Some("bob"), 997, Some(Duty::Approvals)));
        assert!(!operators.permits(1000, Some("alice"), 997, Some(Duty::Principals)));
        assert!(operators.permits(1002, Some("bob"), 997, None));
        assert!(!operators.permits(0, Some("root"), 997, None));
    }

    #[test]
    fn an_account_is_a_uid_or_a_name() {
        assert_eq!(Account::parse("1000"), Some(Account::Uid(1000)));
        assert_eq!(Account::parse("alice"), Some(Account::Name("alice".to_owned())));
        for text in ["", "4294967296", "a b", "alice:x", &"a".repeat(33)] {
            assert_eq!(Account::parse(text), None, "{text:?}");
        }
    }
}
