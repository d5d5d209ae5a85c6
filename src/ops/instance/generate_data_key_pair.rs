//! GenerateDataKeyPair generates a key pair for the caller and encrypts its private key with the
//! initial version; AdvanceGenerateDataKeyPair encrypts it with the primary version, which the
//! ciphertext names.

use super::messages::{GenerateDataKeyPairRequest, GenerateDataKeyPairResponse};
use super::prelude::*;
use crate::authz::CanEncrypt;
use crate::keyring::PairForm;
use crate::model::KeyFormat;
use crate::model::algorithm::CipherAlgorithm;

operation_pair! {
    GenerateDataKeyPair, AdvanceGenerateDataKeyPair:
    pub struct DataKeyPairGeneration<L>: CanEncrypt {
        pair: PairRequest,
    }
}

/// The parameters of the pair, for all four operations.
pub(super) struct PairRequest {
    key: KeyRef,
    version: Option<KeyVersionId>,
    algorithm: Option<CipherAlgorithm>,
    form: PairForm,
    aad: Vec<u8>,
}

impl<L: Layout> ProtobufOperation for DataKeyPairGeneration<L> {
    type Message = L::DataKeyPairRequest;

    fn read(message: Self::Message, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        Ok(Self { pair: PairRequest::read(message.into(), version)?, layout: PhantomData })
    }
}

impl<L: Layout> Operation for DataKeyPairGeneration<L> {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Generate;
    const IS_LIMITED: bool = true;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let (version, response) = self.pair.generate::<Self, L>(cx).await?;
        Ok(Reply::new(version, &response))
    }
}

impl PairRequest {
    pub(super) fn read(
        message: GenerateDataKeyPairRequest,
        version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            key: fields::key(&message.key_id)?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            form: PairForm {
                spec: fields::required("KeyPairSpec", &message.key_pair_spec)?,
                format: fields::parse_optional("KeyFormat", &message.key_format)?
                    .unwrap_or(KeyFormat::Pem),
            },
            aad: fields::aad(message.aad)?,
        })
    }

    /// Returns the version that has encrypted the private key, and the response with both keys.
    pub(super) async fn generate<P: CanEncrypt, L: Layout>(
        self,
        cx: &Context,
    ) -> Result<(KeyVersionId, GenerateDataKeyPairResponse), ApiError> {
        let key = cx.key::<P>(&self.key)?;
        only_symmetric(&key)?;
        only_gcm(self.algorithm)?;
        let version = cx.keyring().encryption_version(&key, L::version(self.version))?;
        cx.note_version(version.id());
        let (mut pair, blob) =
            cx.keyring().data_key_pair(&version, self.form, self.aad, cx.execution()?).await?;
        let response = GenerateDataKeyPairResponse {
            key_id: key.record().id.to_string(),
            iv: blob.iv.as_slice().to_vec(),
            key_pair_spec: self.form.spec.to_string(),
            private_key_plaintext: mem::take(&mut *pair.private),
            private_key_ciphertext_blob: L::ciphertext(blob),
            public_key: pair.public,
            request_id: cx.request_id().to_string(),
            algorithm: CipherAlgorithm::AesGcm.to_string(),
            key_version_id: L::version_field(version.id()),
        };
        Ok((version.id(), response))
    }
}
