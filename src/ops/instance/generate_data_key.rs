//! GenerateDataKey generates random bytes in the token and returns them in plaintext and encrypted
//! with the initial version; AdvanceGenerateDataKey encrypts with the primary version, which the
//! ciphertext names.

use super::messages::{GenerateDataKeyRequest, GenerateDataKeyResponse};
use super::prelude::*;
use crate::model::algorithm::CipherAlgorithm;

/// The maximum bytes of a data key; the protocol has no limit, so this is that of the public API.
const MAX_BYTES: usize = 1024;

operation_pair! {
    GenerateDataKey, AdvanceGenerateDataKey:
    pub struct DataKeyGeneration<L>: CanEncrypt {
        key: KeyRef,
        version: Option<KeyVersionId>,
        algorithm: Option<CipherAlgorithm>,
        bytes: usize,
        aad: Vec<u8>,
    }
}

impl<L: Layout> ProtobufOperation for DataKeyGeneration<L> {
    type Message = L::DataKeyRequest;

    fn read(message: Self::Message, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        let message: GenerateDataKeyRequest = message.into();
        Ok(Self {
            key: fields::key(&message.key_id)?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            bytes: fields::number("NumberOfBytes", message.number_of_bytes, MAX_BYTES)?,
            aad: fields::aad(message.aad)?,
            layout: PhantomData,
        })
    }
}

impl<L: Layout> Operation for DataKeyGeneration<L> {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        only_symmetric(&key)?;
        only_gcm(self.algorithm)?;
        let version = cx.keyring().encryption_version(&key, L::version(self.version))?;
        cx.note_version(version.id());
        let (mut plaintext, blob) =
            cx.keyring().data_key(&version, self.bytes, self.aad, cx.last_execution()?).await?;
        let response = GenerateDataKeyResponse {
            key_id: key.record().id.to_string(),
            iv: blob.iv.as_slice().to_vec(),
            plaintext: mem::take(&mut *plaintext),
            ciphertext_blob: L::ciphertext(blob),
            request_id: cx.request_id().to_string(),
            algorithm: CipherAlgorithm::AesGcm.to_string(),
            key_version_id: L::version_field(version.id()),
        };
        Ok(Reply::new(version.id(), &response))
    }
}
