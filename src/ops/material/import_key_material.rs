//! ImportKeyMaterial: imports wrapped material into the token, by C_UnwrapKey.

use crate::keyring::WrappedMaterial;
use crate::model::{Base64Bytes, ImportToken, Time};
use crate::ops::prelude::*;

operation! {
    pub struct ImportKeyMaterial: CanImport {
        /// `None` if it is not an import token of this gateway.
        import: Option<ImportToken> =
            with(|params| Ok(params.required::<String>("ImportToken")?.parse().ok())),
        expires: Option<Time> = with(expires),
        key: KeyRef = "KeyId",
        wrapped: Base64Bytes = "EncryptedKeyMaterial",
    }
}

/// Zero means never, like absence.
fn expires(params: &Params<'_>) -> Result<Option<Time>, ParamError> {
    match params.optional("KeyMaterialExpireUnix")? {
        None | Some(0) => Ok(None),
        Some(..0) => Err(ParamError::invalid("KeyMaterialExpireUnix")),
        Some(seconds) => Ok(Some(Time::from_unix(seconds))),
    }
}

impl Operation for ImportKeyMaterial {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Generate;

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
