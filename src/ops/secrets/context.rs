//! Finds and authorizes secrets. They are read from disk, so that a change of another gateway is
//! visible when it is answered.

use std::sync::Arc;

use super::error::{SecretError, require_live};
use crate::audit::{UsedSecret, UsedVersion};
use crate::authz::{
    AccountGrant, AuthorizedKey, AuthorizedSecret, CanChangeSecret, CanUseSecretValue, Permission,
};
use crate::error::ApiError;
use crate::model::{
    KeyId, KeyRecord, SecretBinding, SecretName, SecretRecord, SecretRef, SecretVersion,
    SelectedVersion,
};
use crate::ops::Context;
use crate::store::StoredValue;

impl Context {
    /// Finds a secret and authorizes action `P` on it.
    ///
    /// # Errors
    /// `Forbidden.ResourceNotFound`, `Forbidden.NoPermission`; `Rejected.Unavailable` for a damaged
    /// one.
    pub async fn secret<P: Permission>(
        &self,
        secret: &SecretRef,
    ) -> Result<AuthorizedSecret<P>, ApiError> {
        self.note_secret(&secret.name);
        let found = if self.is_local_secret(secret) {
            self.store().secret(&secret.name).await.map_err(SecretError::from)?
        } else {
            None
        };
        self.authorize_secret(secret, found)
    }

    /// As [`Context::secret`], with the encrypted value of a version, if that exists.
    ///
    /// # Errors
    /// As [`Context::secret`].
    pub async fn secret_with_value<P: Permission>(
        &self,
        secret: &SecretRef,
        selected: &SelectedVersion,
    ) -> Result<(AuthorizedSecret<P>, Option<StoredValue>), ApiError> {
        let (record, value) = self.read_secret_with_value(secret, selected).await?.unzip();
        Ok((self.authorize_secret(secret, record)?, value.flatten()))
    }

    /// Reads a secret with the encrypted value of a version, for an authorization.
    ///
    /// # Errors
    /// `Rejected.Unavailable` for a damaged one.
    pub(super) async fn read_secret_with_value(
        &self,
        secret: &SecretRef,
        selected: &SelectedVersion,
    ) -> Result<Option<(Arc<SecretRecord>, Option<StoredValue>)>, ApiError> {
        self.note_secret(&secret.name);
        if !self.is_local_secret(secret) {
            return Ok(None);
        }
        let found = self.store().secret_with_value(&secret.name, selected).await;
        let found = found.map_err(SecretError::from)?;
        Ok(found.map(|found| (found.record, found.value)))
    }

    /// A secret as this process last saw it, if that allows action `P`, and no dry run. Its charge is the
    /// one of the call.
    ///
    /// # Errors
    /// When the call is above a limit.
    pub(super) fn expected_secret<P: Permission>(
        &self,
        secret: &SecretRef,
    ) -> Result<Option<AuthorizedSecret<P>>, ApiError> {
        if self.execution().is_err() || !self.is_local_secret(secret) {
            return Ok(None);
        }
        let Some(record) = self.store().last_seen_secret(&secret.name) else { return Ok(None) };
        let authorizer = &self.services.authorizer;
        let allowed = authorizer.secret(&self.authorization_request(None), record).ok();
        if allowed.is_some() {
            self.charge_account_limit()?;
        }
        Ok(allowed)
    }

    /// The key of an expected secret, if its use is allowed.
    pub(super) fn expected_key_of_secret<S: CanUseSecretValue, P: Permission>(
        &self,
        secret: &AuthorizedSecret<S>,
    ) -> Option<AuthorizedKey<P>> {
        let request = self.authorization_request(None);
        self.services.authorizer.key_of_secret(&request, secret).ok()
    }

    /// Authorizes action `P` on a secret that was read, if it exists.
    ///
    /// # Errors
    /// As [`Context::secret`].
    pub(super) fn authorize_secret<P: Permission>(
        &self,
        secret: &SecretRef,
        found: Option<Arc<SecretRecord>>,
    ) -> Result<AuthorizedSecret<P>, ApiError> {
        let request = self.authorization_request(None);
        let Some(record) = found else {
            let elsewhere = secret.region_account.as_ref();
            return Err(self.services.authorizer.no_secret(&request, &secret.name, elsewhere));
        };
        let authorized = self.services.authorizer.secret(&request, record)?;
        self.charge_account_limit()?;
        Ok(authorized)
    }

    /// The key of a secret, authorized for `P`.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_secret<S: CanUseSecretValue, P: Permission>(
        &self,
        secret: &AuthorizedSecret<S>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let found =
            self.services.authorizer.key_of_secret(&self.authorization_request(None), secret);
        let key: AuthorizedKey<P> =
            found.inspect_err(|_refused| self.note_refused(Some(secret.record().key)))?;
        self.note_key(key.record().id);
        Ok(key)
    }

    /// The key that the caller names for a new secret, authorized for `P`.
    ///
    /// # Errors
    /// As [`Context::key`].
    pub(super) fn named_key<P: Permission>(
        &self,
        key: &crate::model::KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key(&self.authorization_request(None), key);
        let key: AuthorizedKey<P> =
            found.inspect_err(|_refused| self.note_refused(self.requested_key(key)))?;
        self.note_key(key.record().id);
        Ok(key)
    }

    /// A key of the gateway itself, for a new secret.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound` for another key.
    pub(super) fn internal_key<S: CanUseSecretValue, P: Permission>(
        &self,
        grant: &AccountGrant<S>,
        record: Arc<KeyRecord>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.note_key(record.id);
        self.services.authorizer.internal_key(grant, record)
    }

    /// Changes a secret whose deletion is not scheduled.
    ///
    /// # Errors
    /// `Rejected.ResourceInDeleteWindow`, what `change` returns, and when the store fails.
    pub(in crate::ops) async fn change_secret<P: CanChangeSecret>(
        &self,
        secret: &AuthorizedSecret<P>,
        change: impl FnOnce(&mut SecretRecord) -> Result<(), ApiError>,
    ) -> Result<Arc<SecretRecord>, ApiError> {
        let _execution = self.execution()?;
        let change = |record: &mut SecretRecord| {
            require_live(record)?;
            Ok::<_, SecretError>(change(record)?)
        };
        Ok(self.store().change_secret(secret.record(), None, change).await?)
    }

    /// What the value of a version is bound to.
    pub(super) fn binding<'a>(
        &'a self,
        secret: &'a SecretRecord,
        version: &'a SecretVersion,
    ) -> SecretBinding<'a> {
        SecretBinding {
            instance: &self.instance().id,
            region_account: self.region_account(),
            name: &secret.name,
            row: secret.row,
            version: &version.id,
            data_type: version.data_type,
            key: secret.key,
        }
    }

    /// Records the version that is read or written, for the audit.
    pub(super) fn note_secret_version(&self, version: &SecretVersion) {
        let used = UsedVersion { id: version.id.clone(), stages: version.stages.clone() };
        let _ = self.secret_version.set(used);
    }

    /// Records the secret of an operation, for the audit.
    pub(super) fn note_secret(&self, name: &SecretName) {
        let _ = self.secret.set(name.clone());
    }

    /// The secret that the operation is about, for the audit.
    pub fn used_secret(&self) -> Option<UsedSecret> {
        let name = self.secret.get()?.clone();
        Some(UsedSecret { name, version: self.secret_version.get().cloned() })
    }

    /// Records and logs how many secrets cannot be read while a key has its new state.
    pub(in crate::ops) fn note_affected_secrets(&self, key: KeyId) {
        let secrets = self.store().secrets_of_key(key).len();
        if secrets == 0 || self.affected_secrets.set(secrets).is_err() {
            return;
        }
        tracing::warn!(
            event = "key.secrets_affected",
            key_id = %key,
            secrets,
            "secrets cannot be read while their key is disabled or pending deletion"
        );
    }

    /// Whether a secret is one of this region and account.
    fn is_local_secret(&self, secret: &SecretRef) -> bool {
        secret.region_account.as_ref().is_none_or(|named| named == self.region_account())
    }
}
