//! AsymmetricSign: signs a digest with the private key of a key pair.

use crate::model::algorithm::{Digest, SignatureAlgorithm};
use crate::model::{Base64Bytes, VersionRef};
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:Sign";
    pub struct AsymmetricSign: CanSign -> Signed {
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
        algorithm: SignatureAlgorithm = "Algorithm",
        digest: Digest = "Digest",
    }

    /// The response.
    pub struct Signed {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        value: Base64Bytes,
    }
}

impl Operation for AsymmetricSign {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Signed, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().signing_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let value = cx.keyring().sign(&version, self.digest, cx.execution()?).await?;
        Ok(Signed {
            key_id: key.record().id,
            key_version_id: version.id(),
            value: Base64Bytes(value),
        })
    }
}
