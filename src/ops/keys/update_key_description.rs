//! UpdateKeyDescription: replaces a key's description. An empty text clears it, and so does none: the API
//! marks the parameter as required, but Terraform leaves it out when its user has taken it away.

use super::description;
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Done, Operation};

/// The request.
#[derive(Debug)]
pub struct UpdateKeyDescription {
    key: KeyRef,
    description: String,
}

impl FromParams for UpdateKeyDescription {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            description: description(params)?.unwrap_or_default(),
        })
    }
}

impl Permission for UpdateKeyDescription {
    const ACTION: &'static str = "kms:UpdateKeyDescription";
}

impl Changes for UpdateKeyDescription {}

impl Operation for UpdateKeyDescription {
    const NAME: &'static str = "UpdateKeyDescription";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring()
            .change(&key, Use::Annotate, |record| record.description = self.description)
            .await?;
        Ok(Done {})
    }
}
