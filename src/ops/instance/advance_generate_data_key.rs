//! AdvanceGenerateDataKey: random bytes from the token, plain and encrypted with the primary version,
//! which the ciphertext names.

use super::{DataKey, DataKeyInput, EncryptOutput, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceGenerateDataKey(pub DataKeyInput);

impl Permission for AdvanceGenerateDataKey {
    const ACTION: &'static str = "kms:AdvanceGenerateDataKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for AdvanceGenerateDataKey {}

impl Operation for AdvanceGenerateDataKey {
    const NAME: &'static str = "AdvanceGenerateDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DataKey;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        let Self(input) = self;
        let key = cx.key::<Self>(&input.key)?;
        only_symmetric(&key)?;
        let version = VersionSelector::named_or_primary(input.version);
        let version = cx.keyring().encryption_version(&key, version)?;
        cx.note_version(version.id());
        let (plaintext, blob) =
            cx.keyring().data_key(&version, input.bytes, input.aad, cx.execution()?).await?;
        let encrypted = EncryptOutput {
            key: key.record().id,
            version: version.id(),
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.to_framed(),
        };
        Ok(DataKey { plaintext, encrypted })
    }
}
