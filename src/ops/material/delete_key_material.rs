//! DeleteKeyMaterial: takes imported material out of the token.

use crate::audit::ActionEffect;
use crate::authz::{Imports, Permission};
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Done, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct DeleteKeyMaterial {
    key: KeyRef,
}

impl FromParams for DeleteKeyMaterial {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for DeleteKeyMaterial {
    const ACTION: &'static str = "kms:DeleteKeyMaterial";
}

impl Imports for DeleteKeyMaterial {}

impl Operation for DeleteKeyMaterial {
    const NAME: &'static str = "DeleteKeyMaterial";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const LOAD: Load = Load::Generate;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().delete_material(&key, cx.budget()).await?;
        Ok(Done {})
    }
}
