//! What a principal has beside its name and its policies.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::policy::TrustPolicy;
use super::text_form::text_type;
use super::{PrincipalKind, PrincipalName, Time, random};

/// The digits of an id after the first.
const DIGITS: u128 = 100_000_000_000_000_000;

/// The shortest validity of a session in seconds (STS, AssumeRole, DurationSeconds).
pub const MIN_SESSION_SECONDS: i64 = 900;
/// The longest validity that a role allows if nothing else is set (RAM, CreateRole).
pub const DEFAULT_MAX_SESSION_SECONDS: i64 = 3600;
/// The longest validity that a role can allow.
pub const MAX_SESSION_SECONDS: i64 = 43_200;

text_type! {
    /// The id of a user or a role: 18 digits. It is not used again for a principal with the same name.
    PrincipalId, "principal id", |text| (1..=20).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a principal has beside its name and its policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrincipalDetails {
    /// Its id.
    pub id: PrincipalId,
    /// Who may assume it, for a role. `None`: no one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trust: Option<TrustPolicy>,
    /// The longest validity of its sessions in seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_session_seconds: Option<i64>,
    /// Sessions that began before this time have ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sessions_from: Option<Time>,
}

impl PrincipalDetails {
    /// Those of a new principal.
    pub fn new(name: &PrincipalName) -> Self {
        Self::with_number(name, random::uuid().as_u128())
    }

    /// Those of a principal of an earlier program, which stored none. The id follows from name and
    /// time of creation.
    pub fn of_earlier(name: &PrincipalName, created: Time) -> Self {
        let hash = digest(&SHA256, format!("{name} {}", created.unix()).as_bytes());
        let number = hash
            .as_ref()
            .iter()
            .fold(0_u128, |sum, byte| sum.wrapping_mul(256).wrapping_add(u128::from(*byte)));
        Self::with_number(name, number)
    }

    fn with_number(name: &PrincipalName, number: u128) -> Self {
        let first = if name.kind() == PrincipalKind::Role { 3 } else { 2 };
        let id = PrincipalId(format!("{first}{:017}", number % DIGITS).into());
        Self { id, trust: None, max_session_seconds: None, sessions_from: None }
    }

    /// The longest validity of its sessions in seconds.
    pub fn max_session(&self) -> i64 {
        self.max_session_seconds.unwrap_or(DEFAULT_MAX_SESSION_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_eighteen_digits_and_a_new_principal_never_has_that_of_an_old_one() {
        let name = PrincipalName::role("ci").unwrap();
        let ids = [
            PrincipalDetails::new(&name).id,
            PrincipalDetails::new(&name).id,
            PrincipalDetails::of_earlier(&name, Time::from_unix(1)).id,
            PrincipalDetails::of_earlier(&name, Time::from_unix(2)).id,
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(id.as_str().len() == 18 && id.as_str().starts_with('3'), "{id}");
            assert!(!ids[..index].contains(id), "{id}");
        }
        let user = PrincipalDetails::new(&PrincipalName::user("ci").unwrap());
        assert!(user.id.as_str().starts_with('2'));
        assert_eq!(
            PrincipalDetails::of_earlier(&name, Time::from_unix(1)).id,
            PrincipalDetails::of_earlier(&name, Time::from_unix(1)).id
        );
    }
}
