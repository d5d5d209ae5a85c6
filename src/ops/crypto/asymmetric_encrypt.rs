//! AsymmetricEncrypt: encrypts data with the public key of a key pair. The ciphertext is the plain
//! RSA block, without a key version.

use zeroize::Zeroizing;

use crate::keyring::KeyringError;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{Base64Bytes, Plaintext, VersionRef};
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    pub struct AsymmetricEncrypt: CanReadPublicKey -> AsymmetricEncryptOutput {
        plaintext: Zeroizing<Vec<u8>> = with(plaintext),
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
        algorithm: EncryptionAlgorithm = "Algorithm",
    }

    /// The response.
    pub struct AsymmetricEncryptOutput {
        ciphertext_blob: Base64Bytes,
        key_id: KeyId,
        key_version_id: KeyVersionId,
    }
}

fn plaintext(params: &Params<'_>) -> Result<Zeroizing<Vec<u8>>, ParamError> {
    let plaintext: Plaintext = params.required("Plaintext")?;
    plaintext.decode().map_err(|_source| ParamError::invalid("Plaintext"))
}

impl Operation for AsymmetricEncrypt {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<AsymmetricEncryptOutput, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::Named(local_version(&self.version)?);
        let version = cx.keyring().oaep_version(&key, version, self.algorithm)?;
        cx.note_version(version.id());
        let ciphertext = cx
            .keyring()
            .encrypt_to_pair(&version, &self.plaintext, cx.budget())
            .await
            .map_err(too_long)?;
        Ok(AsymmetricEncryptOutput {
            ciphertext_blob: Base64Bytes(ciphertext),
            key_id: key.record().id,
            key_version_id: version.id(),
        })
    }
}

/// The only parameter that can be found invalid at this point.
fn too_long(error: KeyringError) -> ApiError {
    match error {
        KeyringError::Refused(ErrorCode::InvalidParameter) => {
            ApiError::invalid_parameter("Plaintext")
        }
        error => error.into(),
    }
}
