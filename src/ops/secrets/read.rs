//! Decryption of a value.

use super::error::require_live;
use super::parameters::{Selection, UnwrapDataKey};
use crate::authz::{AuthorizedSecret, CanDecrypt, CanUseSecretValue};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{EncryptedSecret, VersionSelector};
use crate::model::{CiphertextBlob, SecretData, SecretRef, SecretVersion};
use crate::ops::Context;
use crate::store::StoredValue;

/// Finds a secret, and decrypts the selected version for a reader. `is_last`: nothing after it can
/// fail.
///
/// # Errors
/// As [`Context::secret`] and [`decrypt`]; when the deletion of the secret is scheduled, or the version
/// does not exist.
pub(in crate::ops) async fn read_value<S: CanUseSecretValue>(
    secret: &SecretRef,
    selection: &Selection,
    is_last: bool,
    cx: &Context,
) -> Result<(AuthorizedSecret<S>, SecretVersion, SecretData), ApiError> {
    let (secret, value) = cx.secret_with_value::<S>(secret, &selection.selected()).await?;
    require_live(secret.record())?;
    let value = value.ok_or_else(|| selection.not_found())?;
    let (version, data) = decrypt::<_, UnwrapDataKey>(&secret, value, is_last, cx).await?;
    Ok((secret, version, data))
}

/// Decrypts a stored value, with permission `P` on the key of its secret. `is_last`: nothing after it
/// can fail.
///
/// # Errors
/// As the state of the key requires; `Rejected.Unavailable` for a damaged value;
/// `DryRunOperationError` before the decryption.
pub(super) async fn decrypt<S: CanUseSecretValue, P: CanDecrypt>(
    secret: &AuthorizedSecret<S>,
    value: StoredValue,
    is_last: bool,
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
    let binding = cx.binding(record, &version).associated_data();
    let encrypted = EncryptedSecret { wrapped_key, value: value.encrypted };
    let call = if is_last { cx.last_call() } else { cx.call() };
    let data = cx.keyring().decrypt_secret(&usable, encrypted, binding, call).await?;
    Ok((version, data))
}
