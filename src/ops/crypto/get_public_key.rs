//! GetPublicKey: returns the public key of a key pair, as PEM.

use crate::model::VersionRef;
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:GetPublicKey";
    pub struct GetPublicKey: CanReadPublicKey -> PublicKeyOutput {
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
    }

    /// The response.
    pub struct PublicKeyOutput {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        public_key: String,
    }
}

impl Operation for GetPublicKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<PublicKeyOutput, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().public_half_version(&key, version)?;
        cx.note_version(version.id());
        Ok(PublicKeyOutput {
            key_id: key.record().id,
            key_version_id: version.id(),
            public_key: cx.keyring().public_key_pem(&version, cx.execution()?).await?,
        })
    }
}
