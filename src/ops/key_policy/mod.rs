//! The key policy: a document that the owner of a key writes. It is kept here as it was written;
//! what follows from it is decided elsewhere.

pub mod get_key_policy;
pub mod set_key_policy;

use crate::error::{ApiError, ErrorCode};
use crate::model::id::InvalidId;
use crate::model::policy::KeyPolicy;
use crate::model::{AccountId, FromParam, ParamError, Params};

/// The one policy that a key has.
const DEFAULT_NAME: &str = "default";

/// A key policy as sent (CreateKey and SetKeyPolicy, parameter Policy).
#[derive(Debug, Clone)]
pub struct SentPolicy {
    text: String,
    policy: KeyPolicy,
}

impl SentPolicy {
    /// The text as its owner wrote it, to be kept for a key of `account`.
    ///
    /// # Errors
    /// `InvalidParameter` when nobody in the account could ever set another one.
    pub fn into_text(self, account: &AccountId) -> Result<String, ApiError> {
        match self.policy.keeps_an_owner(account) {
            Ok(()) => Ok(self.text),
            Err(fault) => {
                let message = format!("The specified parameter \"Policy\" is not valid: {fault}.");
                Err(ApiError::with_message(ErrorCode::InvalidParameter, message))
            }
        }
    }
}

impl FromParam for SentPolicy {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let policy = KeyPolicy::parse(text).map_err(|_fault| InvalidId("key policy"))?;
        Ok(Self { text: text.to_owned(), policy })
    }
}

/// The parameter PolicyName: whether the policy that is asked for can be there.
fn names_default(params: &Params<'_>) -> Result<bool, ParamError> {
    let name: Option<String> = params.optional("PolicyName")?;
    Ok(name.is_none_or(|name| name == DEFAULT_NAME))
}

fn no_such_policy() -> ApiError {
    ApiError::with_message(ErrorCode::ResourceNotFound, "Policy not found.")
}
