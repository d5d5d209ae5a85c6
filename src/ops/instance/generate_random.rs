//! GenerateRandom: returns random bytes from the token.

use super::messages::{GenerateRandomRequest, GenerateRandomResponse};
use super::prelude::*;

/// The maximum bytes of one call.
const MAX_BYTES: usize = 64;

operation! {
    client_keys: "kms:GenerateRandom";
    pub struct GenerateRandom -> Reply {
        bytes: usize,
    }
}

impl ProtobufOperation for GenerateRandom {
    type Message = GenerateRandomRequest;

    fn read(
        message: GenerateRandomRequest,
        _version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self { bytes: fields::number("Length", message.length, MAX_BYTES)? })
    }
}

impl Operation for GenerateRandom {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let grant = cx.account::<Self>("random")?;
        let mut random = cx.keyring().random(&grant, self.bytes, cx.execution()?).await?;
        let response = GenerateRandomResponse {
            random: mem::take(&mut *random),
            request_id: cx.request_id().to_string(),
        };
        Ok(Reply::new(None, &response))
    }
}
