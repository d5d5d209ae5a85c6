//! The parameters of a session.

use crate::authz::{AssumedSession, wrong_duration};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::Policy;
use crate::model::{
    DEFAULT_MAX_SESSION_SECONDS, MAX_SESSION_SECONDS, MIN_SESSION_SECONDS, SessionName,
};

/// The longest session policy in bytes (STS, AssumeRole, Policy).
const MAX_POLICY_BYTES: usize = 2048;

/// Checks the parameters of a session, before it is known which role and whether it may be assumed.
///
/// # Errors
/// `InvalidParameter.DurationSeconds`, `InvalidParameter.PolicySize`,
/// `InvalidParameter.PolicyGrammar`.
pub(super) fn session(
    name: SessionName,
    seconds: Option<u32>,
    policy: Option<String>,
) -> Result<AssumedSession, ApiError> {
    let seconds = seconds.map_or(DEFAULT_MAX_SESSION_SECONDS, i64::from);
    if !(MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&seconds) {
        return Err(wrong_duration(MAX_SESSION_SECONDS));
    }
    if let Some(text) = &policy {
        if text.len() > MAX_POLICY_BYTES {
            return Err(ErrorCode::InvalidPolicySize.into());
        }
        let checked = Policy::parse(text).and_then(|policy| policy.check_cost());
        checked.map_err(|_fault| ErrorCode::InvalidPolicyGrammar)?;
    }
    Ok(AssumedSession { name, seconds, policy })
}
