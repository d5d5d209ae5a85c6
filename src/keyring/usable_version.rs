//! Proof that a version of a key may be used now: the only check of the state table before a key is
//! used.

use std::marker::PhantomData;

use super::{KeyAction, identity, state};
use crate::authz::AuthorizedKey;
use crate::error::ErrorCode;
use crate::model::{KeyRecord, KeyVersion, KeyVersionId, LastUse, clock};
use crate::token::KeyIdentity;

/// Selects a version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSelector {
    /// The version that encrypts.
    Primary,
    /// The oldest version.
    Initial,
    /// The version named by the caller.
    Named(KeyVersionId),
    /// The version named by a ciphertext.
    OfCiphertext(KeyVersionId),
}

/// A version of a key whose state and spec allow an algorithm of type `A`.
///
/// It borrows the authorized key, so it lives no longer than its request. The checks are not
/// repeated when it is used.
#[derive(Debug)]
pub struct UsableVersion<'k, P, A> {
    pub(super) identity: KeyIdentity,
    pub(super) algorithm: A,
    last_use: &'k LastUse,
    key: PhantomData<&'k AuthorizedKey<P>>,
}

/// AES-GCM, the only algorithm of a symmetric key.
#[derive(Debug, Clone, Copy)]
pub struct AesGcm(());

/// Reading the public key, the only use of a key pair that does not require an enabled key.
#[derive(Debug, Clone, Copy)]
pub struct PublicHalf(());

impl VersionSelector {
    /// The version named by the caller, or else the initial one.
    pub fn named_or_initial(version: Option<KeyVersionId>) -> Self {
        version.map_or(Self::Initial, Self::Named)
    }

    /// The version named by the caller, or else the primary one.
    pub fn named_or_primary(version: Option<KeyVersionId>) -> Self {
        version.map_or(Self::Primary, Self::Named)
    }

    fn find(self, record: &KeyRecord) -> Result<&KeyVersion, ErrorCode> {
        match self {
            Self::Primary => record.primary_version().ok_or(ErrorCode::KeyUnavailable),
            Self::Initial => record.live_versions().next().ok_or(ErrorCode::KeyUnavailable),
            Self::Named(id) => record.version(id).ok_or(ErrorCode::KeyVersionNotFound),
            Self::OfCiphertext(id) => record.version(id).ok_or(ErrorCode::KeyNotFound),
        }
    }
}

impl<'k, P> UsableVersion<'k, P, ()> {
    /// Checks the state table and selects the version. The caller has checked the spec, and adds
    /// the algorithm.
    pub(super) fn new(
        key: &'k AuthorizedKey<P>,
        wanted: KeyAction,
        selector: VersionSelector,
    ) -> Result<Self, ErrorCode> {
        let record = key.record();
        state::check(record.state, wanted)?;
        let version = selector.find(record)?;
        let (identity, last_use) = (identity(record, version), &version.last_use);
        Ok(Self { identity, algorithm: (), last_use, key: PhantomData })
    }

    pub(super) fn with<A>(self, algorithm: A) -> UsableVersion<'k, P, A> {
        UsableVersion {
            identity: self.identity,
            algorithm,
            last_use: self.last_use,
            key: PhantomData,
        }
    }

    pub(super) fn with_aes_gcm(self) -> UsableVersion<'k, P, AesGcm> {
        self.with(AesGcm(()))
    }

    pub(super) fn with_public_half(self) -> UsableVersion<'k, P, PublicHalf> {
        self.with(PublicHalf(()))
    }
}

impl<P, A> UsableVersion<'_, P, A> {
    /// The id of the version.
    pub fn id(&self) -> KeyVersionId {
        self.identity.id()
    }

    /// The identity for a call that a caller asked for. Records the use.
    pub(super) fn identity_for_use(&self) -> KeyIdentity {
        self.last_use.record(clock::now());
        self.identity
    }
}
