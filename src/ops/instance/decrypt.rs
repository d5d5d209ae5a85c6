//! Decrypt: opens what Encrypt and GenerateDataKey have sealed.
//!
//! The key version is the initial one, unless the caller names another; who names a version need
//! not name the key.

use super::{Opened, ToOpen, only_gcm, only_plain, pair_algorithm};
use crate::audit::ActionEffect;
use crate::authz::{AuthorizedKey, Opens, OpensWithPair, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::CiphertextBlob;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct Decrypt(pub ToOpen);

impl Permission for Decrypt {
    const ACTION: &'static str = "kms:Decrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Opens for Decrypt {}
impl OpensWithPair for Decrypt {}

impl Operation for Decrypt {
    const NAME: &'static str = "Decrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = Opened;

    async fn run(self, cx: &Context) -> Result<Opened, ApiError> {
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

/// Opens a ciphertext that does not say which version sealed it.
pub(super) async fn with_cipher<P: Opens>(
    request: ToOpen,
    key: &AuthorizedKey<P>,
    cx: &Context,
) -> Result<Opened, ApiError> {
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().decryption_version(key, version)?;
    cx.note_version(version.id());
    only_gcm(request.algorithm)?;
    let iv = request.iv.ok_or_else(|| ApiError::invalid_parameter("Iv"))?;
    let (key, version_id) = (key.record().id, version.id());
    let blob = CiphertextBlob { version: version_id, iv, sealed: request.ciphertext };
    let plaintext = cx.keyring().decrypt(&version, blob, request.aad, cx.budget()).await?;
    Ok(Opened { key, version: version_id, algorithm: CipherAlgorithm::AesGcm, plaintext })
}

async fn with_pair(
    request: ToOpen,
    key: &AuthorizedKey<Decrypt>,
    cx: &Context,
) -> Result<Opened, ApiError> {
    only_plain(&request.aad, request.iv)?;
    let (algorithm, padding) = pair_algorithm(request.algorithm)?;
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().oaep_version(key, version, padding)?;
    cx.note_version(version.id());
    let plaintext =
        cx.keyring().decrypt_with_pair(&version, request.ciphertext, cx.budget()).await?;
    Ok(Opened { key: key.record().id, version: version.id(), algorithm, plaintext })
}
