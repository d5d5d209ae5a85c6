//! The data key that a reader is expected to need. The token decrypts it while the row of the secret is
//! read, so that one does not wait for the other. It is used only for a row that names it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::parameters::UnwrapDataKey;
use crate::authz::{AuthorizedKey, AuthorizedSecret, CanUseSecretValue};
use crate::error::ApiError;
use crate::keyring::{KeyringError, VersionSelector};
use crate::model::{
    CiphertextBlob, KeyId, SecretRecord, SecretRef, SecretRowId, SecretVersion, SelectedVersion,
};
use crate::ops::Context;

/// A version of a secret as this process last saw it.
pub(super) struct ExpectedVersion<S> {
    secret: AuthorizedSecret<S>,
    key: AuthorizedKey<UnwrapDataKey>,
    version: SecretVersion,
}

/// A decrypted data key, with the version that it belongs to.
pub(super) struct DecryptedDataKey {
    row: SecretRowId,
    key: KeyId,
    version: SecretVersion,
    outcome: Result<Zeroizing<Vec<u8>>, KeyringError>,
}

impl<S: CanUseSecretValue> ExpectedVersion<S> {
    /// The version that a call selects, if memory knows it and allows its use. What memory refuses is
    /// decided by the row.
    ///
    /// # Errors
    /// When the call is above a limit.
    pub(super) fn of(
        secret: &SecretRef,
        selected: &SelectedVersion,
        cx: &Context,
    ) -> Result<Option<Self>, ApiError> {
        let Some(secret) = cx.expected_secret::<S>(secret)? else { return Ok(None) };
        let version = secret.record().selected(selected).cloned();
        let key = cx.expected_key_of_secret(&secret);
        let both = version.zip(key);
        Ok(both.map(|(version, key)| Self { secret, key, version }))
    }

    /// Decrypts the data key, if the state of its key allows it.
    pub(super) async fn decrypt(&self, cx: &Context) -> Option<DecryptedDataKey> {
        let Self { secret, key, version } = self;
        let record = secret.record();
        let wrapped_key = CiphertextBlob::from_bytes(&version.wrapped_key.0).ok()?;
        let usable = VersionSelector::OfCiphertext(wrapped_key.version);
        let usable = cx.keyring().decryption_version(key, usable).ok()?;
        let aad = cx.binding(record, version).associated_data();
        let outcome = cx.keyring().decrypt_data_key(&usable, wrapped_key, aad, cx.budget()).await;
        let version = version.clone();
        Some(DecryptedDataKey { row: record.row, key: record.key, version, outcome })
    }

    /// The authorized secret, if the record on disk is the one in memory.
    pub(super) fn of_record(self, read: Option<&Arc<SecretRecord>>) -> Option<AuthorizedSecret<S>> {
        read.is_some_and(|read| Arc::ptr_eq(read, self.secret.record())).then_some(self.secret)
    }
}

impl DecryptedDataKey {
    /// The data key of a version of a secret, if it is this one.
    pub(super) fn of(
        self,
        record: &SecretRecord,
        version: &SecretVersion,
    ) -> Option<Result<Zeroizing<Vec<u8>>, KeyringError>> {
        let is_same = self.row == record.row && self.key == record.key && self.version == *version;
        is_same.then_some(self.outcome)
    }
}
