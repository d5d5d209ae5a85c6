//! GetKeyPolicy: a key's policy as its owner wrote it, or the one that holds without.

use serde::Serialize;

use super::{names_default, no_such_policy};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::policy::KeyPolicy as Document;
use crate::model::{FromParams, KeyRef, ParamError, Params};
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
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = KeyPolicy;

    async fn run(self, cx: &Context) -> Result<KeyPolicy, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        let own = key.record().policy.clone();
        Ok(KeyPolicy { policy: own.unwrap_or_else(|| Document::default_text(&cx.place().account)) })
    }
}
