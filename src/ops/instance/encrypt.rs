//! Encrypt: encrypts data with the initial version of a symmetric key, or to a key pair.

use super::{EncryptInput, EncryptOutput, accepted_iv, only_gcm, only_plain, pair_algorithm};
use crate::audit::ActionEffect;
use crate::authz::{AuthorizedKey, CanEncrypt, CanReadPublicKey, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, CostClass, Operation};

/// The request.
pub struct Encrypt(pub EncryptInput);

impl Permission for Encrypt {
    const ACTION: &'static str = "kms:Encrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for Encrypt {}
impl CanReadPublicKey for Encrypt {}

impl Operation for Encrypt {
    const NAME: &'static str = "Encrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = EncryptOutput;

    async fn run(self, cx: &Context) -> Result<EncryptOutput, ApiError> {
        let key = cx.key::<Self>(&self.0.key)?;
        if key.record().spec.is_asymmetric() {
            with_pair(self.0, &key, cx).await
        } else {
            with_cipher(self.0, &key, cx).await
        }
    }
}

async fn with_cipher(
    request: EncryptInput,
    key: &AuthorizedKey<Encrypt>,
    cx: &Context,
) -> Result<EncryptOutput, ApiError> {
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().encryption_version(key, version)?;
    cx.note_version(version.id());
    only_gcm(request.algorithm)?;
    let iv = accepted_iv(cx, request.iv)?;
    let blob =
        cx.keyring().encrypt(&version, iv, request.plaintext, request.aad, cx.execution()?).await?;
    Ok(EncryptOutput {
        key: key.record().id,
        version: version.id(),
        algorithm: CipherAlgorithm::AesGcm,
        iv: Some(blob.iv),
        ciphertext: blob.ciphertext,
    })
}

async fn with_pair(
    request: EncryptInput,
    key: &AuthorizedKey<Encrypt>,
    cx: &Context,
) -> Result<EncryptOutput, ApiError> {
    only_plain(&request.aad, request.iv)?;
    let (algorithm, padding) = pair_algorithm(request.algorithm)?;
    let version = VersionSelector::named_or_initial(request.version);
    let version = cx.keyring().oaep_version(key, version, padding)?;
    cx.note_version(version.id());
    let ciphertext =
        cx.keyring().encrypt_to_pair(&version, &request.plaintext, cx.budget()).await?;
    Ok(EncryptOutput {
        key: key.record().id,
        version: version.id(),
        algorithm,
        iv: None,
        ciphertext,
    })
}
