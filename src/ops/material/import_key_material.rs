//! ImportKeyMaterial: wrapped material into the token, by C_UnwrapKey.

use crate::keyring::WrappedMaterial;
use crate::model::{Base64Bytes, ImportToken, Time};
use crate::ops::prelude::*;

operation! {
    pub struct ImportKeyMaterial: CanImport {
        key: KeyRef,
        wrapped: Base64Bytes,
        /// None when the token is no import token of this gateway's.
        import: Option<ImportToken>,
        expires: Option<Time>,
    }
}

impl FromParams for ImportKeyMaterial {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let token: String = params.required("ImportToken")?;
        let expires: Option<i64> = params.optional("KeyMaterialExpireUnix")?;
        if expires.is_some_and(|seconds| seconds < 0) {
            return Err(ParamError::invalid("KeyMaterialExpireUnix"));
        }
        Ok(Self {
            key: params.required("KeyId")?,
            wrapped: params.required("EncryptedKeyMaterial")?,
            import: token.parse().ok(),
            // Zero stands for never, as absence does.
            expires: expires.filter(|seconds| *seconds != 0).map(Time::from_unix),
        })
    }
}

impl Operation for ImportKeyMaterial {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Generate;
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        if self.expires.is_some_and(|expires| expires <= cx.now()) {
            return Err(ApiError::invalid_parameter("KeyMaterialExpireUnix"));
        }
        let Base64Bytes(wrapped) = self.wrapped;
        let material = WrappedMaterial { import: self.import, wrapped, expires: self.expires };
        cx.keyring().import(&key, material, cx.now(), cx.execution()?).await?;
        Ok(EmptyResponse {})
    }
}
