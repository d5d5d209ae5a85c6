//! GetPublicKey: the public half of a key pair, as PEM.

use crate::audit::ActionEffect;
use crate::authz::{CanReadPublicKey, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::{KeyId, KeyRef, KeyVersionId};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GetPublicKey {
    /// The key.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
}

/// The answer.
#[derive(Debug)]
pub struct PublicKeyOutput {
    /// The key.
    pub key: KeyId,
    /// The key version.
    pub version: KeyVersionId,
    /// SubjectPublicKeyInfo, PEM.
    pub pem: String,
}

impl Permission for GetPublicKey {
    const ACTION: &'static str = "kms:GetPublicKey";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanReadPublicKey for GetPublicKey {}

impl Operation for GetPublicKey {
    const NAME: &'static str = "GetPublicKey";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = PublicKeyOutput;

    async fn run(self, cx: &Context) -> Result<PublicKeyOutput, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().public_half_version(&key, version)?;
        cx.note_version(version.id());
        let pem = cx.keyring().public_key_pem(&version, cx.execution()?).await?;
        Ok(PublicKeyOutput { key: key.record().id, version: version.id(), pem })
    }
}
