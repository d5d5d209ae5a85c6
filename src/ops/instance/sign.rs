//! Sign: signs a digest with the private half of a key pair.

use super::signature_algorithm;
use crate::audit::ActionEffect;
use crate::authz::{CanSign, Permission};
use crate::error::ApiError;
use crate::keyring::VersionSelector;
use crate::model::algorithm::{Digest, MessageType, SignatureAlgorithm};
use crate::model::{KeyId, KeyRef, KeyVersionId};
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct Sign {
    /// The key.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How; none is the default of the key.
    pub algorithm: Option<SignatureAlgorithm>,
    /// What is signed.
    pub digest: Digest,
    /// In which form it was handed over.
    pub message_type: MessageType,
}

/// What was signed.
#[derive(Debug)]
pub struct Signed {
    /// The key.
    pub key: KeyId,
    /// The key version that signed.
    pub version: KeyVersionId,
    /// How.
    pub algorithm: SignatureAlgorithm,
    /// The signature.
    pub signature: Vec<u8>,
    /// As in the request.
    pub message_type: MessageType,
}

impl Permission for Sign {
    const ACTION: &'static str = "kms:Sign";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanSign for Sign {}

impl Operation for Sign {
    const NAME: &'static str = "Sign";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Signed;

    async fn run(self, cx: &Context) -> Result<Signed, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let algorithm = signature_algorithm(&key, self.algorithm)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().signing_version(&key, version, algorithm)?;
        cx.note_version(version.id());
        let signature = cx.keyring().sign(&version, self.digest, cx.execution()?).await?;
        Ok(Signed {
            key: key.record().id,
            version: version.id(),
            algorithm,
            signature,
            message_type: self.message_type,
        })
    }
}
