//! Seal and open with a symmetric key, and data keys.

use zeroize::Zeroizing;

use super::{Keyring, KeyringError, Use, state};
use crate::authz::{AuthorizedKey, Opens, Seals};
use crate::error::ErrorCode;
use crate::model::{CiphertextBlob, EncryptionContext, KeyRecord, KeyVersionId, Plaintext, Time};
use crate::token::{Budget, Encrypted, TokenError, Worker};

impl Keyring {
    /// The version that would seal with this key now.
    ///
    /// # Errors
    /// When the key's state or spec forbids it.
    pub fn sealing_version<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
    ) -> Result<KeyVersionId, KeyringError> {
        let record = key.record();
        check_cipher(record)?;
        let primary = record.primary_version().ok_or(ErrorCode::KeyUnavailable)?;
        Ok(primary.id)
    }

    /// Seals the text with the key's primary version.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, or the token fails.
    pub async fn seal<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        plaintext: Plaintext,
        context: &EncryptionContext,
        budget: &Budget,
    ) -> Result<CiphertextBlob, KeyringError> {
        let version = self.sealing_version(key)?;
        let aad = context.aad();
        let sealed = self
            .token
            .run(budget, move |worker| seal_text(worker, version, aad.as_ref(), &plaintext))
            .await?;
        Ok(blob(version, sealed))
    }

    /// Makes a data key of `bytes` random bytes in the token and seals its Base64 text, both in
    /// one visit.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, or the token fails.
    pub async fn data_key<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        bytes: usize,
        context: &EncryptionContext,
        budget: &Budget,
    ) -> Result<(Plaintext, CiphertextBlob), KeyringError> {
        let version = self.sealing_version(key)?;
        let aad = context.aad();
        let (data_key, sealed) = self
            .token
            .run(budget, move |worker| {
                let data_key = Plaintext::encode(&worker.random(bytes)?);
                let sealed = seal_text(worker, version, aad.as_ref(), &data_key)?;
                Ok((data_key, sealed))
            })
            .await?;
        Ok((data_key, blob(version, sealed)))
    }

    /// Opens a blob with the version that it names.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, the blob does not open, or the token fails.
    pub async fn open<P: Opens>(
        &self,
        key: &AuthorizedKey<P>,
        blob: CiphertextBlob,
        context: &EncryptionContext,
        budget: &Budget,
    ) -> Result<Plaintext, KeyringError> {
        let record = key.record();
        check_cipher(record)?;
        let version = record.version(blob.version).ok_or(ErrorCode::KeyNotFound)?.id;
        let aad = context.aad();
        let opened: Zeroizing<Vec<u8>> = self
            .token
            .run(budget, move |worker| {
                worker.decrypt(
                    version,
                    &blob.iv,
                    aad.as_ref().map(<[u8; 32]>::as_slice),
                    &blob.sealed,
                )
            })
            .await?;
        Ok(Plaintext::from_opened(&opened)?)
    }
}

fn check_cipher(record: &KeyRecord) -> Result<(), ErrorCode> {
    if !record.spec.is_symmetric_cipher() {
        return Err(ErrorCode::RejectedUnsupportedOperation);
    }
    // The job that takes expired material out may be some seconds late.
    if record.material.as_ref().is_some_and(|material| material.is_due(Time::now())) {
        return Err(ErrorCode::KeyPendingImport);
    }
    state::check(record.state, Use::Cryptographic)
}

fn seal_text(
    worker: &mut Worker<'_>,
    version: KeyVersionId,
    aad: Option<&[u8; 32]>,
    text: &Plaintext,
) -> Result<Encrypted, TokenError> {
    worker.encrypt(version, aad.map(<[u8; 32]>::as_slice), text.expose().as_bytes())
}

fn blob(version: KeyVersionId, sealed: Encrypted) -> CiphertextBlob {
    CiphertextBlob { version, iv: sealed.iv, sealed: sealed.sealed }
}
