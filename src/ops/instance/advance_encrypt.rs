//! AdvanceEncrypt: encrypts data with the primary version of a symmetric key, in a ciphertext that
//! names it.

use super::{EncryptInput, EncryptOutput, accepted_iv, only_gcm, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, CostClass, Operation};

/// The request.
pub struct AdvanceEncrypt(pub EncryptInput);

impl Permission for AdvanceEncrypt {
    const ACTION: &'static str = "kms:AdvanceEncrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for AdvanceEncrypt {}

impl Operation for AdvanceEncrypt {
    const NAME: &'static str = "AdvanceEncrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = EncryptOutput;

    async fn run(self, cx: &Context) -> Result<EncryptOutput, ApiError> {
        let Self(request) = self;
        let key = cx.key::<Self>(&request.key)?;
        only_symmetric(&key)?;
        let version = VersionSelector::named_or_primary(request.version);
        let version = cx.keyring().encryption_version(&key, version)?;
        cx.note_version(version.id());
        only_gcm(request.algorithm)?;
        let iv = accepted_iv(cx, request.iv)?;
        let blob = cx
            .keyring()
            .encrypt(&version, iv, request.plaintext, request.aad, cx.execution()?)
            .await?;
        Ok(EncryptOutput {
            key: key.record().id,
            version: version.id(),
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.to_framed(),
        })
    }
}
