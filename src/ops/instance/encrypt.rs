//! Encrypt: seals data with the initial version of a symmetric key, or to a key pair.

use super::{Sealed, ToSeal, accepted_iv, only_gcm, only_plain, pair_algorithm, version_of};
use crate::audit::ActionEffect;
use crate::authz::{AuthorizedKey, Permission, ReadsPublicKey, Seals};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::KeyVersionId;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, Load, Operation};

/// The request.
pub struct Encrypt(pub ToSeal);

impl Permission for Encrypt {
    const ACTION: &'static str = "kms:Encrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for Encrypt {}
impl ReadsPublicKey for Encrypt {}

impl Operation for Encrypt {
    const NAME: &'static str = "Encrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = Sealed;

    async fn run(self, cx: &Context) -> Result<Sealed, ApiError> {
        let key = cx.key::<Self>(&self.0.key)?;
        let version = version_of(cx, &key, self.0.version, Use::Cryptographic)?;
        if key.record().spec.is_asymmetric() {
            with_pair(self.0, &key, version, cx).await
        } else {
            with_cipher(self.0, &key, version, cx).await
        }
    }
}

async fn with_cipher(
    request: ToSeal,
    key: &AuthorizedKey<Encrypt>,
    version: KeyVersionId,
    cx: &Context,
) -> Result<Sealed, ApiError> {
    only_gcm(request.algorithm)?;
    let iv = accepted_iv(cx, request.iv)?;
    let blob = cx
        .keyring()
        .seal_with(key, version, iv, request.plaintext, request.aad, cx.budget())
        .await?;
    Ok(Sealed {
        key: key.record().id,
        version,
        algorithm: CipherAlgorithm::AesGcm,
        iv: Some(blob.iv),
        ciphertext: blob.sealed,
    })
}

async fn with_pair(
    request: ToSeal,
    key: &AuthorizedKey<Encrypt>,
    version: KeyVersionId,
    cx: &Context,
) -> Result<Sealed, ApiError> {
    only_plain(&request.aad, request.iv)?;
    let (algorithm, padding) = pair_algorithm(request.algorithm)?;
    let sealed =
        cx.keyring().seal_to_pair(key, version, padding, &request.plaintext, cx.budget()).await?;
    Ok(Sealed { key: key.record().id, version, algorithm, iv: None, ciphertext: sealed })
}
