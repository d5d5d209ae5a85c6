//! Verify: whether a signature is a key pair's.

use super::signature_algorithm;
use crate::audit::ActionEffect;
use crate::authz::{CanVerify, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::{Digest, MessageType, SignatureAlgorithm};
use crate::model::{KeyId, KeyRef, KeyVersionId};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct Verify {
    /// The key.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How it was signed; none is the default of the key.
    pub algorithm: Option<SignatureAlgorithm>,
    /// What was signed.
    pub digest: Digest,
    /// In which form it was handed over.
    pub message_type: MessageType,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What comes of it.
#[derive(Debug)]
pub struct Verified {
    /// The key.
    pub key: KeyId,
    /// The key version that verified.
    pub version: KeyVersionId,
    /// How.
    pub algorithm: SignatureAlgorithm,
    /// Whether the signature is right.
    pub is_valid: bool,
    /// As in the request.
    pub message_type: MessageType,
}

impl Permission for Verify {
    const ACTION: &'static str = "kms:Verify";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanVerify for Verify {}

impl Operation for Verify {
    const NAME: &'static str = "Verify";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Verified;

    async fn run(self, cx: &Context) -> Result<Verified, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let algorithm = signature_algorithm(&key, self.algorithm)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().signing_version(&key, version, algorithm)?;
        cx.note_version(version.id());
        let is_valid =
            cx.keyring().verify(&version, self.digest, self.signature, cx.execution()?).await?;
        Ok(Verified {
            key: key.record().id,
            version: version.id(),
            algorithm,
            is_valid,
            message_type: self.message_type,
        })
    }
}
