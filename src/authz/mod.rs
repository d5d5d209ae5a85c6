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
//! Nor can one be spent on something else. Leave to encrypt seals:
//!
//! ```
//! # use hsmgate::{authz::AuthorizedKey, keyring::{Keyring, VersionSelector}, token::Budget};
//! # use zeroize::Zeroizing;
//! use hsmgate::ops::crypto::encrypt::Encrypt;
//! # async fn encrypt(
//! #     keyring: Keyring, text: Zeroizing<Vec<u8>>, budget: Budget, key: AuthorizedKey<Encrypt>,
//! # ) {
//! let version = keyring.encryption_version::<Encrypt>(&key, VersionSelector::Primary).unwrap();
//! let blob = keyring.encrypt(&version, None, text, Vec::new(), &budget).await;
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
mod asker;
mod costly;
mod evaluate;
mod key_policies;
mod simulate;

use std::marker::PhantomData;
use std::sync::Arc;

pub use asker::Asker;
pub use costly::{CostlyPolicy, costly_policies, tell_of_costly_policies};
pub use evaluate::{Ground, Layer, Rights, Verdict, decide};
pub use simulate::{Outcome, Supposed, UnreadablePolicy, simulate};

use crate::error::{ApiError, ErrorCode};
use crate::model::key_ref::KeyName;
use crate::model::policy::{Question, Resource, ResourceName};
use crate::model::{Alias, KeyId, KeyRecord, KeyRef, KeyVersionId, Place};
use crate::store::Store;
use crate::telemetry::metrics::metrics;
use access_point::Visit;
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
pub trait Seals: Permission {}

/// Permissions that let the holder decrypt with a symmetric key.
pub trait Opens: Permission {}

/// Permissions that let the holder sign with a key pair.
pub trait Signs: Permission {}

/// Permissions that let the holder verify signatures of a key pair.
pub trait Verifies: Permission {}

/// Permissions that let the holder read the public half of a key pair, or encrypt with it.
pub trait ReadsPublicKey: Permission {}

/// Permissions that let the holder decrypt with the private half of a key pair.
pub trait OpensWithPair: Permission {}

/// Permissions that let the holder make or verify message authentication codes.
pub trait Macs: Permission {}

/// Permissions that let the holder bring material into an EXTERNAL key, or take it out.
pub trait Imports: Permission {}

/// Permissions that let the holder change a key: its state, its versions, its facts.
pub trait Changes: Permission {}

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
    place: Place,
    store: Store,
    key_policies: Arc<KeyPolicies>,
}

impl Authorizer {
    /// Decides over the keys of one place.
    pub fn new(place: Place, store: Store) -> Self {
        Self { place, store, key_policies: Arc::default() }
    }

    /// Finds the key that `key` names and asks whether `asker` may do `P` with it.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.AliasNotFound`, `Forbidden.NoPermission`. An ARN of
    /// another region or account names a key that is not here: `Forbidden.KeyNotFound`.
    pub fn key<P: Permission>(
        &self,
        asker: &Asker<'_>,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        if let Some(place) = key.place.as_ref().filter(|place| **place != self.place) {
            let resource = Resource::new(place, named(&key.name));
            return Err(self.absent(asker, resource, ErrorCode::KeyNotFound));
        }
        match &key.name {
            KeyName::Id(id) => self.key_with_id(asker, *id),
            KeyName::Alias(alias) => match self.store.alias_target(alias) {
                Some(id) => self.key_with_id(asker, id),
                None => Err(self.no_alias(asker, alias)),
            },
            KeyName::Absent(absent) => {
                let resource = Resource::new(&self.place, ResourceName::Other(absent.resource()));
                Err(self.absent(asker, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for a key named by its plain id.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_with_id<P: Permission>(
        &self,
        asker: &Asker<'_>,
        id: KeyId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        match self.store.key(id) {
            Some(record) if record.state.is_visible() => self.grant(asker, record),
            _ => {
                let resource = Resource::new(&self.place, ResourceName::Key(id));
                Err(self.absent(asker, resource, ErrorCode::KeyNotFound))
            }
        }
    }

    /// As [`Authorizer::key`], for the key that a version belongs to.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_version<P: Permission>(
        &self,
        asker: &Asker<'_>,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let is_known = |record: &Arc<KeyRecord>| {
            record.state.is_visible() && record.version(version).is_some()
        };
        if let Some(record) = self.store.key_of_version(version).filter(is_known) {
            return self.grant(asker, record);
        }
        Err(self.no_version(asker, &version.to_string()))
    }

    /// The refusal of a key version that is not here. Nobody knows the id of its key. Its own stands
    /// in: whoever may describe any key is told, and whoever may describe some is not.
    pub fn no_version(&self, asker: &Asker<'_>, version: &str) -> ApiError {
        let name = format!("key/{version}");
        let resource = Resource::new(&self.place, ResourceName::Other(&name));
        self.absent(asker, resource, ErrorCode::KeyNotFound)
    }

    /// Finds the key that an alias names and asks whether `asker` may do `P` with both.
    ///
    /// # Errors
    /// `Forbidden.AliasNotFound`, `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_alias<P: Permission>(
        &self,
        asker: &Asker<'_>,
        alias: &Alias,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.alias::<P>(asker, alias)?;
        match self.store.alias_target(alias) {
            Some(id) => self.key_with_id(asker, id),
            None => Err(self.no_alias(asker, alias)),
        }
    }

    /// Asks whether `asker` may do `P` with an alias, whatever key it names.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn alias<P: Permission>(&self, asker: &Asker<'_>, alias: &Alias) -> Result<(), ApiError> {
        self.check::<P>(asker, Resource::new(&self.place, ResourceName::Alias(alias)), None)
    }

    /// Asks whether `asker` may do `P` with a key that the store holds for a change: the record is
    /// the one on disk, which may be newer than that in memory.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn held_key<P: Permission>(
        &self,
        asker: &Asker<'_>,
        record: &KeyRecord,
    ) -> Result<(), ApiError> {
        let resource = Resource::new(&self.place, ResourceName::Key(record.id));
        if record.state.is_visible() {
            self.check::<P>(asker, resource, Some(record))
        } else {
            Err(self.absent(asker, resource, ErrorCode::KeyNotFound))
        }
    }

    /// Asks whether `asker` may do `P` in the account; `container` is the resource that stands
    /// for all of a kind, such as `key` or `alias`.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn account<P: Permission>(
        &self,
        asker: &Asker<'_>,
        container: &str,
    ) -> Result<AccountGrant<P>, ApiError> {
        let resource = Resource::new(&self.place, ResourceName::Other(container));
        self.check::<P>(asker, resource, None)?;
        Ok(AccountGrant { permission: PhantomData })
    }

    fn grant<P: Permission>(
        &self,
        asker: &Asker<'_>,
        record: Arc<KeyRecord>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let resource = Resource::new(&self.place, ResourceName::Key(record.id));
        self.check::<P>(asker, resource, Some(&record))?;
        Ok(AuthorizedKey { record, permission: PhantomData })
    }

    fn check<P: Permission>(
        &self,
        asker: &Asker<'_>,
        resource: Resource<'_>,
        record: Option<&KeyRecord>,
    ) -> Result<(), ApiError> {
        if let Some(client_key) = &asker.caller.client_key {
            let visit = Visit { client_key, source: asker.request.source };
            return verdict(access_point::allows::<P>(&self.store, visit, record));
        }
        // A policy that cannot be read allows nothing, and says so to the operator alone.
        let key_policy = match record.map(|record| self.key_policies.of(record)).transpose() {
            Ok(policy) => policy.flatten(),
            Err(fault) => return Err(ApiError::from(ErrorCode::InternalFailure).because(fault)),
        };
        let rights = Rights { key_policy: key_policy.as_ref(), ..asker.rights() };
        let question = asker.question(P::ACTION, resource, record);
        verdict(is_allowed(&rights, &question, decide(&rights, &question)))
    }

    /// The refusal of what is not there: `code`, for whoever might know.
    fn absent(&self, asker: &Asker<'_>, resource: Resource<'_>, code: ErrorCode) -> ApiError {
        let may_know = if let Some(client_key) = &asker.caller.client_key {
            let visit = Visit { client_key, source: asker.request.source };
            access_point::may_know(&self.store, visit, &resource)
        } else {
            let question = asker.question(DESCRIBE_KEY, resource, None);
            let rights = asker.rights();
            is_allowed(&rights, &question, evaluate::decide_own_side(&rights, &question))
        };
        if may_know { code.into() } else { ErrorCode::NoPermission.into() }
    }

    fn no_alias(&self, asker: &Asker<'_>, alias: &Alias) -> ApiError {
        let resource = Resource::new(&self.place, ResourceName::Alias(alias));
        self.absent(asker, resource, ErrorCode::AliasNotFound)
    }
}

/// Whether a verdict is leave to go on. Policies that no decision can afford are told of: nobody who
/// depends on them gets anything any more.
fn is_allowed(rights: &Rights<'_>, question: &Question<'_>, verdict: Verdict<'_>) -> bool {
    if verdict == Verdict::OutOfSteps {
        metrics().policy_out_of_steps();
        tracing::warn!(
            event = "policy.out_of_steps",
            principal = %rights.principal,
            action = question.action,
            resource = question.resource.arn(),
            "denied: the policies of principal, session and key take more steps than a decision has"
        );
    }
    verdict.is_allowed()
}

fn verdict(is_allowed: bool) -> Result<(), ApiError> {
    if is_allowed { Ok(()) } else { Err(ErrorCode::NoPermission.into()) }
}

fn named(name: &KeyName) -> ResourceName<'_> {
    match name {
        KeyName::Id(id) => ResourceName::Key(*id),
        KeyName::Alias(alias) => ResourceName::Alias(alias),
        KeyName::Absent(absent) => ResourceName::Other(absent.resource()),
    }
}
