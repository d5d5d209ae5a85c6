//! Authorization for secrets: the only constructor of [`AuthorizedSecret`].
//!
//! A secret has a policy as a key has. Whoever reads or writes its value needs a permission on its
//! key too, if the creator of the secret named one.

use std::marker::PhantomData;
use std::sync::Arc;

use super::access_point::{self, ClientKeyRequest};
use super::evaluate::{ApplicablePolicies, decide};
use super::{AccountGrant, AuthorizationRequest, AuthorizedKey, Authorizer, Permission, decision};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::{KeyPolicy, Resource, ResourceName};
use crate::model::{KeyRecord, RegionAccount, SecretName, SecretRecord};

/// Permissions that let the holder read, write or compare the value of a secret, with its key.
pub trait CanUseSecretValue: Permission {}

/// Permissions that let the holder change a secret.
pub trait CanChangeSecret: Permission {}

/// A secret that was found, and with which the caller may perform exactly `P`.
#[derive(Debug)]
pub struct AuthorizedSecret<P> {
    record: Arc<SecretRecord>,
    permission: PhantomData<fn() -> P>,
}

impl<P> AuthorizedSecret<P> {
    /// The record of the secret.
    pub fn record(&self) -> &Arc<SecretRecord> {
        &self.record
    }
}

impl Authorizer {
    /// Authorizes the caller to perform `P` with a secret that was read.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn secret<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        record: Arc<SecretRecord>,
    ) -> Result<AuthorizedSecret<P>, ApiError> {
        if let Some(client_key) = &request.caller.client_key {
            let by = ClientKeyRequest::of(client_key, request.request.source);
            decision(access_point::allows_secret::<P>(&self.store, by, &record.name))?;
        } else {
            let policy = self.secret_policy(&record)?;
            let policies =
                ApplicablePolicies { key_policy: policy.as_ref(), ..request.applicable_policies() };
            let resource = Resource::new(&self.region_account, ResourceName::Secret(&record.name));
            let wanted = request.policy_request(P::ACTION, resource, Some(&record.tags));
            decision(self.is_allowed(&policies, &wanted, decide(&policies, &wanted)))?;
        }
        Ok(AuthorizedSecret { record, permission: PhantomData })
    }

    /// The error for a secret that does not exist: `Forbidden.ResourceNotFound` if the caller may know
    /// that, and otherwise the same `Forbidden.NoPermission` as for an existing one. `elsewhere` is
    /// another region or account.
    pub fn no_secret(
        &self,
        request: &AuthorizationRequest<'_>,
        name: &SecretName,
        elsewhere: Option<&RegionAccount>,
    ) -> ApiError {
        let region_account = elsewhere.unwrap_or(&self.region_account);
        let resource = Resource::new(region_account, ResourceName::Secret(name));
        self.absent(request, resource, ErrorCode::ResourceNotFound)
    }

    /// The key of a secret, for action `P`. A key that the creator named needs a permission of its
    /// own. For a client key its access point decides about the secret alone.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound` when the key was destroyed, `Forbidden.NoPermission`.
    pub fn key_of_secret<S: CanUseSecretValue, P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        secret: &AuthorizedSecret<S>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let SecretRecord { key, names_key, .. } = *secret.record;
        let record = self.store.key(key).filter(|record| record.state.is_visible());
        let record = record.ok_or(ErrorCode::KeyNotFound)?;
        if names_key && request.caller.client_key.is_none() {
            self.grant(request, record)
        } else {
            Ok(AuthorizedKey { record, permission: PhantomData })
        }
    }

    /// A key of the gateway itself, for a new secret whose creator names no key.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound` for a key that is not one of the gateway.
    pub fn internal_key<S: CanUseSecretValue, P: Permission>(
        &self,
        _grant: &AccountGrant<S>,
        record: Arc<KeyRecord>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        if record.is_internal {
            Ok(AuthorizedKey { record, permission: PhantomData })
        } else {
            Err(ErrorCode::KeyNotFound.into())
        }
    }

    /// The policy of a secret. An unreadable policy allows nothing; only the log tells the reason.
    pub(super) fn secret_policy(
        &self,
        record: &SecretRecord,
    ) -> Result<Option<KeyPolicy>, ApiError> {
        let policy = self.secret_policies.of(record.row, record.policy.as_deref());
        policy.map_err(|fault| ApiError::from(ErrorCode::InternalFailure).because(fault))
    }
}
