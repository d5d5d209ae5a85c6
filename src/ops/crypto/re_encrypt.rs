//! ReEncrypt: decrypts a ciphertext and encrypts the plaintext with another key. The plaintext does
//! not leave the gateway.

use crate::authz::{AuthorizedKey, CanEncrypt, Permission};
use crate::model::algorithm::EncryptionAlgorithm;
use crate::model::{
    Base64Bytes, CiphertextBlob, CiphertextParam, EncryptionContext, Plaintext, VersionRef,
};
use crate::ops::local_version;
use crate::ops::prelude::*;

operation! {
    permission: "kms:ReEncryptFrom";
    pub struct ReEncrypt: CanDecrypt, CanDecryptAsymmetric -> ReEncrypted {
        source: Source = with(Source::from_params),
        destination: KeyRef = "DestinationKeyId",
        destination_context: EncryptionContext = "DestinationEncryptionContext",
    }

    /// The response. Key and version are those that decrypted the source, as the API documents.
    pub struct ReEncrypted {
        ciphertext_blob: CiphertextBlob,
        key_id: KeyId,
        key_version_id: KeyVersionId,
    }
}

/// The ciphertext to decrypt.
#[derive(Debug)]
enum Source {
    /// A blob of a symmetric key, which names its key version.
    Blob { blob: CiphertextParam, context: EncryptionContext },
    /// A plain RSA block that was encrypted with a key pair.
    Block {
        key: KeyRef,
        version: VersionRef,
        algorithm: EncryptionAlgorithm,
        ciphertext: Base64Bytes,
    },
}

/// The ciphertext with its authorized key version.
enum ResolvedSource {
    Blob { blob: CiphertextBlob, context: EncryptionContext },
    Block { version: KeyVersionId, algorithm: EncryptionAlgorithm, ciphertext: Base64Bytes },
}

impl FromParams for Source {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let Some(algorithm) = params.optional("SourceEncryptionAlgorithm")? else {
            return Ok(Self::Blob {
                blob: params.required("CiphertextBlob")?,
                context: EncryptionContext::from_params(params, "SourceEncryptionContext")?,
            });
        };
        Ok(Self::Block {
            key: params.required("SourceKeyId")?,
            version: params.required("SourceKeyVersionId")?,
            algorithm,
            ciphertext: params.required("CiphertextBlob")?,
        })
    }
}

/// Permission to encrypt with the destination key.
#[derive(Debug)]
pub struct ReEncryptTo;

impl Permission for ReEncryptTo {
    const ACTION: &'static str = "kms:ReEncryptTo";
}

impl CanEncrypt for ReEncryptTo {}

impl Source {
    /// Finds and authorizes the key that decrypts it.
    fn find(self, cx: &Context) -> Result<(AuthorizedKey<ReEncrypt>, ResolvedSource), ApiError> {
        match self {
            Self::Blob { blob, context } => {
                let blob = cx.local_blob(&context, blob)?;
                let key = cx.key_of_version_in(&context, blob.version)?;
                Ok((key, ResolvedSource::Blob { blob, context }))
            }
            Self::Block { key, version, algorithm, ciphertext } => {
                let key = cx.key_in(&EncryptionContext::default(), &key)?;
                let version = local_version(&version)?;
                Ok((key, ResolvedSource::Block { version, algorithm, ciphertext }))
            }
        }
    }
}

impl ResolvedSource {
    /// The key version that decrypts it.
    const fn version(&self) -> KeyVersionId {
        match self {
            Self::Blob { blob, .. } => blob.version,
            Self::Block { version, .. } => *version,
        }
    }

    async fn decrypt(
        self,
        key: &AuthorizedKey<ReEncrypt>,
        cx: &Context,
    ) -> Result<Plaintext, ApiError> {
        match self {
            Self::Blob { blob, context } => {
                let version = VersionSelector::OfCiphertext(blob.version);
                let version = cx.keyring().decryption_version(key, version)?;
                Ok(cx
                    .keyring()
                    .decrypt_text(&version, blob, context.aad_bytes(), cx.call())
                    .await?)
            }
            Self::Block { version, algorithm, ciphertext: Base64Bytes(ciphertext) } => {
                let version = VersionSelector::Named(version);
                let version = cx.keyring().oaep_version(key, version, algorithm)?;
                let decrypted =
                    cx.keyring().decrypt_with_pair(&version, ciphertext, cx.budget()).await?;
                Ok(Plaintext::encode(&decrypted))
            }
        }
    }
}

impl Operation for ReEncrypt {
    const NAME: &'static str = "ReEncrypt";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const EXTRA_PERMISSIONS: &'static [&'static str] = &[ReEncryptTo::ACTION];
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    const AUTHORIZATIONS: u8 = 2;

    async fn run(self, cx: &Context) -> Result<ReEncrypted, ApiError> {
        let (source, resolved) = self.source.find(cx)?;
        let version = resolved.version();
        cx.note_version(version);
        let destination = cx.key_in::<ReEncryptTo>(&self.destination_context, &self.destination)?;
        let primary = cx.keyring().encryption_version(&destination, VersionSelector::Primary)?;
        let text = resolved.decrypt(&source, cx).await?;
        let aad = self.destination_context.aad_bytes();
        let blob = cx
            .keyring()
            .encrypt(&primary, None, text.into_bytes(), aad, cx.last_execution()?)
            .await?;
        Ok(ReEncrypted {
            ciphertext_blob: blob,
            key_id: source.record().id,
            key_version_id: version,
        })
    }
}
