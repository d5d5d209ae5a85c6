//! Verify: verifies a signature with a key pair.

use super::messages::{VerifyRequest, VerifyResponse};
use super::prelude::*;
use crate::model::algorithm::{Digest, MessageType, SignatureAlgorithm};

operation! {
    client_keys: "kms:Verify";
    pub struct Verify: CanVerify -> Reply {
        key: KeyRef,
        version: Option<KeyVersionId>,
        algorithm: Option<SignatureAlgorithm>,
        digest: Digest,
        message_type: MessageType,
        signature: Vec<u8>,
    }
}

impl ProtobufOperation for Verify {
    type Message = VerifyRequest;

    fn read(message: VerifyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            fields::digest_of(&message.message, &message.digest, &message.message_type)?;
        Ok(Self {
            key: fields::key(&message.key_id)?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            digest,
            message_type,
            signature: message.signature,
        })
    }
}

impl Operation for Verify {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let algorithm = signature_algorithm(&key, self.algorithm)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().signing_version(&key, version, algorithm)?;
        cx.note_version(version.id());
        let (digest, signature) = (self.digest, self.signature);
        let response = VerifyResponse {
            key_id: key.record().id.to_string(),
            value: cx.keyring().verify(&version, digest, signature, cx.execution()?).await?,
            request_id: cx.request_id().to_string(),
            algorithm: algorithm.to_string(),
            message_type: self.message_type.to_string(),
        };
        Ok(Reply::new(version.id(), &response))
    }
}
