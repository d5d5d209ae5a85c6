//! Sign: signs a digest with the private key of a key pair.

use super::messages::{SignRequest, SignResponse};
use super::prelude::*;
use crate::model::algorithm::{Digest, MessageType, SignatureAlgorithm};

operation! {
    client_keys: "kms:Sign";
    pub struct Sign: CanSign -> Reply {
        key: KeyRef,
        version: Option<KeyVersionId>,
        algorithm: Option<SignatureAlgorithm>,
        digest: Digest,
        message_type: MessageType,
    }
}

impl ProtobufOperation for Sign {
    type Message = SignRequest;

    fn read(message: SignRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let (digest, message_type) =
            fields::digest_of(&message.message, &message.digest, &message.message_type)?;
        Ok(Self {
            key: fields::key(&message.key_id)?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            digest,
            message_type,
        })
    }
}

impl Operation for Sign {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let algorithm = signature_algorithm(&key, self.algorithm)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().signing_version(&key, version, algorithm)?;
        cx.note_version(version.id());
        let response = SignResponse {
            key_id: key.record().id.to_string(),
            signature: cx.keyring().sign(&version, self.digest, cx.execution()?).await?,
            request_id: cx.request_id().to_string(),
            algorithm: algorithm.to_string(),
            message_type: self.message_type.to_string(),
        };
        Ok(Reply::new(version.id(), &response))
    }
}
