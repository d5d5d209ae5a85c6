//! AdvanceDecrypt: decrypts what the `Advance` calls have encrypted, and what the plain ones have.

use super::{DecryptInput, DecryptOutput, decrypt, only_gcm, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{CanDecrypt, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::model::{CiphertextBlob, CiphertextParam, EncryptionContext};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceDecrypt(pub DecryptInput);

impl Permission for AdvanceDecrypt {
    const ACTION: &'static str = "kms:AdvanceDecrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanDecrypt for AdvanceDecrypt {}

impl Operation for AdvanceDecrypt {
    const NAME: &'static str = "AdvanceDecrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DecryptOutput;

    async fn run(self, cx: &Context) -> Result<DecryptOutput, ApiError> {
        let Self(request) = self;
        match framed(&request, cx) {
            Some(blob) => {
                let blob = cx.local_blob(&EncryptionContext::default(), blob)?;
                decrypt_framed(request, blob, cx).await
            }
            None => decrypt_raw(request, cx).await,
        }
    }
}

/// The ciphertext with its frame, if it has one. A raw ciphertext can begin like a framed one by
/// chance, but hardly with a key version that is known; who names no key can only mean a frame.
fn framed(request: &DecryptInput, cx: &Context) -> Option<CiphertextParam> {
    let blob = CiphertextParam::from_framed(&request.ciphertext).ok()?;
    let is_known = match &blob {
        CiphertextParam::Local(blob) => cx.store().key_of_version(blob.version).is_some(),
        CiphertextParam::Foreign(_) => false,
    };
    (is_known || request.key.is_none()).then_some(blob)
}

async fn decrypt_framed(
    request: DecryptInput,
    blob: CiphertextBlob,
    cx: &Context,
) -> Result<DecryptOutput, ApiError> {
    let version = blob.version;
    let key = cx.key_of_version::<AdvanceDecrypt>(version)?;
    cx.note_version(version);
    if let Some(named) = &request.key
        && cx.key::<AdvanceDecrypt>(named)?.record().id != key.record().id
    {
        return Err(ApiError::invalid_parameter("KeyId"));
    }
    if request.version.is_some_and(|named| named != version) {
        return Err(ErrorCode::KeyVersionNotFound.into());
    }
    if request.iv.is_some_and(|iv| iv != blob.iv) {
        return Err(ApiError::invalid_parameter("Iv"));
    }
    only_symmetric(&key)?;
    only_gcm(request.algorithm)?;
    let usable = cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(version))?;
    let plaintext = cx.keyring().decrypt(&usable, blob, request.aad, cx.budget()).await?;
    Ok(DecryptOutput {
        key: key.record().id,
        version,
        algorithm: CipherAlgorithm::AesGcm,
        plaintext,
    })
}

async fn decrypt_raw(request: DecryptInput, cx: &Context) -> Result<DecryptOutput, ApiError> {
    let key = request.key.as_ref().ok_or_else(|| ApiError::invalid_parameter("KeyId"))?;
    let key = cx.key::<AdvanceDecrypt>(key)?;
    only_symmetric(&key)?;
    decrypt::with_cipher(request, &key, cx).await
}
