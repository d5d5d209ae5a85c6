//! SetDeletionProtection: sets whether a key may be scheduled for deletion.

use super::description_in;
use crate::model::key_ref::KeyName;
use crate::ops::prelude::*;

const ARN: &str = "ProtectedResourceArn";

operation! {
    pub struct SetDeletionProtection: CanManage {
        /// The reason for the protection; `None` to remove it.
        protection: Option<String> = with(protection),
        /// `None` for the instance.
        key: Option<KeyRef> = with(protected),
    }
}

fn protection(params: &Params<'_>) -> Result<Option<String>, ParamError> {
    let is_wanted: bool = params.required("EnableDeletionProtection")?;
    let description = description_in(params, "DeletionProtectionDescription")?;
    Ok(is_wanted.then(|| description.unwrap_or_default()))
}

/// The only resource that is named: a key by its id or its ARN, or the instance.
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

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        // The instance cannot be released through the API at all.
        let key = self.key.ok_or_else(|| {
            ApiError::unsupported_parameter("KmsInstanceId", "only keys can be protected")
        })?;
        let protection = self.protection;
        cx.change::<Self>(&key, KeyAction::Annotate, |key| key.deletion_protection = protection)
            .await
    }
}
