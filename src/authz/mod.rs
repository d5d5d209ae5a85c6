//! May they, with this key: the only maker of [`AuthorizedKey`] and [`AccountGrant`].
//!
//! Finding a key and being allowed to use it are one step, so that a refusal cannot tell more
//! than the caller may know, and no operation can forget the check: `keyring` takes an
//! `AuthorizedKey`, never a `KeyId`. The permission is part of its type, so that leave to
//! describe a key cannot be spent on decrypting with it.
//!
//! One cannot be made by hand, since its fields are private:
//!
//! ```compile_fail,E0451
//! use hsmgate::authz::AuthorizedKey;
//! use hsmgate::ops::crypto::encrypt::Encrypt;
//! fn forge(record: std::sync::Arc<hsmgate::model::KeyRecord>) -> AuthorizedKey<Encrypt> {
//!     AuthorizedKey { record, permission: std::marker::PhantomData }
//! }
//! ```
//!
//! Nor can one be spent on something else. Permission to encrypt allows to encrypt:
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
//! let blob = keyring.encrypt(&version, None, text, Vec::new(), execution).await;
//! # }
//! ```
//!
//! and leave to describe does not:
//!
//! ```compile_fail,E0277
//! # use hsmgate::{authz::AuthorizedKey, keyring::{Keyring, VersionSelector}};
//! use hsmgate::ops::keys::describe_key::DescribeKey;
//! # async fn encrypt(keyring: Keyring, key: AuthorizedKey<DescribeKey>) {
//! let version = keyring.encryption_version(&key, VersionSelector::Primary).unwrap();
//! # }
//! ```
//!
//! A key that was authorised for one permission is not one that was authorised for another:
//!
//! ```compile_fail,E0308
//! use hsmgate::authz::AuthorizedKey;
//! use hsmgate::ops::{crypto::decrypt::Decrypt, crypto::encrypt::Encrypt};
//! fn swap(key: AuthorizedKey<Encrypt>) -> AuthorizedKey<Decrypt> {
//!     key
//! }
//! ```

mod access_point;
mod costly;
mod evaluate;
mod key_policies;
mod requester;
mod simulate;

use std::marker::PhantomData;
use std::sync::Arc;

pub use costly::{CostlyPolicy, costly_policies, log_costly_policies};
pub use evaluate::{ApplicablePolicies, Decision, MatchedStatement, PolicyType, decide};
pub use requester::Requester;
pub use simulate::{SimulatedRequest, SimulationResult, UnreadablePolicy, simulate};

use crate::error::{ApiError, ErrorCode};
use crate::model::key_ref::KeyName;
use crate::model::policy::{PolicyRequest, Resource, ResourceName};
use crate::model::{Alias, KeyId, KeyRecord, KeyRef, KeyVersionId, RegionAccount};
use crate::store::Store;
use crate::telemetry::metrics::metrics;
use access_point::ClientKeyRequest;
use key_policies::KeyPolicies;

/// The action of whoever may know that a key is there.
const DESCRIBE_KEY: &str = "kms:DescribeKey";

/// A permission of the policy language. An operation that needs just one is its own permission.
pub trait Permission {
    /// The action of RAM policies, for instance `kms:Encrypt`.
    const ACTION: &'static str;
    /// The permission of an access point that gives it to a client key; none where client keys
    /// cannot have it. The public API has the Sign and Verify of the KMS instance protocol under
    /// other names.
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

/// Permissions that let the holder bring material into an EXTERNAL key, or take it out.
pub trait CanImport: Permission {}

/// Permissions that let the holder change a key: its state, its versions, its facts.
pub trait CanManage: Permission {}

/// A key, found, and a verdict that the caller may do exactly `P` with it.
#[derive(Debug)]
pub struct AuthorizedKey<P> {
    record: Arc<KeyRecord>,
    permission: PhantomData<fn() -> P>,
}

impl<P> AuthorizedKey<P> {
    /// What is known of the key.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }
}

/// A verdict that the caller may do exactly `P` in the account, where no key is named.
#[derive(Debug)]
pub struct AccountGrant<P> {
    permission: PhantomData<fn() -> P>,
}

/// Finds keys and decides.
///
/// A refusal does not tell whether a key is there: whoever asks for one that is not gets
/// `Forbidden.KeyNotFound` only if he might describe it, and otherwise the `Forbidden.NoPermission`
/// that he would have got.
#[derive(Clone)]
pub struct Authorizer {
    region_account: RegionAccount,
    store: Store,
    key_policies: Arc<KeyPolicies>,
}

impl Authorizer {
    /// Decides over the keys of one place.
    pub fn new(region_account: RegionAccount, store: Store) -> Self {
        Self { region_account, store, key_policies: Arc::default() }
    }

    /// Finds the key that `key` names and asks whether `requester` may do `P` with it.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.AliasNotFound`, `Forbidden.NoPermission`. An ARN of
    /// another region or account names a key that is not here: `Forbidden.KeyNotFound`.
    pub fn key<P: Permission>(
        &self,
        requester: &Requester<'_>,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        if let Some(region_account) = key
            .region_account
            .as_ref()
            .filter(|region_account| **region_account != self.region_account)
        {
            let resource = Resource::new(region_account, named(&key.name));
            return Err(self.absent(requester, resource, ErrorCode::KeyNotFound));
        }
        match &key.name {
            KeyName::Id(id) => self.key_with_id(requester, *id),
            KeyName::Alias(alias) => match self.store.alias_target(alias) {
                Some(id) => self.key_with_id(requester, id),
                None => Err(self.no_alias(requester, alias)),
            },
            KeyName::Absent(absent) => {
                let resource =
                    Resource::new(&self.region_account, ResourceName::Other(absent.resource()));
                Err(self.absent(requester, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for a key named by its plain id.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_with_id<P: Permission>(
        &self,
        requester: &Requester<'_>,
        id: KeyId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        match self.store.key(id) {
            Some(record) if record.state.is_visible() => self.grant(requester, record),
            _ => {
                let resource = Resource::new(&self.region_account, ResourceName::Key(id));
                Err(self.absent(requester, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for the key that a version belongs to.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_version<P: Permission>(
        &self,
        requester: &Requester<'_>,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let is_known = |record: &Arc<KeyRecord>| {
            record.state.is_visible() && record.version(version).is_some()
        };
        if let Some(record) = self.store.key_of_version(version).filter(is_known) {
            return self.grant(requester, record);
        }
        Err(self.no_version(requester, &version.to_string()))
    }

    /// The refusal of a key version that is not here. Nobody knows the id of its key. Its own stands
    /// in: whoever may describe any key is told, and whoever may describe some is not.
    pub fn no_version(&self, requester: &Requester<'_>, version: &str) -> ApiError {
        let name = format!("key/{version}");
        let resource = Resource::new(&self.region_account, ResourceName::Other(&name));
        self.absent(requester, resource, ErrorCode::KeyNotFound)
    }

    /// Finds the key that an alias names and asks whether `requester` may do `P` with both.
    ///
    /// # Errors
    /// `Forbidden.AliasNotFound`, `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_alias<P: Permission>(
        &self,
        requester: &Requester<'_>,
        alias: &Alias,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.alias::<P>(requester, alias)?;
        match self.store.alias_target(alias) {
            Some(id) => self.key_with_id(requester, id),
            None => Err(self.no_alias(requester, alias)),
        }
    }

    /// Asks whether `requester` may do `P` with an alias, whatever key it names.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn alias<P: Permission>(
        &self,
        requester: &Requester<'_>,
        alias: &Alias,
    ) -> Result<(), ApiError> {
        self.check::<P>(
            requester,
            Resource::new(&self.region_account, ResourceName::Alias(alias)),
            None,
        )
    }

    /// Asks whether `requester` may do `P` with a key that the store holds for a change: the record is
    /// the one on disk, which may be newer than that in memory.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn locked_key<P: Permission>(
        &self,
        requester: &Requester<'_>,
        record: &KeyRecord,
    ) -> Result<(), ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Key(record.id));
        if record.state.is_visible() {
            self.check::<P>(requester, resource, Some(record))
        } else {
            Err(self.absent(requester, resource, ErrorCode::KeyNotFound))
        }
    }

    /// Asks whether `requester` may do `P` in the account; `container` is the resource that stands
    /// for all of a kind, such as `key` or `alias`.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn account<P: Permission>(
        &self,
        requester: &Requester<'_>,
        container: &str,
    ) -> Result<AccountGrant<P>, ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Other(container));
        self.check::<P>(requester, resource, None)?;
        Ok(AccountGrant { permission: PhantomData })
    }

    fn grant<P: Permission>(
        &self,
        requester: &Requester<'_>,
        record: Arc<KeyRecord>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let resource = Resource::new(&self.region_account, ResourceName::Key(record.id));
        self.check::<P>(requester, resource, Some(&record))?;
        Ok(AuthorizedKey { record, permission: PhantomData })
    }

    fn check<P: Permission>(
        &self,
        requester: &Requester<'_>,
        resource: Resource<'_>,
        record: Option<&KeyRecord>,
    ) -> Result<(), ApiError> {
        if let Some(client_key) = &requester.caller.client_key {
            let request = ClientKeyRequest { client_key, source: requester.request.source };
            return decision(access_point::allows::<P>(&self.store, request, record));
        }
        // A policy that cannot be read allows nothing, and says so to the operator alone.
        let key_policy = match record.map(|record| self.key_policies.of(record)).transpose() {
            Ok(policy) => policy.flatten(),
            Err(fault) => return Err(ApiError::from(ErrorCode::InternalFailure).because(fault)),
        };
        let policies = ApplicablePolicies {
            key_policy: key_policy.as_ref(),
            ..requester.applicable_policies()
        };
        let policy_request = requester.policy_request(P::ACTION, resource, record);
        decision(is_allowed(&policies, &policy_request, decide(&policies, &policy_request)))
    }

    /// The refusal of what is not there: `code`, for whoever might know.
    fn absent(
        &self,
        requester: &Requester<'_>,
        resource: Resource<'_>,
        code: ErrorCode,
    ) -> ApiError {
        let may_know = if let Some(client_key) = &requester.caller.client_key {
            let request = ClientKeyRequest { client_key, source: requester.request.source };
            access_point::may_know(&self.store, request, &resource)
        } else {
            let policy_request = requester.policy_request(DESCRIBE_KEY, resource, None);
            let policies = requester.applicable_policies();
            is_allowed(
                &policies,
                &policy_request,
                evaluate::decide_own_side(&policies, &policy_request),
            )
        };
        if may_know { code.into() } else { ErrorCode::NoPermission.into() }
    }

    fn no_alias(&self, requester: &Requester<'_>, alias: &Alias) -> ApiError {
        let resource = Resource::new(&self.region_account, ResourceName::Alias(alias));
        self.absent(requester, resource, ErrorCode::AliasNotFound)
    }
}

/// Whether a verdict is leave to go on. Policies that no decision can afford are told of: nobody who
/// depends on them gets anything any more.
fn is_allowed(
    policies: &ApplicablePolicies<'_>,
    policy_request: &PolicyRequest<'_>,
    decision: Decision<'_>,
) -> bool {
    if decision == Decision::OutOfSteps {
        metrics().policy_out_of_steps();
        tracing::warn!(
            event = "policy.steps_exhausted",
            principal = %policies.principal,
            action = policy_request.action,
            resource = policy_request.resource.arn(),
            "denied: the policies of principal, session and key take more steps than a decision has"
        );
    }
    decision.is_allowed()
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
