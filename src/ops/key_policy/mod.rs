//! Key policies: documents that the owner of a key sets. They are stored as sent; `authz` evaluates
//! them.

use super::Context;
use crate::error::{ApiError, ErrorCode};
use crate::model::InvalidId;
use crate::model::policy::KeyPolicy;
use crate::model::{FromParam, MAX_KEY_POLICY_BYTES, ParamError, Params};
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    set_key_policy::SetKeyPolicy,
    get_key_policy::GetKeyPolicy,
}

/// The name of the only policy of a key.
const DEFAULT_NAME: &str = "default";

/// The text of a key policy as sent (CreateKey and SetKeyPolicy, parameter Policy), at most
/// [`MAX_KEY_POLICY_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText(String);

impl PolicyText {
    /// Returns the text if it is a valid key policy, within the steps of a decision, under which
    /// some principal in the account can set another one.
    ///
    /// # Errors
    /// `InvalidParameter`, with the position of the error.
    pub fn checked(self, cx: &Context) -> Result<String, ApiError> {
        let account = &cx.region_account().account;
        let checked = KeyPolicy::parse(&self.0).and_then(|policy| {
            policy.check_cost()?;
            policy.check_stays_manageable(account)
        });
        checked.map(|()| self.0).map_err(|fault| {
            let message = format!("The specified parameter \"Policy\" is not valid. {fault}.");
            ApiError::with_message(ErrorCode::InvalidParameter, message)
        })
    }
}

impl FromParam for PolicyText {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        if text.len() > MAX_KEY_POLICY_BYTES {
            return Err(InvalidId("key policy"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The parameter PolicyName: whether it names the only policy that exists.
pub(in crate::ops) fn names_default(params: &Params<'_>) -> Result<bool, ParamError> {
    let name: Option<String> = params.optional("PolicyName")?;
    Ok(name.is_none_or(|name| name == DEFAULT_NAME))
}

pub(in crate::ops) fn no_such_policy() -> ApiError {
    ApiError::with_message(ErrorCode::ResourceNotFound, "Policy not found.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_limited_to_32_kib() {
        let of_length = |length: usize| PolicyText::from_param(&" ".repeat(length));
        assert!(of_length(MAX_KEY_POLICY_BYTES).is_ok());
        assert!(of_length(MAX_KEY_POLICY_BYTES + 1).is_err());
    }
}
