//! Decrypt: decrypts what Encrypt and GenerateDataKey have encrypted.
//!
//! The key version is the initial one, unless the caller names another; who names a version need
//! not name the key.

use super::{DecryptInput, DecryptOutput, only_gcm, only_plain, pair_algorithm};
use crate::audit::ActionEffect;
use crate::authz::{AuthorizedKey, CanDecrypt, CanDecryptAsymmetric, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::CiphertextBlob;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct Decrypt(pub DecryptInput);

impl Permission for Decrypt {
    const ACTION: &'static str = "kms:Decrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanDecrypt for Decrypt {}
impl CanDecryptAsymmetric for Decrypt {}

impl Operation for Decrypt {
    const NAME: &'static str = "Decrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DecryptOutput;

    async fn run(self, cx: &Context) -> Result<DecryptOutput, ApiError> {
        let key = match (&self.0.key, self.0.version) {
            (Some(key), _) => cx.key::<Self>(key)?,
            (None, Some(version)) => cx.key_of_version::<Self>(version)?,
            (None, None) => return Err(ApiError::invalid_parameter("KeyId")),
        };
        if key.record().spec.is_asymmetric() {
            with_pair(self.0, &key, cx).await
        } else {
            with_cipher(self.0, &key, cx).await
        }
    }
}

/// Decrypts a ciphertext that does not say which version encrypted it.
pub(super) async fn with_cipher<P: CanDecrypt>(
    request: DecryptInput,
    key: &AuthorizedKey<P>,
    cx: &Context,
) -> Result<DecryptOutput, ApiError> {
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().decryption_version(key, version)?;
    cx.note_version(version.id());
    only_gcm(request.algorithm)?;
    let iv = request.iv.ok_or_else(|| ApiError::invalid_parameter("Iv"))?;
    let (key, version_id) = (key.record().id, version.id());
    let blob = CiphertextBlob { version: version_id, iv, ciphertext: request.ciphertext };
    let plaintext = cx.keyring().decrypt(&version, blob, request.aad, cx.budget()).await?;
    Ok(DecryptOutput { key, version: version_id, algorithm: CipherAlgorithm::AesGcm, plaintext })
}

async fn with_pair(
    request: DecryptInput,
    key: &AuthorizedKey<Decrypt>,
    cx: &Context,
) -> Result<DecryptOutput, ApiError> {
    only_plain(&request.aad, request.iv)?;
    let (algorithm, padding) = pair_algorithm(request.algorithm)?;
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().oaep_version(key, version, padding)?;
    cx.note_version(version.id());
    let plaintext =
        cx.keyring().decrypt_with_pair(&version, request.ciphertext, cx.budget()).await?;
    Ok(DecryptOutput { key: key.record().id, version: version.id(), algorithm, plaintext })
}
