//! Decryption of a value.

use super::error::require_live;
use super::expected_data_key::{DecryptedDataKey, ExpectedVersion};
use super::parameters::{Selection, UnwrapDataKey};
use crate::authz::{AuthorizedSecret, CanDecrypt, CanUseSecretValue};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{VersionSelector, decrypt_secret};
use crate::model::{CiphertextBlob, SecretData, SecretRef, SecretVersion};
use crate::ops::Context;
use crate::store::StoredValue;

/// Finds a secret, and decrypts the selected version for a reader.
///
/// # Errors
/// As [`Context::secret`] and [`decrypt`]; when the deletion of the secret is scheduled, or the version
/// does not exist.
pub(in crate::ops) async fn read_value<S: CanUseSecretValue>(
    secret: &SecretRef,
    selection: &Selection,
    cx: &Context,
) -> Result<(AuthorizedSecret<S>, SecretVersion, SecretData), ApiError> {
    let selected = selection.selected();
    let expected = ExpectedVersion::<S>::of(secret, &selected, cx)?;
    let data_key = async {
        match &expected {
            Some(expected) => expected.decrypt(cx).await,
            None => None,
        }
    };
    let (found, data_key) = tokio::join!(cx.read_secret_with_value(secret, &selected), data_key);
    let (record, value) = found?.unzip();
    let value = value.flatten();
    let allowed = expected.and_then(|expected| expected.of_record(record.as_ref()));
    let secret = match allowed {
        Some(secret) => secret,
        None => cx.authorize_secret(secret, record)?,
    };
    require_live(secret.record())?;
    let value = value.ok_or_else(|| selection.not_found())?;
    let (version, data) = decrypt::<_, UnwrapDataKey>(&secret, value, data_key, cx).await?;
    Ok((secret, version, data))
}

/// Decrypts a stored value, with permission `P` on the key of its secret. `data_key` is that of the
/// value, if the row is the expected one.
///
/// # Errors
/// As the state of the key requires; `Rejected.Unavailable` for a damaged value;
/// `DryRunOperationError` before the decryption.
pub(super) async fn decrypt<S: CanUseSecretValue, P: CanDecrypt>(
    secret: &AuthorizedSecret<S>,
    value: StoredValue,
    data_key: Option<DecryptedDataKey>,
    cx: &Context,
) -> Result<(SecretVersion, SecretData), ApiError> {
    let record = secret.record();
    let version = record.version(&value.version).ok_or(ErrorCode::ResourceNotFound)?.clone();
    cx.note_secret_version(&version);
    let key = cx.key_of_secret::<S, P>(secret)?;
    let wrapped_key = CiphertextBlob::from_bytes(&version.wrapped_key.0);
    let wrapped_key = wrapped_key.map_err(|source| ApiError::damaged_secret().because(source))?;
    cx.note_version(wrapped_key.version);
    let usable = VersionSelector::OfCiphertext(wrapped_key.version);
    let usable = cx.keyring().decryption_version(&key, usable)?;
    let _not_a_dry_run = cx.execution()?;
    let aad = cx.binding(record, &version).associated_data();
    let expected = data_key.and_then(|data_key| data_key.of(record, &version));
    let data_key = if let Some(expected) = expected {
        expected?
    } else {
        let (keyring, aad) = (cx.keyring(), aad.clone());
        keyring.decrypt_data_key(&usable, wrapped_key, aad, cx.budget()).await?
    };
    let data = decrypt_secret(&data_key, &aad, &value.encrypted)?;
    Ok((version, data))
}
