//! What the service does: one file per operation, with its request, its output and its `run`.
//!
//! By the time an operation runs, parsing and replying belong to someone else. It asks for its
//! key, which is the authorisation, and lets the keyring work.

pub mod access;
pub mod account;
pub mod aliases;
mod call_limits;
pub mod crypto;
#[cfg(test)]
pub mod example;
pub mod instance;
pub mod instances;
pub mod key_policy;
pub mod keys;
pub mod material;
mod operation;
mod prelude;
mod registry;
mod response;
pub mod tags;
pub mod unsupported;
pub mod versions;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub use call_limits::{CallLimits, CallRates};
pub use operation::{CostClass, Operation};
pub use registry::{InstanceVisitor, PublicVisitor};
pub use response::{EmptyResponse, KeyMetadata, Paged, Row, Rows};

use crate::authn::Caller;
use crate::authz::{AccountGrant, AuthorizedKey, Authorizer, CanManage, Permission, Requester};
use crate::config::CompatibilityOptions;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{Execution, KeyAction, Keyring};
use crate::model::key_ref::KeyName;
use crate::model::{
    Alias, CiphertextBlob, CiphertextParam, EncryptionContext, Instance, KeyId, KeyRecord, KeyRef,
    KeyVersionId, Page, ParamError, Params, RegionAccount, RequestContext, RequestId, Time,
    VersionRef,
};
use crate::store::Store;
use crate::token::Budget;

/// Visits every operation of the public API.
pub fn visit_public(visitor: &mut impl PublicVisitor) {
    crypto::visit(visitor);
    keys::visit(visitor);
    versions::visit(visitor);
    material::visit(visitor);
    aliases::visit(visitor);
    access::visit(visitor);
    tags::visit(visitor);
    key_policy::visit(visitor);
    account::visit(visitor);
    instances::visit(visitor);
}

/// Visits every operation of the KMS instance protocol.
pub fn visit_instance(visitor: &mut impl InstanceVisitor) {
    instance::visit(visitor);
}

/// The id of a version of a key that was found.
///
/// # Errors
/// `Forbidden.KeyVersionNotFound` for one that is none here.
fn local_version(version: &VersionRef) -> Result<KeyVersionId, ErrorCode> {
    version.id().ok_or(ErrorCode::KeyVersionNotFound)
}

/// The refusal of a parameter that asks for SM2 or SM4.
fn no_sm2(name: &str) -> ApiError {
    ApiError::unsupported_parameter(name, "no token that this gateway knows does SM2 or SM4")
}

/// `PageNumber` and `PageSize`, of 1 to 100 rows.
fn page_of_rows(params: &Params<'_>, default_size: u32) -> Result<Page, ParamError> {
    let page = Page::from_params(params, default_size, 100)?;
    if page.size == 0 { Err(ParamError::invalid("PageSize")) } else { Ok(page) }
}

/// What all requests share.
pub struct Services {
    /// The region and account served here.
    pub region_account: RegionAccount,
    /// What this gateway is called as a KMS instance.
    pub instance: Instance,
    /// Keys, aliases and their facts.
    pub store: Store,
    /// Finds keys and decides.
    pub authorizer: Authorizer,
    /// Uses and changes keys.
    pub keyring: Keyring,
    /// What operations accept.
    pub compatibility: CompatibilityOptions,
    /// How often cryptographic operations may be called.
    pub call_limits: CallLimits,
}

/// A call that counts against the account's limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitedCall {
    /// The operation.
    pub operation: &'static str,
    /// With which of its authorizations it counts, from 1.
    pub authorizations: u8,
}

/// One request: who, when, and what it may reach.
pub struct Context {
    services: Arc<Services>,
    caller: Arc<Caller>,
    request: Arc<RequestContext>,
    budget: Budget,
    limited: Option<LimitedCall>,
    is_dry_run: bool,
    /// The refusal of a principal that has called too often, until it is told.
    throttled: Mutex<Option<ApiError>>,
    authorizations: AtomicU8,
    used_resources: OnceLock<KeyId>,
    version: OnceLock<KeyVersionId>,
    /// The key that the caller asked for and was not given.
    refused: OnceLock<KeyId>,
}

impl Context {
    /// The context of a caller's request. An anonymous request has none. `limited` is none for a
    /// call that no limit counts; a dry run checks everything and does nothing.
    pub fn new(
        services: Arc<Services>,
        caller: Arc<Caller>,
        request: Arc<RequestContext>,
        budget: Budget,
        limited: Option<LimitedCall>,
        is_dry_run: bool,
    ) -> Self {
        Self {
            services,
            caller,
            request,
            budget,
            limited,
            is_dry_run,
            throttled: Mutex::default(),
            authorizations: AtomicU8::new(0),
            used_resources: OnceLock::new(),
            version: OnceLock::new(),
            refused: OnceLock::new(),
        }
    }

    /// Refuses the request with `error` as soon as it is known which key it is about.
    pub fn throttle(&self, error: ApiError) {
        *self.throttled.lock() = Some(error);
    }

    /// The refusal that nobody has been told of yet.
    pub fn take_throttled(&self) -> Option<ApiError> {
        self.throttled.lock().take()
    }

    /// Finds a key and asks leave to do `P` with it, in an operation without an encryption
    /// context.
    ///
    /// # Errors
    /// As [`Authorizer::key`].
    pub fn key<P: Permission>(&self, key: &KeyRef) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key(&self.requester(None), key);
        self.note_found(found, || self.requested_key(key))
    }

    /// Finds a key and asks leave to do `P` with it in an encryption context, which policies may
    /// ask for.
    ///
    /// # Errors
    /// As [`Authorizer::key`].
    pub fn key_in<P: Permission>(
        &self,
        context: &EncryptionContext,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key(&self.requester(Some(context)), key);
        self.note_found(found, || self.requested_key(key))
    }

    /// Finds the key of a version and asks leave to do `P` with it, in an operation without an
    /// encryption context.
    ///
    /// # Errors
    /// As [`Authorizer::key_of_version`].
    pub fn key_of_version<P: Permission>(
        &self,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.find_key_of_version(None, version)
    }

    /// Finds the key of a version and asks leave to do `P` with it in an encryption context.
    ///
    /// # Errors
    /// As [`Authorizer::key_of_version`].
    pub fn key_of_version_in<P: Permission>(
        &self,
        context: &EncryptionContext,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        self.find_key_of_version(Some(context), version)
    }

    fn find_key_of_version<P: Permission>(
        &self,
        context: Option<&EncryptionContext>,
        version: KeyVersionId,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key_of_version(&self.requester(context), version);
        let key_id = || self.store().key_of_version(version).map(|record| record.id);
        self.note_found(found, key_id).inspect_err(|_refused| self.note_version(version))
    }

    /// The blob that a caller hands in, if a key here can have encrypted it.
    ///
    /// # Errors
    /// `Forbidden.KeyNotFound`, `Forbidden.NoPermission`.
    pub fn local_blob(
        &self,
        context: &EncryptionContext,
        blob: CiphertextParam,
    ) -> Result<CiphertextBlob, ApiError> {
        match blob {
            CiphertextParam::Local(blob) => Ok(blob),
            CiphertextParam::Foreign(version) => {
                Err(self.services.authorizer.no_version(&self.requester(Some(context)), &version))
            }
        }
    }

    /// Asks leave to do `P` with an alias, whatever key it names.
    ///
    /// # Errors
    /// As [`Authorizer::alias`].
    pub fn alias<P: Permission>(&self, alias: &Alias) -> Result<(), ApiError> {
        let allowed = self.services.authorizer.alias::<P>(&self.requester(None), alias);
        allowed.inspect_err(|_refused| self.note_refused(self.store().alias_target(alias)))
    }

    /// Finds the key that an alias names and asks leave to do `P` with both.
    ///
    /// # Errors
    /// As [`Authorizer::key_of_alias`].
    pub fn key_of_alias<P: Permission>(&self, alias: &Alias) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key_of_alias(&self.requester(None), alias);
        self.note_found(found, || self.store().alias_target(alias))
    }

    /// Asks leave to do `P` with a key that the store holds for a change.
    ///
    /// # Errors
    /// As [`Authorizer::locked_key`].
    pub fn locked_key<P: Permission>(&self, record: &KeyRecord) -> Result<(), ApiError> {
        let allowed = self.services.authorizer.locked_key::<P>(&self.requester(None), record);
        allowed.inspect_err(|_refused| self.note_refused(Some(record.id)))
    }

    /// Asks leave to do `P` in the account.
    ///
    /// # Errors
    /// As [`Authorizer::account`].
    pub fn account<P: Permission>(&self, container: &str) -> Result<AccountGrant<P>, ApiError> {
        let grant = self.services.authorizer.account(&self.requester(None), container)?;
        self.charge_account_limit()?;
        Ok(grant)
    }

    fn requester<'a>(&'a self, context: Option<&'a EncryptionContext>) -> Requester<'a> {
        Requester { caller: &self.caller, request: &self.request, context }
    }

    /// Uses and changes keys.
    pub fn keyring(&self) -> &Keyring {
        &self.services.keyring
    }

    /// Keys, aliases and their facts.
    pub fn store(&self) -> &Store {
        &self.services.store
    }

    /// The region and account served here.
    pub fn region_account(&self) -> &RegionAccount {
        &self.services.region_account
    }

    /// What this gateway is called as a KMS instance.
    pub fn instance(&self) -> &Instance {
        &self.services.instance
    }

    /// What operations accept.
    pub fn compatibility(&self) -> CompatibilityOptions {
        self.services.compatibility
    }

    /// When the request came.
    pub fn now(&self) -> Time {
        self.request.time
    }

    /// Permission to do more than checks. An operation that takes DryRun asks for it once every
    /// check has passed.
    ///
    /// # Errors
    /// `DryRunOperationError` for a dry run.
    pub fn execution(&self) -> Result<Execution<'_>, ApiError> {
        Ok(Execution::unless(self.is_dry_run, &self.budget)?)
    }

    /// Finds a key, asks leave to do `P` with it, and changes its record where its state allows
    /// `wanted`.
    ///
    /// # Errors
    /// As [`Context::key`] and [`Keyring::change`].
    pub async fn change<P: CanManage>(
        &self,
        key: &KeyRef,
        wanted: KeyAction,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<EmptyResponse, ApiError> {
        let key = self.key::<P>(key)?;
        self.keyring().change(&key, wanted, self.execution()?, change).await?;
        Ok(EmptyResponse {})
    }

    /// Its time in the token, for what is one of the checks.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Who is calling.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Its id.
    pub fn request_id(&self) -> RequestId {
        self.request.id
    }

    /// Notes the key of an operation that makes one, for the record of the request.
    pub fn note_key(&self, key: KeyId) {
        let _ = self.used_resources.set(key);
    }

    /// Notes the key version that was used, for the record of the request.
    pub fn note_version(&self, version: KeyVersionId) {
        let _ = self.version.set(version);
    }

    /// The key and key version that the request has used, as far as it came.
    pub fn used_resources(&self) -> (Option<KeyId>, Option<KeyVersionId>) {
        (self.used_resources.get().copied(), self.version.get().copied())
    }

    /// The key that the caller asked for and was not given, for the record of the request alone:
    /// the answer does not tell whether it is there.
    pub fn refused(&self) -> Option<KeyId> {
        self.refused.get().copied()
    }

    /// Notes the key of an operation, or the one that it was refused.
    fn note_found<P>(
        &self,
        key: Result<AuthorizedKey<P>, ApiError>,
        requested_key: impl FnOnce() -> Option<KeyId>,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let key = key.inspect_err(|_refused| self.note_refused(requested_key()))?;
        self.note_key(key.record().id);
        self.charge_account_limit()?;
        Ok(key)
    }

    /// Refuses a call beyond the principal's limit, and counts it against the account's with the last
    /// authorization that it needs.
    fn charge_account_limit(&self) -> Result<(), ApiError> {
        if let Some(error) = self.take_throttled() {
            return Err(error);
        }
        let Some(LimitedCall { operation, authorizations }) = self.limited else { return Ok(()) };
        let before = self.authorizations.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) == authorizations {
            self.services.call_limits.charge_account(&self.caller, operation)?;
        }
        Ok(())
    }

    fn note_refused(&self, key: Option<KeyId>) {
        if let Some(key) = key {
            let _ = self.refused.set(key);
        }
    }

    /// The key that a caller means, there or not.
    fn requested_key(&self, key: &KeyRef) -> Option<KeyId> {
        let is_local =
            key.region_account.as_ref().is_none_or(|named| named == self.region_account());
        match &key.name {
            KeyName::Id(id) => Some(*id),
            KeyName::Alias(alias) if is_local => self.store().alias_target(alias),
            KeyName::Alias(_) | KeyName::Absent(_) => None,
        }
    }
}
