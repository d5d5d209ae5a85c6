//! GenerateMac: computes a message authentication code in the token.

use crate::model::Base64Bytes;
use crate::model::algorithm::MacAlgorithm;
use crate::ops::prelude::*;

operation! {
    pub struct GenerateMac: CanMac -> GeneratedMac {
        key: KeyRef = "KeyId",
        algorithm: MacAlgorithm = "Algorithm",
        message: Base64Bytes = "Message",
    }

    /// The response.
    pub struct GeneratedMac {
        algorithm: MacAlgorithm,
        key_id: KeyId,
        mac: Base64Bytes,
    }
}

impl Operation for GenerateMac {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<GeneratedMac, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().mac_version(&key, self.algorithm)?;
        let Base64Bytes(message) = self.message;
        let mac = cx.keyring().mac(&version, message, cx.execution()?).await?;
        Ok(GeneratedMac {
            algorithm: self.algorithm,
            key_id: key.record().id,
            mac: Base64Bytes(mac),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_message() {
        let mut params = Params::default();
        for (name, value) in
            [("KeyId", "alias/a"), ("Algorithm", "HMAC_SHA_256"), ("Message", "c2VjcmV0")]
        {
            params.insert(name, value).unwrap();
        }
        let request = GenerateMac::from_params(&params).unwrap();
        assert_eq!(request.message, Base64Bytes(b"secret".to_vec()));
        assert_eq!(format!("{request:?}"), "GenerateMac { .. }");
    }
}
