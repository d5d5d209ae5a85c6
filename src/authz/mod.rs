//! May they, with this key: the only maker of [`AuthorizedKey`] and [`AccountGrant`].
//!
//! Finding a key and being allowed to use it are one step, so that a refusal cannot tell more
//! than the caller may know, and no operation can forget the check: `keyring` takes an
//! `AuthorizedKey`, never a `KeyId`. The permission is part of its type, so that leave to
//! describe a key cannot be spent on decrypting with it.
//!
//! ```compile_fail
//! use hsmgate::authz::AuthorizedKey;
//! use hsmgate::ops::crypto::encrypt::Encrypt;
//! // There is no way to make one by hand.
//! let forged = AuthorizedKey::<Encrypt> { record: unimplemented!(), permission: std::marker::PhantomData };
//! ```

mod access_point;
mod evaluate;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::authn::{Caller, Visitor};
use crate::error::{ApiError, ErrorCode};
use crate::model::key_ref::KeyName;
use crate::model::{Alias, KeyId, KeyRecord, KeyRef, KeyVersionId, Place};
use crate::store::Store;

/// A permission of the policy language. An operation that needs just one is its own permission.
pub trait Permission {
    /// The action of RAM policies, for instance `kms:Encrypt`.
    const ACTION: &'static str;
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
#[derive(Clone)]
pub struct Authorizer {
    place: Place,
    store: Store,
}

impl Authorizer {
    /// Decides over the keys of one place.
    pub fn new(place: Place, store: Store) -> Self {
        Self { place, store }
    }

    /// Finds the key that `key` names and asks whether `caller` may do `P` with it.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.AliasNotFound`, `Forbidden.NoPermission`. An ARN of
    /// another region or account names a key that is not here: `Forbidden.KeyNotFound`.
    pub fn key<P: Permission>(
        &self,
        caller: &Caller,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        if key.place.as_ref().is_some_and(|place| *place != self.place) {
            return Err(ErrorCode::KeyNotFound.into());
        }
        let id = match &key.name {
            KeyName::Id(id) => *id,
            KeyName::Alias(alias) => {
                self.store.alias_target(alias).ok_or(ErrorCode::AliasNotFound)?
            }
        };
        self.decide(caller, self.store.key(id))
    }

    /// As [`Authorizer::key`], for a key named by its plain id.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_with_id<P: Permission>(
        &self,
        caller: &Caller,
        id: KeyId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.decide(caller, self.store.key(id))
    }

    /// As [`Authorizer::key`], for the key that a version belongs to.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn key_of_version<P: Permission>(
        &self,
        caller: &Caller,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let record = self.store.key_of_version(version);
        self.decide(caller, record.filter(|record| record.version(version).is_some()))
    }

    /// Asks whether `caller` may do `P` with an alias, whatever key it names.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn alias<P: Permission>(&self, caller: &Caller, alias: &Alias) -> Result<(), ApiError> {
        self.allows(caller, P::ACTION, || self.place.arn(alias))
    }

    /// Asks whether `caller` may do `P` in the account; `container` is the resource that stands
    /// for all of a kind, such as `key` or `alias`.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`.
    pub fn account<P: Permission>(
        &self,
        caller: &Caller,
        container: &str,
    ) -> Result<AccountGrant<P>, ApiError> {
        self.allows(caller, P::ACTION, || self.place.arn(container))?;
        Ok(AccountGrant { permission: PhantomData })
    }

    fn decide<P: Permission>(
        &self,
        caller: &Caller,
        record: Option<Arc<KeyRecord>>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let record =
            record.filter(|record| record.state.is_visible()).ok_or(ErrorCode::KeyNotFound)?;
        match &caller.visitor {
            Some(visitor) => self.allows_visitor(visitor, P::ACTION, Some(record.id))?,
            None => evaluate::allows_key(&self.place, caller, P::ACTION, &record)?,
        }
        Ok(AuthorizedKey { record, permission: PhantomData })
    }

    fn allows(
        &self,
        caller: &Caller,
        action: &'static str,
        resource: impl FnOnce() -> String,
    ) -> Result<(), ApiError> {
        match &caller.visitor {
            Some(visitor) => self.allows_visitor(visitor, action, None),
            None => evaluate::allows(&self.place, caller, action, &resource()),
        }
    }

    fn allows_visitor(
        &self,
        visitor: &Visitor,
        action: &str,
        key: Option<KeyId>,
    ) -> Result<(), ApiError> {
        if access_point::allows(&self.store, visitor, action, key) {
            Ok(())
        } else {
            Err(ErrorCode::NoPermission.into())
        }
    }
}
