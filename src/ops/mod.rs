//! The operations of the service: one file for each, with its request, its output and its `run`.
//!
//! The protocols parse the request and write the response. An operation gets its key from the
//! context, which authorizes it, and calls the keyring.

pub mod access;
pub mod account;
pub mod aliases;
mod approval;
mod call_limits;
pub mod crypto;
#[cfg(test)]
pub mod example;
mod federated;
pub mod instance;
pub mod instances;
pub mod key_policy;
pub mod keys;
pub mod material;
mod operation;
mod prelude;
mod recorded;
mod registry;
mod response;
pub mod secrets;
pub mod sts;
pub mod tags;
pub mod unsupported;
pub mod versions;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub use call_limits::{CallLimits, CallRates};
pub use federated::{FederatedContext, FederatedOperation};
pub use operation::{Call, CostClass, EmptyResponse, Operation, Row};
pub use registry::{InstanceVisitor, PublicVisitor};
pub use response::{KeyMetadata, Paged, Rows};
pub use secrets::WrongValues;

use crate::audit::{Handover, Recorder, UsedResources, UsedVersion};
use crate::authn::{Caller, CredentialStore, Credentials};
use crate::authz::{
    AccessChange, AccountGrant, AssumableRole, AssumedSession, AuthorizationRequest, AuthorizedKey,
    Authorizer, CanManage, Permission,
};
use crate::config::CompatibilityOptions;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{Execution, KeyAction, Keyring, LastCall, LastExecution};
use crate::model::key_ref::KeyName;
use crate::model::{
    AccessKeyId, Alias, ApprovalRules, ApprovalSubject, CiphertextBlob, CiphertextParam,
    EncryptionContext, ExternalId, Instance, KeyId, KeyRecord, KeyRef, KeyVersionId, Page,
    ParamError, Params, RegionAccount, RequestContext, RequestId, RoleArn, SecretName, Time,
    VersionRef,
};
use crate::store::Store;
use crate::token::{Budget, Completion};

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
    sts::visit(visitor);
    secrets::visit(visitor);
}

/// Visits every operation of the KMS instance protocol.
pub fn visit_instance(visitor: &mut impl InstanceVisitor) {
    instance::visit(visitor);
}

/// The id of a key version, for a version of this region and account.
///
/// # Errors
/// `Forbidden.KeyVersionNotFound` for another one.
fn local_version(version: &VersionRef) -> Result<KeyVersionId, ErrorCode> {
    version.id().ok_or(ErrorCode::KeyVersionNotFound)
}

/// The error for a parameter that requests SM2 or SM4.
fn no_sm2(name: &str) -> ApiError {
    ApiError::unsupported_parameter(name, "no supported token has SM2 or SM4")
}

/// `PageNumber` and `PageSize`, of 1 to 100 rows.
fn page_of_rows(params: &Params<'_>, default_size: u32) -> Result<Page, ParamError> {
    let page = Page::from_params(params, default_size, 100)?;
    if page.size == 0 { Err(ParamError::invalid("PageSize")) } else { Ok(page) }
}

/// The services that all requests share.
pub struct Services {
    /// The region and account of the gateway.
    pub region_account: RegionAccount,
    /// The names of this gateway as a KMS instance.
    pub instance: Instance,
    /// Keys, aliases and their metadata.
    pub store: Store,
    /// Finds keys and authorizes requests.
    pub authorizer: Authorizer,
    /// The principals, and the sessions of roles.
    pub credentials: Arc<CredentialStore>,
    /// Uses and changes keys.
    pub keyring: Keyring,
    /// The operations that need an approval.
    pub approvals: ApprovalRules,
    /// The options for compatibility.
    pub compatibility: CompatibilityOptions,
    /// The rate limits of cryptographic operations.
    pub call_limits: CallLimits,
    /// The values that did not match the versions that they were sent for.
    pub wrong_values: WrongValues,
}

/// A call that counts against the account limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitedCall {
    /// The operation.
    pub operation: &'static str,
    /// The number of the authorization with which it counts, from 1.
    pub authorizations: u8,
}

/// The context of one request: its caller, its time, and the services.
pub struct Context {
    services: Arc<Services>,
    caller: Arc<Caller>,
    request: Arc<RequestContext>,
    budget: Budget,
    limited: Option<LimitedCall>,
    is_dry_run: bool,
    /// Hands over the record of the operation with its last token call, if it has one.
    handover: Option<Handover>,
    recorder: Recorder,
    /// The error of a principal above its limit, until it is returned.
    throttled: Mutex<Option<ApiError>>,
    authorizations: AtomicU8,
    used_resources: OnceLock<KeyId>,
    version: OnceLock<KeyVersionId>,
    /// The key that was requested and not authorized.
    refused: OnceLock<KeyId>,
    secret: OnceLock<SecretName>,
    secret_version: OnceLock<UsedVersion>,
    affected_secrets: OnceLock<usize>,
    new_access_key: OnceLock<AccessKeyId>,
}

impl Context {
    /// Creates the context of a request. `limited` is `None` for a call without a rate limit; a dry
    /// run checks everything and changes nothing.
    pub(crate) fn new(
        services: Arc<Services>,
        caller: Arc<Caller>,
        request: Arc<RequestContext>,
        budget: Budget,
        limited: Option<LimitedCall>,
        is_dry_run: bool,
        recorder: Recorder,
    ) -> Self {
        Self {
            services,
            caller,
            request,
            budget,
            limited,
            is_dry_run,
            handover: None,
            recorder,
            throttled: Mutex::default(),
            authorizations: AtomicU8::new(0),
            used_resources: OnceLock::new(),
            version: OnceLock::new(),
            refused: OnceLock::new(),
            secret: OnceLock::new(),
            secret_version: OnceLock::new(),
            affected_secrets: OnceLock::new(),
            new_access_key: OnceLock::new(),
        }
    }

    /// Lets the last token call of the operation hand over its record.
    pub(crate) fn set_handover(&mut self, handover: Option<Handover>) {
        // A dry run fails after its checks have passed.
        self.handover = handover.filter(|_handover| !self.is_dry_run);
    }

    /// Rejects the request with `error` as soon as its key is known.
    pub fn throttle(&self, error: ApiError) {
        *self.throttled.lock() = Some(error);
    }

    /// Takes the error of a principal above its limit, if it was not returned yet.
    pub fn take_throttled(&self) -> Option<ApiError> {
        self.throttled.lock().take()
    }

    /// Finds a key and authorizes action `P` on it, in an operation without an encryption context.
    ///
    /// # Errors
    /// As [`Authorizer::key`].
    pub fn key<P: Permission>(&self, key: &KeyRef) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key(&self.authorization_request(None), key);
        self.note_found(found, || self.requested_key(key))
    }

    /// Finds a key and authorizes action `P` on it with an encryption context, which policies may
    /// require.
    ///
    /// # Errors
    /// As [`Authorizer::key`].
    pub fn key_in<P: Permission>(
        &self,
        context: &EncryptionContext,
        key: &KeyRef,
    ) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key(&self.authorization_request(Some(context)), key);
        self.note_found(found, || self.requested_key(key))
    }

    /// Finds the key of a version and authorizes action `P` on it, in an operation without an
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

    /// Finds the key of a version and authorizes action `P` on it with an encryption context.
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
        let found =
            self.services.authorizer.key_of_version(&self.authorization_request(context), version);
        let key_id = || self.store().key_of_version(version).map(|record| record.id);
        self.note_found(found, key_id).inspect_err(|_refused| self.note_version(version))
    }

    /// Returns the caller's blob, if a key of this gateway may have encrypted it.
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
            CiphertextParam::Foreign(version) => Err(self
                .services
                .authorizer
                .no_version(&self.authorization_request(Some(context)), &version)),
        }
    }

    /// Authorizes action `P` on an alias, whatever key it names.
    ///
    /// # Errors
    /// As [`Authorizer::alias`].
    pub fn alias<P: Permission>(&self, alias: &Alias) -> Result<(), ApiError> {
        let allowed = self.services.authorizer.alias::<P>(&self.authorization_request(None), alias);
        allowed.inspect_err(|_refused| self.note_refused(self.store().alias_target(alias)))
    }

    /// Finds the key of an alias and authorizes action `P` on both.
    ///
    /// # Errors
    /// As [`Authorizer::key_of_alias`].
    pub fn key_of_alias<P: Permission>(&self, alias: &Alias) -> Result<AuthorizedKey<P>, ApiError> {
        let found = self.services.authorizer.key_of_alias(&self.authorization_request(None), alias);
        self.note_found(found, || self.store().alias_target(alias))
    }

    /// Authorizes action `P` on a key whose row is locked for a change.
    ///
    /// # Errors
    /// As [`Authorizer::locked_key`].
    pub fn locked_key<P: Permission>(&self, record: &KeyRecord) -> Result<(), ApiError> {
        let allowed =
            self.services.authorizer.locked_key::<P>(&self.authorization_request(None), record);
        allowed.inspect_err(|_refused| self.note_refused(Some(record.id)))
    }

    /// Authorizes action `P` in the account.
    ///
    /// # Errors
    /// As [`Authorizer::account`].
    pub fn account<P: Permission>(&self, container: &str) -> Result<AccountGrant<P>, ApiError> {
        let grant =
            self.services.authorizer.account(&self.authorization_request(None), container)?;
        self.charge_account_limit()?;
        Ok(grant)
    }

    /// Authorizes the caller to assume a role.
    ///
    /// # Errors
    /// As [`Authorizer::role`].
    pub fn role<P: Permission>(
        &self,
        role: &RoleArn,
        external_id: Option<&ExternalId>,
    ) -> Result<AssumableRole, ApiError> {
        let request = self.authorization_request(None);
        let Services { authorizer, credentials, .. } = &*self.services;
        authorizer.role::<P>(&request, credentials, role, external_id)
    }

    /// Makes a session of a role.
    ///
    /// # Errors
    /// As [`AssumableRole::session`].
    pub fn session_of(
        &self,
        role: AssumableRole,
        session: AssumedSession,
    ) -> Result<Credentials, ApiError> {
        let Services { authorizer, credentials, .. } = &*self.services;
        let made = role.session(authorizer, credentials, session, self.now())?;
        let _ = self.new_access_key.set(made.access_key_id.clone());
        Ok(made)
    }

    /// Checks that the caller may do everything that client keys could do after a change.
    ///
    /// # Errors
    /// As [`Authorizer::check_grant`].
    pub fn check_grant(&self, change: AccessChange<'_>) -> Result<(), ApiError> {
        self.services.authorizer.check_grant(&self.authorization_request(None), change)
    }

    /// The operations that need an approval.
    pub fn approvals(&self) -> &ApprovalRules {
        &self.services.approvals
    }

    /// Whether client keys could use keys by a pattern after a change.
    pub fn grants_key_patterns(&self, change: AccessChange<'_>) -> bool {
        self.services.authorizer.grants_key_patterns(change)
    }

    /// Returns if an operator has released this call with the same parameters, which is then used
    /// up. Called last, after every other check.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`, whose message names the command that releases the call.
    pub async fn require_approval(
        &self,
        operation: &str,
        resource: String,
        parameters: &[&str],
    ) -> Result<(), ApiError> {
        let subject = ApprovalSubject {
            operation: operation.to_owned(),
            requester: self.caller.principal.name.to_string(),
            resource,
            parameters: approval::hash_of(parameters),
        };
        let lifetime_seconds = self.approvals().lifetime_seconds;
        let approval = self.store().request_approval(subject, self.now(), lifetime_seconds).await?;
        approval::outcome(&approval)
    }

    fn authorization_request<'a>(
        &'a self,
        context: Option<&'a EncryptionContext>,
    ) -> AuthorizationRequest<'a> {
        AuthorizationRequest { caller: &self.caller, request: &self.request, context }
    }

    /// Uses and changes keys.
    pub fn keyring(&self) -> &Keyring {
        &self.services.keyring
    }

    /// Keys, aliases and their metadata.
    pub fn store(&self) -> &Store {
        &self.services.store
    }

    /// The region and account of the gateway.
    pub fn region_account(&self) -> &RegionAccount {
        &self.services.region_account
    }

    /// The names of this gateway as a KMS instance.
    pub fn instance(&self) -> &Instance {
        &self.services.instance
    }

    /// The values that did not match the versions that they were sent for.
    fn wrong_values(&self) -> &WrongValues {
        &self.services.wrong_values
    }

    /// The options for compatibility.
    pub fn compatibility(&self) -> CompatibilityOptions {
        self.services.compatibility
    }

    /// The arrival time of the request.
    pub fn now(&self) -> Time {
        self.request.time
    }

    /// Permission to execute. An operation with DryRun calls this after all its checks.
    ///
    /// # Errors
    /// `DryRunOperationError` for a dry run.
    pub fn execution(&self) -> Result<Execution<'_>, ApiError> {
        Ok(Execution::unless(self.is_dry_run, &self.budget)?)
    }

    /// Permission to execute with the token call that is the last step of the operation which can
    /// fail, after the key and the version were noted. If the call succeeds, the audit has the record
    /// of the success before the operation gets the result.
    ///
    /// # Errors
    /// `DryRunOperationError` for a dry run.
    pub fn last_execution(&self) -> Result<LastExecution<'_>, ApiError> {
        Ok(self.execution()?.ending_with(self.completion()))
    }

    /// The token call that is the last step of the operation which can fail, for a call that a dry run
    /// makes too. Otherwise as [`Context::last_execution`].
    pub fn last_call(&self) -> LastCall<'_> {
        LastCall::new(&self.budget, self.completion())
    }

    /// A token call after which the operation continues.
    pub fn call(&self) -> LastCall<'_> {
        LastCall::new(&self.budget, None)
    }

    fn completion(&self) -> Option<Completion> {
        let handover = self.handover.as_ref()?;
        Some(handover.completion(self.all_used_resources()))
    }

    /// Finds a key, authorizes action `P` on it, and changes its record if its state allows `wanted`.
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

    /// The token budget of the request, for checks.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The authenticated caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The request id.
    pub fn request_id(&self) -> RequestId {
        self.request.id
    }

    /// Records the key of an operation that creates one, for the audit.
    pub fn note_key(&self, key: KeyId) {
        let _ = self.used_resources.set(key);
    }

    /// Records the key version that was used, for the audit.
    pub fn note_version(&self, version: KeyVersionId) {
        let _ = self.version.set(version);
    }

    /// The key and key version that the request has used, as far as it came.
    pub fn used_resources(&self) -> (Option<KeyId>, Option<KeyVersionId>) {
        (self.used_resources.get().copied(), self.version.get().copied())
    }

    /// All resources of the request, for the audit.
    pub fn all_used_resources(&self) -> UsedResources {
        let (key, version) = self.used_resources();
        UsedResources {
            key,
            version,
            refused: self.refused(),
            secret: self.used_secret(),
            affected_secrets: self.affected_secrets.get().copied(),
            new_access_key: self.new_access_key.get().cloned(),
            budget: self.keyring().has_several_tokens().then(|| self.budget().clone()),
        }
    }

    /// The key that was requested and not authorized, only for the audit: the response does not
    /// reveal whether it exists.
    pub fn refused(&self) -> Option<KeyId> {
        self.refused.get().copied()
    }

    /// Records the key of an operation, or the key that was not authorized.
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

    /// Rejects a call above the principal limit, and charges it to the account limit with the last
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

    /// The id of the requested key, whether it exists or not.
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
