//! AdvanceDecrypt: opens what the `Advance` calls have sealed, and what the plain ones have.

use super::{Opened, ToOpen, decrypt, only_gcm, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{Opens, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::model::{CiphertextBlob, EncryptionContext, SentBlob};
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceDecrypt(pub ToOpen);

impl Permission for AdvanceDecrypt {
    const ACTION: &'static str = "kms:AdvanceDecrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Opens for AdvanceDecrypt {}

impl Operation for AdvanceDecrypt {
    const NAME: &'static str = "AdvanceDecrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = Opened;

    async fn run(self, cx: &Context) -> Result<Opened, ApiError> {
        let Self(request) = self;
        match framed(&request, cx) {
            Some(blob) => {
                let blob = cx.sealed_here(&EncryptionContext::default(), blob)?;
                open_framed(request, blob, cx).await
            }
            None => open_raw(request, cx).await,
        }
    }
}

/// The ciphertext with its frame, if it has one. A raw ciphertext can begin like a framed one by
/// chance, but hardly with a key version that is known; who names no key can only mean a frame.
fn framed(request: &ToOpen, cx: &Context) -> Option<SentBlob> {
    let blob = SentBlob::from_framed(&request.ciphertext).ok()?;
    let is_known = match &blob {
        SentBlob::Here(blob) => cx.store().key_of_version(blob.version).is_some(),
        SentBlob::Elsewhere(_) => false,
    };
    (is_known || request.key.is_none()).then_some(blob)
}

async fn open_framed(
    request: ToOpen,
    blob: CiphertextBlob,
    cx: &Context,
) -> Result<Opened, ApiError> {
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
    Ok(Opened { key: key.record().id, version, algorithm: CipherAlgorithm::AesGcm, plaintext })
}

async fn open_raw(request: ToOpen, cx: &Context) -> Result<Opened, ApiError> {
    let key = request.key.as_ref().ok_or_else(|| ApiError::invalid_parameter("KeyId"))?;
    let key = cx.key::<AdvanceDecrypt>(key)?;
    only_symmetric(&key)?;
    decrypt::with_cipher(request, &key, cx).await
}
