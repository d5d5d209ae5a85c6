//! The key of the row MACs: random, encrypted by the token key that encrypts AccessKey secrets, and kept
//! in the store in this form. Only the token gives it back.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::access_key::{
    AccessKeyError, decrypt_with_any_iv, generate_in_place_of_lost_key, open_encryption_key,
};
use crate::model::{AccessKeyId, AccountId, random};
use crate::store::{AccessMode, LockedStore, RowKey, SignedRows, Store, StoreError};
use crate::token::{Budget, KeyIdentity, Token, TokenError};

/// The token timeout for encrypting or decrypting the key.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// What the encryption is bound to. It is not the id of an AccessKey, which has no slash.
const AAD: &[u8] = b"hsmgate/row-mac-key/1";

/// The secret of the key.
type Secret = Zeroizing<[u8; RowKey::SECRET_BYTES]>;

/// Why the rows of a store cannot be checked or signed.
#[derive(Debug, thiserror::Error)]
pub enum RowKeyError {
    /// The store has rows without MACs: an older version made it, or somebody removed the key.
    #[error(
        "the rows of the database are not signed: an older version of hsmgate made it, or the key of the \
         signatures was removed from it. If you trust its present content, sign it once with \
         `hsmgate store sign --config FILE --reason TEXT`"
    )]
    Unsigned,
    /// The stored key is not one that this token encrypted.
    #[error(
        "the token cannot decrypt the key that signs the rows of the database. Restore a backup with \
         `hsmgate restore`, or, if you trust the present content of the database, sign it with \
         `hsmgate store sign --config FILE --reason TEXT`"
    )]
    Damaged,
    /// Entries of the metadata are missing, or were put back from an older database.
    #[error(
        "entries of the metadata of the database are missing, additional or older than they were: another \
         program changed the database. Put back the newest database, or restore a backup with \
         `hsmgate restore`. If you trust the present content of the database, sign it with \
         `hsmgate store sign --config FILE --reason TEXT`"
    )]
    Metadata,
    /// The key that encrypts it cannot be used.
    #[error("the key that encrypts the key of the row signatures cannot be used")]
    EncryptionKey(#[from] AccessKeyError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[from] TokenError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] Unspecified),
}

/// Opens the key of the row MACs and checks all rows. A new store gets its key. A store that may be changed
/// must have its whole metadata: it says what else the store must have.
///
/// # Errors
/// [`RowKeyError::Unsigned`], [`RowKeyError::Damaged`] and [`RowKeyError::Metadata`]; when token or store
/// fail.
pub async fn unlock(
    locked: &LockedStore,
    token: &Token,
    account: &AccountId,
    mode: AccessMode,
) -> Result<Store, RowKeyError> {
    Ok(unlock_with_key(locked, token, account, mode).await?.0)
}

/// As [`unlock`], with the token key that encrypts the key of the row MACs, which was found in the token.
///
/// # Errors
/// As [`unlock`].
pub async fn unlock_with_key(
    locked: &LockedStore,
    token: &Token,
    account: &AccountId,
    mode: AccessMode,
) -> Result<(Store, KeyIdentity), RowKeyError> {
    let encryption_key = open_encryption_key(locked.unchecked(), token, mode).await?;
    let is_new = mode == AccessMode::ReadWrite
        && locked.wrapped_row_key().await?.is_none()
        && locked.is_new().await?;
    if is_new {
        let (secret, wrapped) = generate(token, encryption_key).await?;
        match locked.sign_new(RowKey::new(&secret, account), &wrapped).await {
            // Another process was faster: its key is the one of the store.
            Err(StoreError::Exists) => {}
            signed => return Ok((signed?, encryption_key)),
        }
    }
    let wrapped = locked.wrapped_row_key().await?.ok_or(RowKeyError::Unsigned)?;
    let secret = decrypt(token, encryption_key, &wrapped).await?;
    let store = locked.unlock(RowKey::new(&secret, account)).await?;
    if mode == AccessMode::ReadWrite && !store.has_whole_metadata().await? {
        return Err(RowKeyError::Metadata);
    }
    Ok((store, encryption_key))
}

/// Signs all rows as they are, with the present key of the store if the token can decrypt it. For an
/// operator who trusts the content.
///
/// # Errors
/// When token or store fail.
pub async fn sign(
    locked: &LockedStore,
    token: &Token,
    account: &AccountId,
    reason: &str,
) -> Result<(Store, Vec<SignedRows>), RowKeyError> {
    let mode = AccessMode::ReadWrite;
    let encryption_key = open_encryption_key(locked.unchecked(), token, mode).await?;
    let present = match locked.wrapped_row_key().await.ok().flatten() {
        Some(wrapped) => match decrypt(token, encryption_key, &wrapped).await {
            Ok(secret) => Some((secret, wrapped)),
            Err(RowKeyError::Damaged) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let (secret, wrapped) = match present {
        Some(present) => present,
        None => generate(token, encryption_key).await?,
    };
    Ok(locked.sign(RowKey::new(&secret, account), &wrapped, reason).await?)
}

/// Replaces a lost encryption key of the token. Nothing can decrypt what it encrypted: all AccessKeys are
/// deleted, and the rows are signed with a new key as they are. Returns the ids of the AccessKeys.
///
/// # Errors
/// [`AccessKeyError::EncryptionKeyExists`] when the key is not lost, and when store or token fail.
pub async fn replace_encryption_key(
    locked: &LockedStore,
    token: &Token,
    account: &AccountId,
) -> Result<(Store, Vec<AccessKeyId>), RowKeyError> {
    generate_in_place_of_lost_key(locked.unchecked(), token).await?;
    let (store, _signed) = sign(locked, token, account, "the encryption key was lost").await?;
    store.record_operator_command("ReplaceAccessKeyEncryptionKey", Vec::new()).await?;
    let mut deleted = Vec::new();
    for row in store.access_state().await?.keys {
        store.delete_access_key(&row.id).await?;
        deleted.push(row.id);
    }
    Ok((store, deleted))
}

/// A new key, and its encrypted form.
async fn generate(
    token: &Token,
    encryption_key: KeyIdentity,
) -> Result<(Secret, String), RowKeyError> {
    let secret: Secret = random::secret()?;
    let plaintext = secret.clone();
    let budget = Budget::new(TOKEN_TIMEOUT);
    let encrypted = token.run_with(encryption_key, &budget, move |worker| {
        worker.encrypt(encryption_key, Some(AAD), &*plaintext)
    });
    let encrypted = encrypted.await?;
    let bytes = [encrypted.iv.as_slice(), &encrypted.ciphertext].concat();
    Ok((secret, STANDARD.encode(bytes)))
}

async fn decrypt(
    token: &Token,
    encryption_key: KeyIdentity,
    wrapped: &str,
) -> Result<Secret, RowKeyError> {
    let encrypted = STANDARD.decode(wrapped).map_err(|_source| RowKeyError::Damaged)?;
    let budget = Budget::new(TOKEN_TIMEOUT);
    let decrypted = token.run_with(encryption_key, &budget, move |worker| {
        decrypt_with_any_iv(worker, encryption_key, AAD, &encrypted)
    });
    let decrypted = decrypted.await.map_err(|error| {
        if error.is_bad_ciphertext() { RowKeyError::Damaged } else { error.into() }
    })?;
    let mut secret: Secret = Zeroizing::new([0; RowKey::SECRET_BYTES]);
    if decrypted.len() != secret.len() {
        return Err(RowKeyError::Damaged);
    }
    secret.copy_from_slice(&decrypted);
    Ok(secret)
}
