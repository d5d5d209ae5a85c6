//! VerifyMac: verifies a message authentication code of a message.

use crate::model::Base64Bytes;
use crate::model::algorithm::MacAlgorithm;
use crate::ops::prelude::*;

operation! {
    pub struct VerifyMac: CanMac -> VerifiedMac {
        key: KeyRef = "KeyId",
        algorithm: MacAlgorithm = "Algorithm",
        message: Base64Bytes = "Message",
        mac: Base64Bytes = "Mac",
    }

    /// The response. A code that does not match is not an error, but `false`.
    pub struct VerifiedMac {
        algorithm: MacAlgorithm,
        key_id: KeyId,
        value: bool,
    }
}

impl Operation for VerifyMac {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<VerifiedMac, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().mac_version(&key, self.algorithm)?;
        let (Base64Bytes(message), Base64Bytes(mac)) = (self.message, self.mac);
        let value = cx.keyring().verify_mac(&version, message, &mac, cx.execution()?).await?;
        Ok(VerifiedMac { algorithm: self.algorithm, key_id: key.record().id, value })
    }
}
