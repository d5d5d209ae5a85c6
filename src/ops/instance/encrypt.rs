//! Encrypt encrypts with the initial version of a symmetric key, or with a key pair. AdvanceEncrypt
//! encrypts with the primary version of a symmetric key, which the ciphertext names.

use zeroize::Zeroizing;

use super::messages::{EncryptRequest, EncryptResponse};
use super::prelude::*;
use crate::authz::AuthorizedKey;
use crate::model::IV_BYTES;
use crate::model::algorithm::CipherAlgorithm;

operation_pair! {
    Encrypt, AdvanceEncrypt:
    pub struct Encryption<L>: CanEncrypt, CanReadPublicKey {
        key: KeyRef,
        version: Option<KeyVersionId>,
        algorithm: Option<CipherAlgorithm>,
        plaintext: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        iv: Option<[u8; IV_BYTES]>,
    }
}

impl<L: Layout> ProtobufOperation for Encryption<L> {
    type Message = EncryptRequest;

    fn read(mut message: EncryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        fields::check_padding(&message.padding_mode)?;
        let plaintext = Zeroizing::new(mem::take(&mut message.plaintext));
        if plaintext.is_empty() {
            return Err(ApiError::invalid_parameter("Plaintext"));
        }
        Ok(Self {
            key: fields::key(&message.key_id)?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            plaintext,
            aad: fields::aad(mem::take(&mut message.aad))?,
            iv: fields::iv(&message.iv)?,
            layout: PhantomData,
        })
    }
}

impl<L: Layout> Operation for Encryption<L> {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        if key.record().spec.is_asymmetric() && !L::IS_ADVANCE {
            return self.encrypt_to_pair(&key, cx).await;
        }
        only_symmetric(&key)?;
        let version = cx.keyring().encryption_version(&key, L::version(self.version))?;
        cx.note_version(version.id());
        only_gcm(self.algorithm)?;
        let iv = accepted_iv(cx, self.iv)?;
        let blob = cx
            .keyring()
            .encrypt(&version, iv, self.plaintext, self.aad, cx.last_execution()?)
            .await?;
        let response = EncryptResponse {
            key_id: key.record().id.to_string(),
            iv: blob.iv.as_slice().to_vec(),
            ciphertext_blob: L::ciphertext(blob),
            request_id: cx.request_id().to_string(),
            algorithm: CipherAlgorithm::AesGcm.to_string(),
            key_version_id: L::version_field(version.id()),
            ..EncryptResponse::default()
        };
        Ok(Reply::new(version.id(), &response))
    }
}

impl<L: Layout> Encryption<L> {
    async fn encrypt_to_pair(
        self,
        key: &AuthorizedKey<Self>,
        cx: &Context,
    ) -> Result<Reply, ApiError> {
        only_plain(&self.aad, self.iv.is_some())?;
        let (algorithm, padding) = pair_algorithm(self.algorithm)?;
        let version = cx.keyring().oaep_version(key, L::version(self.version), padding)?;
        cx.note_version(version.id());
        let response = EncryptResponse {
            key_id: key.record().id.to_string(),
            ciphertext_blob: cx
                .keyring()
                .encrypt_to_pair(&version, &self.plaintext, cx.budget())
                .await?,
            request_id: cx.request_id().to_string(),
            algorithm: algorithm.to_string(),
            ..EncryptResponse::default()
        };
        Ok(Reply::new(version.id(), &response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_refused_by_name() {
        assert!(Encrypt::read(good(), None).is_ok());
        let name = |request: EncryptRequest| match Encrypt::read(request, None) {
            Ok(_) => panic!("not rejected"),
            Err(refused) => refused.message().split('"').nth(1).unwrap().to_owned(),
        };
        let with = |change: fn(&mut EncryptRequest)| {
            let mut request = good();
            change(&mut request);
            request
        };
        assert_eq!(name(with(|request| request.key_id.clear())), "KeyId");
        assert_eq!(name(with(|request| request.plaintext.clear())), "Plaintext");
        assert_eq!(name(with(|request| request.algorithm = "AES".into())), "Algorithm");
        assert_eq!(name(with(|request| request.aad = vec![0; 8193])), "Aad");
        assert_eq!(name(with(|request| request.iv = vec![0; 16])), "Iv");
        assert_eq!(name(with(|request| request.padding_mode = "X".into())), "PaddingMode");
    }

    fn good() -> EncryptRequest {
        EncryptRequest {
            key_id: "alias/a".into(),
            plaintext: vec![1],
            algorithm: String::new(),
            aad: Vec::new(),
            iv: Vec::new(),
            padding_mode: String::new(),
        }
    }
}
