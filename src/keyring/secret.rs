//! Encryption of the values of secrets. Each value has a random data key of the token, which the key
//! of the secret encrypts in the token; the gateway encrypts the value with AES-256-GCM.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use super::{AesGcm, Execution, Keyring, KeyringError, LastCall, NewKey, UsableVersion};
use crate::authz::{AccountGrant, CanDecrypt, CanEncrypt, Permission};
use crate::model::{
    CiphertextBlob, KeyRecord, KeySpec, KeyUsage, Origin, ProtectionLevel, SecretData, TAG_BYTES,
    Time,
};
use crate::token::{Budget, EncryptOptions, Worker};

/// The bytes of a data key.
const DATA_KEY_BYTES: usize = 32;

/// A value and its data key, both encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedSecret {
    /// The data key, encrypted by the key of the secret.
    pub wrapped_key: CiphertextBlob,
    /// IV, ciphertext and tag of the value.
    pub value: Vec<u8>,
}

impl Keyring {
    /// The key of the gateway for secrets whose creator names no key. The first call creates it.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub async fn internal_key<P: Permission>(
        &self,
        grant: &AccountGrant<P>,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        // Two gateways may each create one; a secret names the key that encrypts it.
        let _one_at_a_time = self.internal_keys.lock().await;
        if let Some(record) = self.store.internal_key() {
            return Ok(record);
        }
        let new = NewKey {
            id: None,
            spec: KeySpec::Aes256,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AliyunKms,
            protection: ProtectionLevel::Hsm,
            instance: None,
            description: "the data keys of secrets".to_owned(),
            tags: BTreeMap::new(),
            rotation: None,
            policy: None,
        };
        self.create_internal(grant, new, now, execution).await
    }

    /// Encrypts a value with a new data key. Both ciphertexts are decrypted and compared before they
    /// are returned, because the value exists nowhere else.
    ///
    /// # Errors
    /// When the version has reached its limit, the token fails, or a ciphertext cannot be decrypted.
    pub async fn encrypt_secret<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        value: SecretData,
        aad: Vec<u8>,
        execution: Execution<'_>,
    ) -> Result<EncryptedSecret, KeyringError> {
        let identity = version.identity_for_use();
        let options = EncryptOptions { iv: None, is_verified: true };
        let job = move |worker: &mut Worker<'_>| {
            let random = worker.random(DATA_KEY_BYTES + NONCE_LEN)?;
            let (data_key, iv) = random.split_at_checked(DATA_KEY_BYTES).unwrap_or((&random, &[]));
            let encrypted = encrypt_value(data_key, iv, &aad, value.expose().as_bytes());
            let wrapped_key = worker.encrypt_as(identity, options, Some(&aad), data_key)?;
            Ok((encrypted, wrapped_key))
        };
        let call = LastCall::new(execution.budget(), None);
        let (value, wrapped_key) = self.encrypt_in(identity, call, job).await?;
        let value = value.map_err(|Unspecified| KeyringError::UnverifiedSecret)?;
        Ok(EncryptedSecret { wrapped_key, value })
    }

    /// Decrypts a data key.
    ///
    /// # Errors
    /// [`KeyringError::DamagedSecret`] when it was not encrypted with this associated data, or the token
    /// fails.
    pub async fn decrypt_data_key<P: CanDecrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        wrapped_key: CiphertextBlob,
        aad: Vec<u8>,
        budget: &Budget,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let identity = version.identity_for_use();
        let wrapped_key = divided(version, wrapped_key)?;
        let job = move |worker: &mut Worker<'_>| {
            let (iv, ciphertext) = (&wrapped_key.iv, &wrapped_key.ciphertext);
            worker.decrypt(identity, iv, Some(&aad), ciphertext)
        };
        self.token.run_with(identity, budget, job).await.map_err(of_secret)
    }
}

/// Decrypts a value.
///
/// # Errors
/// [`KeyringError::DamagedSecret`] when it is not what was encrypted with this associated data.
pub fn decrypt_secret(
    data_key: &[u8],
    aad: &[u8],
    encrypted: &[u8],
) -> Result<SecretData, KeyringError> {
    let value = decrypt_value(data_key, aad, encrypted).ok();
    let data = value.and_then(|value| SecretData::from_decrypted(value).ok());
    data.ok_or(KeyringError::DamagedSecret)
}

fn divided<P>(
    version: &UsableVersion<'_, P, AesGcm>,
    wrapped_key: CiphertextBlob,
) -> Result<CiphertextBlob, KeyringError> {
    version.divided(wrapped_key).map_err(|_too_short| KeyringError::DamagedSecret)
}

/// A data key that cannot be decrypted is damaged, and not a wrong parameter.
pub(super) fn of_secret(error: crate::token::TokenError) -> KeyringError {
    if error.is_bad_ciphertext() { KeyringError::DamagedSecret } else { error.into() }
}

/// Encrypts a value to IV, ciphertext and tag, and compares it with what the ciphertext decrypts to.
fn encrypt_value(
    data_key: &[u8],
    iv: &[u8],
    aad: &[u8],
    value: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let nonce = Nonce::try_assume_unique_for_key(iv)?;
    // With room for the tag: a reallocation would leave the value behind.
    let mut ciphertext = Zeroizing::new(Vec::with_capacity(value.len() + TAG_BYTES));
    ciphertext.extend_from_slice(value);
    cipher(data_key)?.seal_in_place_append_tag(nonce, Aad::from(aad), &mut *ciphertext)?;
    let encrypted = [iv, &ciphertext].concat();
    verify_slices_are_equal(&decrypt_value(data_key, aad, &encrypted)?, value)?;
    Ok(encrypted)
}

/// Decrypts IV, ciphertext and tag.
pub(super) fn decrypt_value(
    data_key: &[u8],
    aad: &[u8],
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let (iv, ciphertext) = encrypted.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
    let nonce = Nonce::try_assume_unique_for_key(iv)?;
    let mut value = Zeroizing::new(ciphertext.to_vec());
    let bytes = cipher(data_key)?.open_in_place(nonce, Aad::from(aad), &mut value)?.len();
    value.truncate(bytes);
    Ok(value)
}

fn cipher(data_key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, data_key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; DATA_KEY_BYTES] = [7; DATA_KEY_BYTES];
    const IV: [u8; NONCE_LEN] = [9; NONCE_LEN];

    #[test]
    fn a_value_is_decrypted_only_with_its_key_and_associated_data() {
        let encrypted = encrypt_value(&KEY, &IV, b"aad", b"hunter2").unwrap();
        assert_eq!(encrypted.len(), NONCE_LEN + b"hunter2".len() + 16);
        assert!(!encrypted.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(**decrypt_value(&KEY, b"aad", &encrypted).unwrap(), *b"hunter2");
        assert!(decrypt_value(&[8; DATA_KEY_BYTES], b"aad", &encrypted).is_err());
        assert!(decrypt_value(&KEY, b"other", &encrypted).is_err());
        for at in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[at] ^= 1;
            assert!(decrypt_value(&KEY, b"aad", &changed).is_err(), "byte {at}");
            assert!(decrypt_value(&KEY, b"aad", &encrypted[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_key_or_an_iv_of_another_length_is_refused() {
        assert!(encrypt_value(&KEY[1..], &IV, b"", b"x").is_err());
        assert!(encrypt_value(&KEY, &IV[1..], b"", b"x").is_err());
    }
}
