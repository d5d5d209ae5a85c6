//! CreateKeyVersion: a new version of a key, the primary one from now on if the key is symmetric.

use super::{KeyVersion, OneVersion};
use crate::audit::ActionEffect;
use crate::authz::{Changes, Permission};
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, ParamError, Params};
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct CreateKeyVersion {
    key: KeyRef,
}

impl FromParams for CreateKeyVersion {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")? })
    }
}

impl Permission for CreateKeyVersion {
    const ACTION: &'static str = "kms:CreateKeyVersion";
}

impl Changes for CreateKeyVersion {}

impl Operation for CreateKeyVersion {
    const NAME: &'static str = "CreateKeyVersion";
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const LOAD: Load = Load::Generate;
    type Output = OneVersion;

    async fn run(self, cx: &Context) -> Result<OneVersion, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().add_version(&key, cx.now(), cx.budget()).await?;
        cx.note_version(version.id);
        Ok(OneVersion { key_version: KeyVersion::of(&version, key.record()) })
    }
}
