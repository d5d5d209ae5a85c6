//! GenerateDataKey: random bytes from the token, plain and encrypted with the initial version.

use super::{DataKey, DataKeyInput, EncryptOutput, only_gcm, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKey(pub DataKeyInput);

impl Permission for GenerateDataKey {
    const ACTION: &'static str = "kms:GenerateDataKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for GenerateDataKey {}

impl Operation for GenerateDataKey {
    const NAME: &'static str = "GenerateDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = DataKey;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        let Self(input) = self;
        let key = cx.key::<Self>(&input.key)?;
        only_symmetric(&key)?;
        only_gcm(input.algorithm)?;
        let version = VersionSelector::named_or_initial(input.version);
        let version = cx.keyring().encryption_version(&key, version)?;
        cx.note_version(version.id());
        let (plaintext, blob) =
            cx.keyring().data_key(&version, input.bytes, input.aad, cx.execution()?).await?;
        let encrypted = EncryptOutput {
            key: key.record().id,
            version: version.id(),
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.ciphertext,
        };
        Ok(DataKey { plaintext, encrypted })
    }
}
