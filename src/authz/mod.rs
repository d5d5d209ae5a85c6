//! Authorization: the only constructor of [`AuthorizedKey`] and [`AccountGrant`].
//!
//! Finding a key and authorizing its use are one step, so that an error reveals no more than the
//! caller may know, and no operation can skip the check: `keyring` takes an `AuthorizedKey`, never
//! a `KeyId`. The permission is part of its type, so that permission to describe a key cannot be
//! used to decrypt with it.
//!
//! An `AuthorizedKey` cannot be constructed elsewhere, because its fields are private:
//!
//! ```compile_fail,E0451
//! use hsmgate::authz::AuthorizedKey;
//! use hsmgate::ops::crypto::encrypt::Encrypt;
//! fn forge(record: std::sync::Arc<hsmgate::model::KeyRecord>) -> AuthorizedKey<Encrypt> {
//!     AuthorizedKey { record, permission: std::marker::PhantomData }
//! }
//! ```
//!
//! Nor can it be used for another purpose. Permission to encrypt allows encryption:
//!
//! ```
//! # use hsmgate::{authz::AuthorizedKey, keyring::{Execution, Keyring, VersionSelector}};
//! # use zeroize::Zeroizing;
//! use hsmgate::ops::crypto::encrypt::Encrypt;
//! # async fn encrypt(
//! #     keyring: Keyring, text: Zeroizing<Vec<u8>>, execution: Execution<'_>,
//! #     key: AuthorizedKey<Encrypt>,
//! # ) {
//! let version = keyring.encryption_version::<Encrypt>(&key, VersionSelector::Primary).unwrap();
//! let blob = keyring.encrypt(&version, None, text, Vec::new(), execution.into()).await;
//! # }
//! ```
//!
//! Permission to describe does not:
//!
//! ```compile_fail,E0277
//! # use hsmgate::{authz::AuthorizedKey, keyring::{Keyring, VersionSelector}};
//! use hsmgate::ops::keys::describe_key::DescribeKey;
//! # async fn encrypt(keyring: Keyring, key: AuthorizedKey<DescribeKey>) {
//! let version = keyring.encryption_version(&key, VersionSelector::Primary).unwrap();
//! # }
//! ```
//!
//! A key authorized for one permission is not authorized for another:
//!
//! ```compile_fail,E0308
//! use hsmgate::authz::AuthorizedKey;
//! use hsmgate::ops::{crypto::decrypt::Decrypt, crypto::encrypt::Encrypt};
//! fn swap(key: AuthorizedKey<Encrypt>) -> AuthorizedKey<Decrypt> {
//!     key
//! }
//! ```

mod access_point;
mod authorization_request;
mod costly;
mod evaluate;
mod grant;
mod key_access;
mod key_policies;
mod metrics;
mod role;
mod secret;
mod simulate;

use std::marker::PhantomData;
use std::sync::Arc;

pub use authorization_request::AuthorizationRequest;
pub use costly::{CostlyPolicy, costly_policies, log_costly_policies};
pub use evaluate::{ApplicablePolicies, Decision, MatchedStatement, PolicyType, decide};
pub use grant::AccessChange;
pub use key_access::KeyAccess;
pub use metrics::AuthzMetrics;
pub use role::{AssumableRole, AssumedSession, wrong_duration};
pub use secret::{AuthorizedSecret, CanChangeSecret, CanUseSecretValue};
pub use simulate::{
    SimulatedCaller, SimulatedRequest, SimulatedRole, SimulationResult, UnreadablePolicy, simulate,
};

use crate::error::{ApiError, ErrorCode};
use crate::model::key_ref::KeyName;
use crate::model::policy::{KeyPolicy, PolicyRequest, Resource, ResourceName};
use crate::model::{
    Alias, ClientKeyRecord, KeyId, KeyRecord, KeyRef, KeyVersionId, RegionAccount, SecretRowId,
};
use crate::store::Store;
use access_point::ClientKeyRequest;
use key_policies::ResourcePolicies;

/// The action that reveals whether a key exists.
const DESCRIBE_KEY: &str = "kms:DescribeKey";

/// The action that reveals whether a secret exists.
const DESCRIBE_SECRET: &str = "kms:DescribeSecret";

/// A permission of the policy language. An operation that needs just one is its own permission.
pub trait Permission {
    /// The action of RAM policies, for instance `kms:Encrypt`.
    const ACTION: &'static str;
    /// The permission of an access point that grants it to a client key; `None` if client keys
    /// cannot have it. The public API has other names for the Sign and Verify of the KMS instance
    /// protocol.
    const CLIENT_KEYS: Option<&'static str> = None;
}

/// Permissions that let the holder encrypt with a symmetric key.
pub trait CanEncrypt: Permission {}

/// Permissions that let the holder decrypt with a symmetric key.
pub trait CanDecrypt: Permission {}

/// Permissions that let the holder sign with a key pair.
pub trait CanSign: Permission {}

/// Permissions that let the holder verify signatures of a key pair.
pub trait CanVerify: Permission {}

/// Permissions that let the holder read the public half of a key pair, or encrypt with it.
pub trait CanReadPublicKey: Permission {}

/// Permissions that let the holder decrypt with the private half of a key pair.
pub trait CanDecryptAsymmetric: Permission {}

/// Permissions that let the holder make or verify message authentication codes.
pub trait CanMac: Permission {}

/// Permissions that let the holder import material into an EXTERNAL key, or remove it.
pub trait CanImport: Permission {}

/// Permissions that let the holder change a key: its state, its versions, its metadata.
pub trait CanManage: Permission {}

/// A key that was found, and on which the caller may perform exactly `P`.
#[derive(Debug)]
pub struct AuthorizedKey<P> {
    record: Arc<KeyRecord>,
    permission: PhantomData<fn() -> P>,
}

impl<P> AuthorizedKey<P> {
    /// The record of the key.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }
}

/// The decision that the caller may perform exactly `P` in the account, without a key.
#[derive(Debug)]
pub struct AccountGrant<P> {
    permission: PhantomData<fn() -> P>,
}

/// Finds keys and authorizes requests.
///
/// An error does not reveal whether a key exists: for a key that does not exist, the caller gets
/// `Forbidden.KeyNotFound` only with permission to describe it, and otherwise the same
/// `Forbidden.NoPermission` as for an existing key.
#[derive(Clone)]
pub struct Authorizer {
    region_account: RegionAccount,
    store: Store,
    key_policies: Arc<ResourcePolicies<KeyId>>,
    secret_policies: Arc<ResourcePolicies<SecretRowId>>,
    metrics: AuthzMetrics,
}

impl Authorizer {
    /// Creates an authorizer for the keys of one region and account.
    pub fn new(region_account: RegionAccount, store: Store, metrics: AuthzMetrics) -> Self {
        Self {
            region_account,
            store,
            key_policies: Arc::default(),
            secret_policies: Arc::default(),
            metrics,
        }
    }

    /// Finds the key that `key` names and authorizes the caller of `request` to perform `P` on it.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.AliasNotFound`, `Forbidden.NoPermission`. An ARN of
    /// another region or account is `Forbidden.KeyNotFound`.
    pub fn key<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        if let Some(region_account) = key
            .region_account
            .as_ref()
            .filter(|region_account| **region_account != self.region_account)
        {
            let resource = Resource::new(region_account, named(&key.name));
            return Err(self.absent(request, resource, ErrorCode::KeyNotFound));
        }
        match &key.name {
            KeyName::Id(id) => self.key_with_id(request, *id),
            KeyName::Alias(alias) => match self.store.alias_target(alias) {
                Some(id) => self.key_with_id(request, id),
                None => Err(self.no_alias(request, alias)),
            },
            KeyName::Absent(absent) => {
                let resource =
                    Resource::new(&self.region_account, ResourceName::Other(absent.resource()));
                Err(self.absent(request, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for a key named by its plain id.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_with_id<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        id: KeyId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        match self.store.key(id) {
            Some(record) if record.is_visible() => self.grant(request, record),
            _ => {
                let resource = Resource::new(&self.region_account, ResourceName::Key(id));
                Err(self.absent(request, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for the key that a version belongs to.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_version<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let is_known =
            |record: &Arc<KeyRecord>| record.is_visible() && record.version(version).is_some();
        if let Some(record) = self.store.key_of_version(version).filter(is_known) {
            return self.grant(request, record);
        }
        Err(self.no_version(request, &version.to_string()))
    }

    /// The error for an unknown key version, for which the key is unknown too. The version id
    /// stands in for the key id: a requester that may describe any key gets
    /// `Forbidden.KeyNotFound`, others `Forbidden.NoPermission`.
    pub fn no_version(&self, request: &AuthorizationRequest<'_>, version: &str) -> ApiError {
        let name = format!("key/{version}");
        let resource = Resource::new(&self.region_account, ResourceName::Other(&name));
        self.absent(request, resource, ErrorCode::KeyNotFound)
    }

    /// Finds the key that an alias names and authorizes the caller of `request` to perform `P` on both.
    ///
    /// # Errors
    /// `Forbidden.AliasNotFound`, `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_alias<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        alias: &Alias,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.alias::<P>(request, alias)?;
        match self.store.alias_target(alias) {
            Some(id) => self.key_with_id(request, id),
            None => Err(self.no_alias(request, alias)),
        }
    }

    /// Authorizes `request` to perform `P` on an alias, whatever key it names.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn alias<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        alias: &Alias,
    ) -> Result<(), ApiError> {
        self.check::<P>(
            request,
            Resource::new(&self.region_account, ResourceName::Alias(alias)),
            None,
        )
    }

    /// Authorizes `request` to perform `P` on a key whose row is locked for a change: the record
    /// is the one on disk, which may be newer than the one in memory.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn locked_key<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        record: &KeyRecord,
    ) -> Result<(), ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Key(record.id));
        if record.is_visible() {
            self.check::<P>(request, resource, Some(record))
        } else {
            Err(self.absent(request, resource, ErrorCode::KeyNotFound))
        }
    }

    /// Authorizes `request` to perform `P` in the account; `container` is the resource that
    /// stands for all of a kind, such as `key` or `alias`.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn account<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        container: &str,
    ) -> Result<AccountGrant<P>, ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Other(container));
        self.check::<P>(request, resource, None)?;
        Ok(AccountGrant { permission: PhantomData })
    }

    fn grant<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        record: Arc<KeyRecord>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Key(record.id));
        self.check::<P>(request, resource, Some(&record))?;
        Ok(AuthorizedKey { record, permission: PhantomData })
    }

    fn check<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        resource: Resource<'_>,
        record: Option<&KeyRecord>,
    ) -> Result<(), ApiError> {
        if let Some(client_key) = &request.caller.client_key {
            return self.check_client_key::<P>(request, client_key, &resource, record);
        }
        let key_policy = self.key_policy(record)?;
        let policies =
            ApplicablePolicies { key_policy: key_policy.as_ref(), ..request.applicable_policies() };
        let tags = record.map(|record| &record.tags);
        let policy_request = request.policy_request(P::ACTION, resource, tags);
        decision(self.is_allowed(&policies, &policy_request, decide(&policies, &policy_request)))
    }

    /// A client key has the permissions of its access point that the key policy does not deny.
    fn check_client_key<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        client_key: &ClientKeyRecord,
        resource: &Resource<'_>,
        record: Option<&KeyRecord>,
    ) -> Result<(), ApiError> {
        let by = ClientKeyRequest::of(client_key, request.request.source);
        decision(access_point::allows::<P>(&self.store, by, record))?;
        let Some(key_policy) = self.key_policy(record)? else { return Ok(()) };
        let account = &request.caller.account;
        if !by.is_named_by(&key_policy, account) {
            return Ok(());
        }
        let permission = P::CLIENT_KEYS.unwrap_or(P::ACTION);
        let Resource { region_account, name, .. } = *resource;
        let named = access_point::names_of(P::ACTION, permission).map(|action| {
            let tags = record.map(|record| &record.tags);
            request.policy_request(action, Resource::new(region_account, name), tags)
        });
        let named: Vec<_> = named.collect();
        let denial = evaluate::decide_client_key(&key_policy, by, account, &named);
        let policies = request.applicable_policies();
        decision(match (denial, named.first()) {
            (Some(denial), Some(first)) => self.is_allowed(&policies, first, denial),
            _ => true,
        })
    }

    /// The policy of a key. An unreadable policy allows nothing; only the log tells the reason.
    fn key_policy(&self, record: Option<&KeyRecord>) -> Result<Option<KeyPolicy>, ApiError> {
        let of_key = |record: &KeyRecord| self.key_policies.of(record.id, record.policy.as_deref());
        let policy = record.map(of_key).transpose();
        let policy =
            policy.map_err(|fault| ApiError::from(ErrorCode::InternalFailure).because(fault))?;
        Ok(policy.flatten())
    }

    /// The error for a missing resource: `code` if the request may know that it does not exist.
    fn absent(
        &self,
        request: &AuthorizationRequest<'_>,
        resource: Resource<'_>,
        code: ErrorCode,
    ) -> ApiError {
        let may_know = if let Some(client_key) = &request.caller.client_key {
            let client_key_request = ClientKeyRequest::of(client_key, request.request.source);
            access_point::may_know(&self.store, client_key_request, &resource)
        } else {
            let reveals = match resource.name {
                ResourceName::Secret(_) => DESCRIBE_SECRET,
                _ => DESCRIBE_KEY,
            };
            let policy_request = request.policy_request(reveals, resource, None);
            let policies = request.applicable_policies();
            self.is_allowed(
                &policies,
                &policy_request,
                evaluate::decide_own_side(&policies, &policy_request),
            )
        };
        if may_know { code.into() } else { ErrorCode::NoPermission.into() }
    }

    /// Whether a decision allows the request. Policies that exceed the steps are logged, because every
    /// request that depends on them is denied.
    fn is_allowed(
        &self,
        policies: &ApplicablePolicies<'_>,
        policy_request: &PolicyRequest<'_>,
        decision: Decision<'_>,
    ) -> bool {
        if decision == Decision::OutOfSteps {
            self.metrics.policy_out_of_steps.inc();
            tracing::warn!(
                event = "policy.steps_exhausted",
                principal = %policies.principal,
                action = policy_request.action,
                resource = policy_request.resource.arn(),
                "request denied: the policies of principal, session and key need more steps than a decision has"
            );
        }
        decision.is_allowed()
    }

    fn no_alias(&self, request: &AuthorizationRequest<'_>, alias: &Alias) -> ApiError {
        let resource = Resource::new(&self.region_account, ResourceName::Alias(alias));
        self.absent(request, resource, ErrorCode::AliasNotFound)
    }
}

fn decision(is_allowed: bool) -> Result<(), ApiError> {
    if is_allowed { Ok(()) } else { Err(ErrorCode::NoPermission.into()) }
}

fn named(name: &KeyName) -> ResourceName<'_> {
    match name {
        KeyName::Id(id) => ResourceName::Key(*id),
        KeyName::Alias(alias) => ResourceName::Alias(alias),
        KeyName::Absent(absent) => ResourceName::Other(absent.resource()),
    }
}
