//! The answer to a call that needs an approval.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};

use crate::error::{ApiError, ErrorCode};
use crate::model::{Approval, ApprovalState};

/// SHA-256 of parameters, in hexadecimal digits. Each is preceded by its length, so that different
/// lists have different texts.
pub(super) fn hash_of(parameters: &[&str]) -> String {
    let mut hash = Context::new(&SHA256);
    for parameter in parameters {
        hash.update(format!("{}:", parameter.len()).as_bytes());
        hash.update(parameter.as_bytes());
    }
    let mut text = String::new();
    for byte in hash.finish().as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether the call is permitted.
///
/// # Errors
/// `Forbidden.NoPermission`, with the way to an approval.
pub(super) fn outcome(approval: &Approval) -> Result<(), ApiError> {
    let Approval { id, expires, .. } = approval;
    let what = match approval.state {
        ApprovalState::Used => return Ok(()),
        ApprovalState::Refused => format!("An operator has refused it (request {id})."),
        ApprovalState::Requested | ApprovalState::Released => format!(
            "It needs the approval of an operator, who can release it until {expires} with: \
             hsmgate approval release {id} --config FILE. Then repeat the same call, once."
        ),
    };
    let code = ErrorCode::NoPermission;
    Err(ApiError::with_message(code, format!("{} {what}", code.message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_parameters_have_different_hashes() {
        let lists: [&[&str]; 5] = [&[], &[""], &["ab"], &["a", "b"], &["1:a"]];
        let mut hashes: Vec<_> = lists.into_iter().map(hash_of).collect();
        assert!(hashes.iter().all(|hash| hash.len() == 64));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), lists.len());
    }
}
