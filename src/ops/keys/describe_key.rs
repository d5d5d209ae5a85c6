//! DescribeKey: what is known of a key.

use serde::Serialize;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, KeyMetadata, Operation};

/// The request.
#[derive(Debug)]
pub struct DescribeKey {
    key: KeyRef,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedKey {
    key_metadata: KeyMetadata,
}

impl FromParams for DescribeKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for DescribeKey {
    const ACTION: &'static str = "kms:DescribeKey";
}

impl Operation for DescribeKey {
    const NAME: &'static str = "DescribeKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = DescribedKey;

    async fn run(self, cx: &Context) -> Result<DescribedKey, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        Ok(DescribedKey { key_metadata: KeyMetadata::in_full(key.record(), cx.place()) })
    }
}
