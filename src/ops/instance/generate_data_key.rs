//! GenerateDataKey: random bytes from the token, plain and sealed with the initial version.

use super::{DataKey, DataKeyWanted, Sealed, only_gcm, only_symmetric, version_of};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::keyring::Use;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKey(pub DataKeyWanted);

impl Permission for GenerateDataKey {
    const ACTION: &'static str = "kms:GenerateDataKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for GenerateDataKey {}

impl Operation for GenerateDataKey {
    const NAME: &'static str = "GenerateDataKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = DataKey;

    async fn run(self, cx: &Context) -> Result<DataKey, ApiError> {
        let Self(wanted) = self;
        let key = cx.key::<Self>(&wanted.key)?;
        only_symmetric(&key)?;
        only_gcm(wanted.algorithm)?;
        let version = version_of(cx, &key, wanted.version, Use::Cryptographic)?;
        let (plaintext, blob) = cx
            .keyring()
            .data_key_with(&key, version, wanted.bytes, wanted.aad, cx.budget())
            .await?;
        let sealed = Sealed {
            key: key.record().id,
            version,
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.sealed,
        };
        Ok(DataKey { plaintext, sealed })
    }
}
