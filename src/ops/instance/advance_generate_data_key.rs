//! AdvanceGenerateDataKey: random bytes from the token, plain and sealed with the primary version,
//! which the ciphertext names.

use super::{DataKey, DataKeyWanted, Sealed, only_symmetric, sealing_version_of};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceGenerateDataKey(pub DataKeyWanted);

impl Permission for AdvanceGenerateDataKey {
    const ACTION: &'static str = "kms:AdvanceGenerateDataKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for AdvanceGenerateDataKey {}

impl Operation for AdvanceGenerateDataKey {
    const NAME: &'static str = "AdvanceGenerateDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = DataKey;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        let Self(wanted) = self;
        let key = cx.key::<Self>(&wanted.key)?;
        only_symmetric(&key)?;
        let version = sealing_version_of(cx, &key, wanted.version)?;
        let (plaintext, blob) = cx
            .keyring()
            .data_key_with(&key, version, wanted.bytes, wanted.aad, cx.budget())
            .await?;
        let sealed = Sealed {
            key: key.record().id,
            version,
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.to_framed(),
        };
        Ok(DataKey { plaintext, sealed })
    }
}
