//! GetPublicKey: returns the public key of a key pair, as PEM.

use super::messages::{GetPublicKeyRequest, GetPublicKeyResponse};
use super::prelude::*;

operation! {
    client_keys: "kms:GetPublicKey";
    pub struct GetPublicKey: CanReadPublicKey -> Reply {
        key: KeyRef,
        version: Option<KeyVersionId>,
    }
}

impl ProtobufOperation for GetPublicKey {
    type Message = GetPublicKeyRequest;

    fn read(message: GetPublicKeyRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        Ok(Self { key: fields::key(&message.key_id)?, version })
    }
}

impl Operation for GetPublicKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().public_half_version(&key, version)?;
        cx.note_version(version.id());
        let response = GetPublicKeyResponse {
            key_id: key.record().id.to_string(),
            public_key: cx.keyring().public_key_pem(&version, cx.execution()?).await?,
            request_id: cx.request_id().to_string(),
        };
        Ok(Reply::new(version.id(), &response))
    }
}
