//! SetDeletionProtection: whether a key may be scheduled for deletion.

use super::description_in;
use crate::keyring::KeyAction;
use crate::model::key_ref::KeyName;
use crate::ops::prelude::*;

const ARN: &str = "ProtectedResourceArn";

operation! {
    pub struct SetDeletionProtection: CanManage {
        /// None when the instance is meant.
        key: Option<KeyRef>,
        /// Why the key must not be deleted; none to let it be.
        protection: Option<String>,
    }
}

impl FromParams for SetDeletionProtection {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let is_wanted: bool = params.required("EnableDeletionProtection")?;
        let description = description_in(params, "DeletionProtectionDescription")?;
        Ok(Self {
            key: protected(params)?,
            protection: is_wanted.then(|| description.unwrap_or_default()),
        })
    }
}

/// The one resource that is named: a key by its id or its ARN, or the instance.
fn protected(params: &Params<'_>) -> Result<Option<KeyRef>, ParamError> {
    let by_id: Option<KeyRef> = params.optional("KeyId")?;
    let by_arn: Option<KeyRef> = params.optional(ARN)?;
    let instance: Option<String> = params.optional("KmsInstanceId")?;
    match (by_id, by_arn, instance) {
        (Some(key), None, None) => Ok(Some(key)),
        (None, Some(key), None)
            if key.region_account.is_some() && matches!(key.name, KeyName::Id(_)) =>
        {
            Ok(Some(key))
        }
        (None, None, Some(_)) => Ok(None),
        (None, None, None) => Err(ParamError::Missing(ARN.into())),
        _ => Err(ParamError::invalid(ARN)),
    }
}

impl Operation for SetDeletionProtection {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        // The instance cannot be released through the API at all.
        let key = self.key.ok_or_else(|| {
            ApiError::unsupported_parameter("KmsInstanceId", "only keys are protected here")
        })?;
        let key = cx.key::<Self>(&key)?;
        cx.keyring()
            .change(&key, KeyAction::Annotate, cx.execution()?, |record| {
                record.deletion_protection = self.protection;
            })
            .await?;
        Ok(EmptyResponse {})
    }
}
