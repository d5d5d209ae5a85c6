//! Decrypt: opens what Encrypt and GenerateDataKey have sealed.
//!
//! The key version is the initial one, unless the caller names another; who names a version need
//! not name the key.

use super::{Opened, ToOpen, only_gcm, only_plain, pair_algorithm, version_of};
use crate::audit::ActionEffect;
use crate::authz::{AuthorizedKey, Opens, OpensWithPair, Permission};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::algorithm::CipherAlgorithm;
use crate::model::{CiphertextBlob, KeyVersionId};
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
        let version = version_of(cx, &key, self.0.version, Use::Cryptographic)?;
        if key.record().spec.is_asymmetric() {
            with_pair(self.0, &key, version, cx).await
        } else {
            with_cipher(self.0, &key, version, cx).await
        }
    }
}

/// Opens a ciphertext that does not say which version sealed it.
pub(super) async fn with_cipher<P: Opens>(
    request: ToOpen,
    key: &AuthorizedKey<P>,
    version: KeyVersionId,
    cx: &Context,
) -> Result<Opened, ApiError> {
    only_gcm(request.algorithm)?;
    let iv = request.iv.ok_or_else(|| ApiError::invalid_parameter("Iv"))?;
    let blob = CiphertextBlob { version, iv, sealed: request.ciphertext };
    let plaintext = cx.keyring().open_with(key, blob, request.aad, cx.budget()).await?;
    Ok(Opened { key: key.record().id, version, algorithm: CipherAlgorithm::AesGcm, plaintext })
}

async fn with_pair(
    request: ToOpen,
    key: &AuthorizedKey<Decrypt>,
    version: KeyVersionId,
    cx: &Context,
) -> Result<Opened, ApiError> {
    only_plain(&request.aad, request.iv)?;
    let (algorithm, padding) = pair_algorithm(request.algorithm)?;
    let plaintext =
        cx.keyring().open_with_pair(key, version, padding, request.ciphertext, cx.budget()).await?;
    Ok(Opened { key: key.record().id, version, algorithm, plaintext })
}
