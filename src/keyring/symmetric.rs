//! Encryption and decryption with a symmetric key, and data keys.

use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::invocations::Reservation;
use super::{
    AesGcm, Execution, KeyAction, Keyring, KeyringError, LastCall, LastExecution, UsableVersion,
    VersionSelector,
};
use crate::authz::{AccountGrant, AuthorizedKey, CanDecrypt, CanEncrypt, Permission};
use crate::error::ErrorCode;
use crate::model::{CiphertextBlob, IV_BYTES, InvalidId, Plaintext, VerificationRate, clock};
use crate::token::{EncryptOptions, Encrypted, KeyIdentity, ObjectOwner, TokenError, Worker};

impl Keyring {
    /// Returns a version that can encrypt with this key now.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, or the version does not exist.
    pub fn encryption_version<'k, P: CanEncrypt>(
        &self,
        key: &'k AuthorizedKey<P>,
        version: VersionSelector,
    ) -> Result<UsableVersion<'k, P, AesGcm>, KeyringError> {
        cipher_version(key, version)
    }

    /// Returns a version that can decrypt with this key now.
    ///
    /// # Errors
    /// As [`Keyring::encryption_version`].
    pub fn decryption_version<'k, P: CanDecrypt>(
        &self,
        key: &'k AuthorizedKey<P>,
        version: VersionSelector,
    ) -> Result<UsableVersion<'k, P, AesGcm>, KeyringError> {
        cipher_version(key, version)
    }

    /// Encrypts bytes. An empty `aad` is the same as none. The caller is responsible for a given
    /// `iv`; otherwise the token generates it. If encryptions are verified, the ciphertext is
    /// decrypted in the token first.
    ///
    /// # Errors
    /// When the version has reached its limit, or the token fails.
    pub async fn encrypt<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        iv: Option<[u8; IV_BYTES]>,
        plaintext: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        execution: LastExecution<'_>,
    ) -> Result<CiphertextBlob, KeyringError> {
        let options = EncryptOptions { iv, is_verified: self.verifies_next_encryption() };
        self.encrypt_as(version.identity_for_use(), options, plaintext, aad, execution.into_call())
            .await
    }

    /// As [`Keyring::encrypt`], for a plaintext that exists nowhere else: the private key of a data
    /// key pair. It is verified if data keys are.
    pub(super) async fn encrypt_data_key<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        private: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        execution: Execution<'_>,
    ) -> Result<CiphertextBlob, KeyringError> {
        let options = EncryptOptions { iv: None, is_verified: self.verifies_data_keys };
        let call = LastCall::new(execution.budget(), None);
        self.encrypt_as(version.identity_for_use(), options, private, aad, call).await
    }

    fn verifies_next_encryption(&self) -> bool {
        match self.verified_encryptions {
            VerificationRate::Off => false,
            VerificationRate::All => true,
            rate @ VerificationRate::OneIn(_) => {
                rate.includes(self.encryptions.fetch_add(1, Ordering::Relaxed))
            }
        }
    }

    pub(super) async fn encrypt_as(
        &self,
        identity: KeyIdentity,
        options: EncryptOptions,
        plaintext: Zeroizing<Vec<u8>>,
        aad: Vec<u8>,
        call: LastCall<'_>,
    ) -> Result<CiphertextBlob, KeyringError> {
        let job = move |worker: &mut Worker<'_>| {
            let encrypted = worker.encrypt_as(identity, options, Some(&aad), &plaintext)?;
            Ok(((), encrypted))
        };
        let ((), blob) = self.encrypt_in(identity, call, job).await?;
        Ok(blob)
    }

    /// Runs a job that encrypts once, and returns a further value of it with the blob.
    pub(super) async fn encrypt_in<T: Send + 'static>(
        &self,
        identity: KeyIdentity,
        call: LastCall<'_>,
        job: impl FnOnce(&mut Worker<'_>) -> Result<(T, Encrypted), TokenError> + Send + 'static,
    ) -> Result<(T, CiphertextBlob), KeyringError> {
        let LastCall { budget, completion } = call;
        let reserved = self.invocations.reserve(identity.id(), budget.deadline()).await?;
        let job = move |worker: &mut Worker<'_>| {
            let (value, encrypted) = job(worker)?;
            let uses = encrypted.uses;
            Ok(blob(identity, encrypted).map(|blob| (value, blob, uses)))
        };
        let encrypted = self.token.run_last(identity, budget, completion, job).await;
        let (value, blob, uses) =
            encrypted.map_err(|error| self.failed_encryption(identity, &reserved, error))??;
        reserved.release_unused(uses);
        Ok((value, blob))
    }

    /// Generates a data key of `bytes` random bytes in the token and encrypts it, both in one job.
    /// If data keys are verified, the ciphertext is decrypted there.
    ///
    /// # Errors
    /// As [`Keyring::encrypt`].
    pub async fn data_key<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        bytes: usize,
        aad: Vec<u8>,
        execution: LastExecution<'_>,
    ) -> Result<(Zeroizing<Vec<u8>>, CiphertextBlob), KeyringError> {
        let form = DataKeyForm { make: |random| random, bytes: |random| random };
        self.encrypted_data_key(version.identity_for_use(), bytes, aad, form, execution.into_call())
            .await
    }

    /// As [`Keyring::data_key`], but encrypts the Base64 text of the random bytes.
    ///
    /// # Errors
    /// As [`Keyring::encrypt`].
    pub async fn data_key_text<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        bytes: usize,
        aad: Vec<u8>,
        execution: LastExecution<'_>,
    ) -> Result<(Plaintext, CiphertextBlob), KeyringError> {
        let form = DataKeyForm {
            make: |random| Plaintext::encode(&random),
            bytes: |text| text.expose().as_bytes(),
        };
        self.encrypted_data_key(version.identity_for_use(), bytes, aad, form, execution.into_call())
            .await
    }

    async fn encrypted_data_key<T: Send + 'static>(
        &self,
        identity: KeyIdentity,
        bytes: usize,
        aad: Vec<u8>,
        form: DataKeyForm<T>,
        call: LastCall<'_>,
    ) -> Result<(T, CiphertextBlob), KeyringError> {
        let options = EncryptOptions { iv: None, is_verified: self.verifies_data_keys };
        let job = move |worker: &mut Worker<'_>| {
            let data_key = (form.make)(worker.random(bytes)?);
            let text = (form.bytes)(&data_key);
            let encrypted = worker.encrypt_as(identity, options, Some(&aad), text)?;
            Ok((data_key, encrypted))
        };
        self.encrypt_in(identity, call, job).await
    }

    /// The error of an encryption. A key that soon gets a new version is only unavailable until then.
    fn failed_encryption(
        &self,
        identity: KeyIdentity,
        reserved: &Reservation,
        error: TokenError,
    ) -> KeyringError {
        self.note_failed_encryption(reserved, &error);
        let can_rotate = || match identity.name.owner {
            ObjectOwner::Key(key) => self.store.key(key).is_some_and(|record| record.can_rotate()),
            ObjectOwner::Service(_) => false,
        };
        if error.is_key_exhausted() && can_rotate() {
            return KeyringError::Token(error);
        }
        error.into()
    }

    /// Counts a failure that may be caused by the key version: the token itself passed its health
    /// check after it.
    fn note_failed_encryption(&self, reserved: &Reservation, error: &TokenError) {
        let may_be_key = error.is_key_exhausted() || error.is_ambiguous_encryption();
        if may_be_key && self.token.ready().is_ok() {
            self.invocations.note_failure(reserved, error);
        }
    }

    /// Decrypts a blob to bytes. The blob's own version id is not used.
    ///
    /// # Errors
    /// When the blob cannot be decrypted, or the token fails.
    pub async fn decrypt<P: CanDecrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        blob: CiphertextBlob,
        aad: Vec<u8>,
        call: LastCall<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.decrypt_to(version, blob, aad, call, Ok).await
    }

    /// As [`Keyring::decrypt`], to the Base64 text that the public API encrypts.
    ///
    /// # Errors
    /// As [`Keyring::decrypt`], and when the plaintext is not such a text.
    pub async fn decrypt_text<P: CanDecrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        blob: CiphertextBlob,
        aad: Vec<u8>,
        call: LastCall<'_>,
    ) -> Result<Plaintext, KeyringError> {
        let form = |text: Zeroizing<Vec<u8>>| Plaintext::from_decrypted(&text);
        self.decrypt_to(version, blob, aad, call, form).await
    }

    /// Decrypts a blob, and reads the plaintext in the same job, so that nothing fails after it.
    async fn decrypt_to<P: CanDecrypt, T: Send + 'static>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        blob: CiphertextBlob,
        aad: Vec<u8>,
        call: LastCall<'_>,
        form: fn(Zeroizing<Vec<u8>>) -> Result<T, InvalidId>,
    ) -> Result<T, KeyringError> {
        let identity = version.identity_for_use();
        let blob = version.divided(blob)?;
        let job = move |worker: &mut Worker<'_>| {
            let plaintext = worker.decrypt(identity, &blob.iv, Some(&aad), &blob.ciphertext)?;
            Ok(form(plaintext))
        };
        let LastCall { budget, completion } = call;
        Ok(self.token.run_last(identity, budget, completion, job).await??)
    }

    /// Generates random bytes with the token.
    ///
    /// # Errors
    /// When the token fails.
    pub async fn random<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        bytes: usize,
        execution: Execution<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        Ok(self.token.run(execution.budget(), move |worker| worker.random(bytes)).await?)
    }
}

/// The form of a data key, and which of its bytes are encrypted.
struct DataKeyForm<T> {
    make: fn(Zeroizing<Vec<u8>>) -> T,
    bytes: fn(&T) -> &[u8],
}

fn cipher_version<P>(
    key: &AuthorizedKey<P>,
    version: VersionSelector,
) -> Result<UsableVersion<'_, P, AesGcm>, KeyringError> {
    let record = key.record();
    if !record.spec.is_symmetric_cipher() {
        return Err(KeyringError::NotForKey("The KeySpec of the key is not symmetric"));
    }
    // The job that deletes expired material may be some seconds late.
    if record.material.as_ref().is_some_and(|material| material.is_due(clock::now())) {
        return Err(ErrorCode::KeyPendingImport.into());
    }
    Ok(UsableVersion::new(key, KeyAction::Cryptographic, version)?.with_aes_gcm())
}

impl<P> UsableVersion<'_, P, AesGcm> {
    /// The blob, divided into IV and ciphertext as those of this version are.
    ///
    /// # Errors
    /// When it is too short.
    pub fn divided(&self, blob: CiphertextBlob) -> Result<CiphertextBlob, KeyringError> {
        let divided = blob.with_iv_length(self.identity.name.iv_length);
        divided.map_err(|_too_short| KeyringError::BadCiphertext)
    }
}

/// The blob of a version, unless the token makes IVs of another length since the version was
/// created: a blob does not show the length of its IV.
fn blob(version: KeyIdentity, encrypted: Encrypted) -> Result<CiphertextBlob, KeyringError> {
    let Encrypted { iv, ciphertext, .. } = encrypted;
    if iv.length() != version.name.iv_length {
        return Err(KeyringError::OTHER_IV_LENGTH);
    }
    Ok(CiphertextBlob { version: version.id(), iv, ciphertext })
}
