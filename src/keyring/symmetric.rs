//! Seal and open with a symmetric key, and data keys.

use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::{Keyring, KeyringError, Use, identity, state};
use crate::authz::{AccountGrant, AuthorizedKey, Opens, Permission, Seals};
use crate::error::ErrorCode;
use crate::model::{
    CiphertextBlob, EncryptionContext, IV_BYTES, KeyRecord, KeyVersionId, Plaintext, Time,
    VerifiedShare,
};
use crate::token::{Budget, Encrypted, KeyIdentity, Sealing};

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
        self.seal_with(key, version, None, plaintext.into_bytes(), aad(context), budget).await
    }

    /// Seals bytes with a version of the key. Empty `aad` is the same as none. An `iv` is the
    /// caller's to answer for; without one the token draws it. Where encryptions are verified, what
    /// is sealed is opened again in the token first.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, the version is not the key's, or the token fails.
    pub async fn seal_with<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        iv: Option<[u8; IV_BYTES]>,
        plaintext: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<CiphertextBlob, KeyringError> {
        let sealing = Sealing { iv, is_verified: self.verifies_next_encryption() };
        self.seal_as(key, version, sealing, plaintext, aad, budget).await
    }

    /// As [`Keyring::seal_with`], for what is lost for good if it does not open: the private half of
    /// a data key pair. It is verified where data keys are.
    pub(super) async fn seal_data_key<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        private: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<CiphertextBlob, KeyringError> {
        let sealing = Sealing { iv: None, is_verified: self.verifies_data_keys };
        self.seal_as(key, version, sealing, private, aad, budget).await
    }

    fn verifies_next_encryption(&self) -> bool {
        match self.verified_encryptions {
            VerifiedShare::Off => false,
            VerifiedShare::All => true,
            share @ VerifiedShare::OneIn(_) => {
                share.has(self.encryptions.fetch_add(1, Ordering::Relaxed))
            }
        }
    }

    async fn seal_as<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        sealing: Sealing,
        plaintext: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<CiphertextBlob, KeyringError> {
        let identity = check_version(key.record(), version)?;
        let reserved = self.invocations.reserve(version, budget.deadline()).await?;
        let sealed = self
            .token
            .run_with(identity, budget, move |worker| {
                worker.encrypt_as(identity, sealing, Some(&aad), &plaintext)
            })
            .await?;
        reserved.settle(&sealed);
        Ok(blob(version, sealed))
    }

    /// Makes a data key of `bytes` random bytes in the token and seals its Base64 text, both in
    /// one visit. Where data keys are verified, the sealed text is opened again there.
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
        let form = DataKeyForm {
            make: |random| Plaintext::encode(&random),
            bytes: |text| text.expose().as_bytes(),
        };
        self.sealed_data_key(key, version, bytes, aad(context), form, budget).await
    }

    /// As [`Keyring::data_key`], with a version of the key, and what is sealed are the random bytes
    /// themselves.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, the version is not the key's, or the token fails.
    pub async fn data_key_with<P: Seals>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        bytes: usize,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<(Zeroizing<Vec<u8>>, CiphertextBlob), KeyringError> {
        let form = DataKeyForm { make: |random| random, bytes: |random| random };
        self.sealed_data_key(key, version, bytes, aad, form, budget).await
    }

    async fn sealed_data_key<P: Seals, T: Send + 'static>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        bytes: usize,
        aad: Vec<u8>,
        form: DataKeyForm<T>,
        budget: &Budget,
    ) -> Result<(T, CiphertextBlob), KeyringError> {
        let identity = check_version(key.record(), version)?;
        let reserved = self.invocations.reserve(version, budget.deadline()).await?;
        let sealing = Sealing { iv: None, is_verified: self.verifies_data_keys };
        let (data_key, sealed) = self
            .token
            .run_with(identity, budget, move |worker| {
                let data_key = (form.make)(worker.random(bytes)?);
                let text = (form.bytes)(&data_key);
                let sealed = worker.encrypt_as(identity, sealing, Some(&aad), text)?;
                Ok((data_key, sealed))
            })
            .await?;
        reserved.settle(&sealed);
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
        let opened = self.open_with(key, blob, aad(context), budget).await?;
        Ok(Plaintext::from_opened(&opened)?)
    }

    /// Opens a blob with the version that it names, to whatever bytes it holds.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, the blob does not open, or the token fails.
    pub async fn open_with<P: Opens>(
        &self,
        key: &AuthorizedKey<P>,
        blob: CiphertextBlob,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let identity = check_version(key.record(), blob.version)?;
        Ok(self
            .token
            .run_with(identity, budget, move |worker| {
                worker.decrypt(identity, &blob.iv, Some(&aad), &blob.sealed)
            })
            .await?)
    }

    /// So many random bytes from the token.
    ///
    /// # Errors
    /// When the token fails.
    pub async fn random<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        bytes: usize,
        budget: &Budget,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        Ok(self.token.run(budget, move |worker| worker.random(bytes)).await?)
    }
}

/// What a data key is made into, and which of its bytes are sealed.
struct DataKeyForm<T> {
    make: fn(Zeroizing<Vec<u8>>) -> T,
    bytes: fn(&T) -> &[u8],
}

fn check_cipher(record: &KeyRecord) -> Result<(), KeyringError> {
    if !record.spec.is_symmetric_cipher() {
        return Err(KeyringError::NotForKey(
            "The KeySpec of the key is not that of a symmetric one",
        ));
    }
    // The job that takes expired material out may be some seconds late.
    if record.material.as_ref().is_some_and(|material| material.is_due(Time::now())) {
        return Err(ErrorCode::KeyPendingImport.into());
    }
    Ok(state::check(record.state, Use::Cryptographic)?)
}

pub(super) fn check_version(
    record: &KeyRecord,
    version: KeyVersionId,
) -> Result<KeyIdentity, KeyringError> {
    check_cipher(record)?;
    let version = record.version(version).ok_or(ErrorCode::KeyNotFound)?;
    Ok(identity(record, version))
}

fn aad(context: &EncryptionContext) -> Vec<u8> {
    context.aad().map(Vec::from).unwrap_or_default()
}

fn blob(version: KeyVersionId, sealed: Encrypted) -> CiphertextBlob {
    CiphertextBlob { version, iv: sealed.iv, sealed: sealed.sealed }
}
