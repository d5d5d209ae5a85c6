//! GetKeyPolicy: a key's policy as its owner wrote it, or the one that holds without.

use serde::Serialize;
use serde_json::json;

use super::{names_default, no_such_policy};
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{AccountId, FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct GetKeyPolicy {
    key: KeyRef,
    is_default: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPolicy {
    policy: String,
}

impl FromParams for GetKeyPolicy {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, is_default: names_default(params)? })
    }
}

impl Permission for GetKeyPolicy {
    const ACTION: &'static str = "kms:GetKeyPolicy";
}

impl Operation for GetKeyPolicy {
    const NAME: &'static str = "GetKeyPolicy";
    type Output = KeyPolicy;

    async fn run(self, cx: &Context) -> Result<KeyPolicy, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        let own = key.record().policy.clone();
        Ok(KeyPolicy { policy: own.unwrap_or_else(|| default_policy(&cx.place().account)) })
    }
}

/// The policy of a key that has none of its own: its account decides by other policies alone.
fn default_policy(account: &AccountId) -> String {
    json!({
        "Version": "1",
        "Statement": [{
            "Sid": "kms default key policy",
            "Effect": "Allow",
            "Principal": {"RAM": [format!("acs:ram::{account}:*")]},
            "Action": ["kms:*"],
            "Resource": ["*"],
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::PolicyText;
    use super::*;
    use crate::model::FromParam;

    #[test]
    fn the_default_policy_is_one_that_could_be_set() {
        let account = "1234567890123456".parse().unwrap();
        assert!(PolicyText::from_param(&default_policy(&account)).is_ok());
    }
}
