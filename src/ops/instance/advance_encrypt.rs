//! AdvanceEncrypt: seals data with the primary version of a symmetric key, in a ciphertext that
//! names it.

use super::{Sealed, ToSeal, accepted_iv, only_gcm, only_symmetric};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::CipherAlgorithm;
use crate::ops::{Context, Load, Operation};

/// The request.
pub struct AdvanceEncrypt(pub ToSeal);

impl Permission for AdvanceEncrypt {
    const ACTION: &'static str = "kms:AdvanceEncrypt";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for AdvanceEncrypt {}

impl Operation for AdvanceEncrypt {
    const NAME: &'static str = "AdvanceEncrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Cryptographic;
    type Output = Sealed;

    async fn run(self, cx: &Context) -> Result<Sealed, ApiError> {
        let Self(request) = self;
        let key = cx.key::<Self>(&request.key)?;
        only_symmetric(&key)?;
        let version = VersionSelector::named_or_primary(request.version);
        let version = cx.keyring().encryption_version(&key, version)?;
        cx.note_version(version.id());
        only_gcm(request.algorithm)?;
        let iv = accepted_iv(cx, request.iv)?;
        let blob =
            cx.keyring().encrypt(&version, iv, request.plaintext, request.aad, cx.budget()).await?;
        Ok(Sealed {
            key: key.record().id,
            version: version.id(),
            algorithm: CipherAlgorithm::AesGcm,
            iv: Some(blob.iv),
            ciphertext: blob.to_framed(),
        })
    }
}
