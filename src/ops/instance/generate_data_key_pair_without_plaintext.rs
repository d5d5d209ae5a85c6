//! GenerateDataKeyPairWithoutPlaintext and AdvanceGenerateDataKeyPairWithoutPlaintext: as
//! GenerateDataKeyPair and its `Advance` form, without the private key in plaintext.

use super::generate_data_key_pair::PairRequest;
use super::messages::GenerateDataKeyPairWithoutPlaintextResponse;
use super::prelude::*;

operation_pair! {
    GenerateDataKeyPairWithoutPlaintext, AdvanceGenerateDataKeyPairWithoutPlaintext:
    pub struct DataKeyPairGenerationWithoutPlaintext<L>: CanEncrypt {
        pair: PairRequest,
    }
}

impl<L: Layout> ProtobufOperation for DataKeyPairGenerationWithoutPlaintext<L> {
    type Message = L::DataKeyPairRequest;

    fn read(message: Self::Message, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        Ok(Self { pair: PairRequest::read(message.into(), version)?, layout: PhantomData })
    }
}

impl<L: Layout> Operation for DataKeyPairGenerationWithoutPlaintext<L> {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Generate;
    const IS_LIMITED: bool = true;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let (version, mut with) = self.pair.generate::<Self, L>(cx).await?;
        let response = GenerateDataKeyPairWithoutPlaintextResponse {
            key_id: mem::take(&mut with.key_id),
            iv: mem::take(&mut with.iv),
            key_pair_spec: mem::take(&mut with.key_pair_spec),
            private_key_ciphertext_blob: mem::take(&mut with.private_key_ciphertext_blob),
            public_key: mem::take(&mut with.public_key),
            request_id: mem::take(&mut with.request_id),
            algorithm: mem::take(&mut with.algorithm),
            key_version_id: mem::take(&mut with.key_version_id),
        };
        Ok(Reply::new(version, &response))
    }
}
