//! Decrypt decrypts the ciphertexts of Encrypt and GenerateDataKey, with the initial version unless
//! the caller names another one; a caller that names a version need not name the key.
//! AdvanceDecrypt decrypts those of the `Advance` calls, which name the version, and those of the
//! plain calls.

use zeroize::Zeroizing;

use super::messages::{DecryptRequest, DecryptResponse};
use super::prelude::*;
use crate::authz::AuthorizedKey;
use crate::model::algorithm::CipherAlgorithm;
use crate::model::{CiphertextBlob, CiphertextParam, EncryptionContext, Iv};

operation_pair! {
    Decrypt, AdvanceDecrypt:
    pub struct Decryption<L>: CanDecrypt, CanDecryptAsymmetric {
        key: Option<KeyRef>,
        version: Option<KeyVersionId>,
        algorithm: Option<CipherAlgorithm>,
        ciphertext: Vec<u8>,
        aad: Vec<u8>,
        iv: Option<Iv>,
    }
}

impl<L: Layout> ProtobufOperation for Decryption<L> {
    type Message = DecryptRequest;

    fn read(message: DecryptRequest, version: Option<KeyVersionId>) -> Result<Self, ApiError> {
        fields::check_padding(&message.padding_mode)?;
        let named = Some(message.key_id.as_str()).filter(|text| !text.is_empty());
        Ok(Self {
            key: named.map(fields::key).transpose()?,
            version,
            algorithm: fields::parse_optional("Algorithm", &message.algorithm)?,
            ciphertext: message.ciphertext_blob,
            aad: fields::aad(message.aad)?,
            iv: fields::iv_of_ciphertext(&message.iv)?,
            layout: PhantomData,
        })
    }
}

impl<L: Layout> Operation for Decryption<L> {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        match self.framed(cx) {
            Some(blob) => {
                let blob = cx.local_blob(&EncryptionContext::default(), blob)?;
                self.decrypt_framed(blob, cx).await
            }
            None => self.decrypt_bare(cx).await,
        }
    }
}

impl<L: Layout> Decryption<L> {
    /// The ciphertext with its frame, if it has one. A plain ciphertext can start like a framed one
    /// by chance, but hardly with a known key version; without a key id it must be framed.
    fn framed(&self, cx: &Context) -> Option<CiphertextParam> {
        let blob =
            CiphertextParam::from_framed(&self.ciphertext).ok().filter(|_blob| L::IS_ADVANCE)?;
        let is_known = match &blob {
            CiphertextParam::Local(blob) => cx.store().key_of_version(blob.version).is_some(),
            CiphertextParam::Foreign(_) => false,
        };
        (is_known || self.key.is_none()).then_some(blob)
    }

    async fn decrypt_framed(self, blob: CiphertextBlob, cx: &Context) -> Result<Reply, ApiError> {
        let version = blob.version;
        let key = cx.key_of_version::<Self>(version)?;
        cx.note_version(version);
        if let Some(named) = &self.key
            && cx.key::<Self>(named)?.record().id != key.record().id
        {
            return Err(ApiError::invalid_parameter("KeyId"));
        }
        if self.version.is_some_and(|named| named != version) {
            return Err(ErrorCode::KeyVersionNotFound.into());
        }
        only_symmetric(&key)?;
        only_gcm(self.algorithm)?;
        let usable =
            cx.keyring().decryption_version(&key, VersionSelector::OfCiphertext(version))?;
        let blob = usable.divided(blob)?;
        if self.iv.is_some_and(|iv| iv != blob.iv) {
            return Err(ApiError::invalid_parameter("Iv"));
        }
        let plaintext = cx.keyring().decrypt(&usable, blob, self.aad, cx.last_call()).await?;
        Ok(reply::<L>(&key, version, CipherAlgorithm::AesGcm, plaintext, cx))
    }

    /// Decrypts a ciphertext that does not name its version.
    async fn decrypt_bare(self, cx: &Context) -> Result<Reply, ApiError> {
        let key = match (&self.key, self.version) {
            (Some(key), _) => cx.key::<Self>(key)?,
            (None, Some(version)) if !L::IS_ADVANCE => cx.key_of_version::<Self>(version)?,
            (None, _) => return Err(ApiError::invalid_parameter("KeyId")),
        };
        if key.record().spec.is_asymmetric() && !L::IS_ADVANCE {
            return self.decrypt_with_pair(&key, cx).await;
        }
        if L::IS_ADVANCE {
            only_symmetric(&key)?;
        }
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().decryption_version(&key, version)?;
        cx.note_version(version.id());
        only_gcm(self.algorithm)?;
        let iv = self.iv.ok_or_else(|| ApiError::invalid_parameter("Iv"))?;
        let blob = CiphertextBlob { version: version.id(), iv, ciphertext: self.ciphertext };
        let plaintext = cx.keyring().decrypt(&version, blob, self.aad, cx.last_call()).await?;
        Ok(reply::<L>(&key, version.id(), CipherAlgorithm::AesGcm, plaintext, cx))
    }

    async fn decrypt_with_pair(
        self,
        key: &AuthorizedKey<Self>,
        cx: &Context,
    ) -> Result<Reply, ApiError> {
        only_plain(&self.aad, self.iv.is_some())?;
        let (algorithm, padding) = pair_algorithm(self.algorithm)?;
        let version = VersionSelector::named_or_initial(self.version);
        let version = cx.keyring().oaep_version(key, version, padding)?;
        cx.note_version(version.id());
        let plaintext =
            cx.keyring().decrypt_with_pair(&version, self.ciphertext, cx.budget()).await?;
        Ok(reply::<L>(key, version.id(), algorithm, plaintext, cx))
    }
}

fn reply<L: Layout>(
    key: &AuthorizedKey<Decryption<L>>,
    version: KeyVersionId,
    algorithm: CipherAlgorithm,
    mut plaintext: Zeroizing<Vec<u8>>,
    cx: &Context,
) -> Reply {
    let response = DecryptResponse {
        key_id: key.record().id.to_string(),
        plaintext: mem::take(&mut *plaintext),
        request_id: cx.request_id().to_string(),
        algorithm: algorithm.to_string(),
        padding_mode: String::new(),
        key_version_id: L::version_field(version),
    };
    Reply::new(version, &response)
}
