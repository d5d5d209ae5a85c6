//! AsymmetricVerify: verifies a signature over a digest with a key pair.

use crate::model::algorithm::{Digest, SignatureAlgorithm};
use crate::model::{Base64Bytes, VersionRef};
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:Verify";
    pub struct AsymmetricVerify: CanVerify -> Verified {
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
        algorithm: SignatureAlgorithm = "Algorithm",
        digest: Digest = "Digest",
        signature: Base64Bytes = "Value",
    }

    /// The response. A signature that does not match is not an error, but `false`.
    pub struct Verified {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        value: bool,
    }
}

impl Operation for AsymmetricVerify {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Verified, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().signing_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let Base64Bytes(signature) = self.signature;
        let value = cx.keyring().verify(&version, self.digest, signature, cx.execution()?).await?;
        Ok(Verified { key_id: key.record().id, key_version_id: version.id(), value })
    }
}
