//! AdvanceGenerateDataKey: random bytes from the token, plain and sealed with the primary version,
//! which the ciphertext names.

use super::{DataKey, DataKeyWanted, Sealed, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
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
        let version = VersionSelector::named_or_primary(wanted.version);
        let version = cx.keyring().encryption_version(&key, version)?;
        cx.note_version(version.id());
        let (plaintext, blob) =
            cx.keyring().data_key(&version, wanted.bytes, wanted.aad, cx.budget()).await?;
        let sealed = Sealed {
            key: key.record().id,
            version: version.id(),
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.to_framed(),
        };
        Ok(DataKey { plaintext, sealed })
    }
}
