//! Imported material (BYOK): unwrapped with a wrapping pair of the token, and removed by
//! destruction.
//!
//! Rows are written first, as everywhere: the next start removes a version that is not active, with
//! its token object, and destroys the object of a version whose material is absent by its row.
//! While this process runs, a job does it.
//!
//! One change of material at a time, for all keys and all gateways of a cluster: an import reads a row twice, and another import,
//! a deletion or an expiry in between would invalidate the first result.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::MutexGuard;

use super::pending_versions::PendingGuard;
use super::{Execution, KeyAction, Keyring, KeyringError, identity, state};
use crate::authz::{AuthorizedKey, CanImport};
use crate::error::ErrorCode;
use crate::model::{
    ImportId, ImportParameters, ImportToken, ImportedMaterial, KeyId, KeyRecord, KeyState,
    KeyVersion, KeyVersionId, Origin, Time, WrappingAlgorithm,
};
use crate::store::{MaterialGuard, StoreError};
use crate::token::{Budget, Capability, CheckValue, KeyIdentity, ServiceKey, TokenError, Worker};

/// The lifetime of an import token (GetParametersForImport: 24 hours).
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// The number of rejected imports that invalidates an import token.
///
/// A client with unlimited tries that learns which wrapped texts unwrap can decrypt material that
/// another client wrapped (Bleichenbacher 1998; it cannot be hidden completely, because a
/// successful import takes longer). This needs at least thousands of tries under one wrapping pair.
const MAX_REFUSALS: u32 = 100;

/// The data that a caller needs to wrap material.
#[derive(Debug)]
pub struct WrappingKey {
    /// The content of the import token, and its expiry.
    pub parameters: ImportParameters,
    /// The public key of the wrapping pair, SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

/// Wrapped material from a caller.
#[derive(Debug)]
pub struct WrappedMaterial {
    /// The content of the import token; `None` if it is not an import token of this gateway.
    pub import: Option<ImportToken>,
    /// The material, encrypted with the wrapping key.
    pub wrapped: Vec<u8>,
    /// The expiry of the material.
    pub expires: Option<Time>,
}

impl Keyring {
    /// Generates a wrapping pair in the token and an import token that is bound to the pair, to the
    /// key, and to 24 hours. It replaces an earlier import token for this key and algorithm.
    ///
    /// # Errors
    /// `Unsupported.Origin` when the key is not EXTERNAL, `UnsupportedOperation` when the token
    /// does not support the unwrapping, `Rejected.LimitExceeded` when there are too many import
    /// tokens or the token is full, or store or token fail.
    pub async fn import_parameters<P: CanImport>(
        &self,
        key: &AuthorizedKey<P>,
        algorithm: WrappingAlgorithm,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<WrappingKey, KeyringError> {
        check_origin(key.record())?;
        if !self.token.supports(Capability::of_unwrapping(algorithm)) {
            let unwrapping = Capability::of_unwrapping(algorithm).description();
            return Err(TokenError::Unsupported(unwrapping).into());
        }
        self.token.ready()?;
        let deadline = execution.budget().deadline().into();
        let lock = tokio::time::timeout_at(deadline, self.import_tokens.lock()).await;
        let _only_one = lock.map_err(|_elapsed| ErrorCode::Unavailable)?;
        let (replaced, others) = self.import_tokens_of(key.record().id, algorithm);
        let quota = self.store.quotas().import_tokens;
        if !quota.has_room(others) {
            return Err(StoreError::QuotaReached(quota).into());
        }
        let wrapping = KeyVersionId::random();
        let parameters = ImportParameters {
            id: ImportId::random(),
            key: key.record().id,
            wrapping,
            algorithm,
            expires: now.plus_seconds(TOKEN_SECONDS),
            refusals: 0,
        };
        // The row first: an incomplete pair is destroyed with its row when the row expires.
        let parameters = self.store.insert_document(parameters).await?;
        let wrapping = wrapping_pair(wrapping);
        let generate = move |worker: &mut Worker<'_>| {
            worker.generate_wrapping_pair(&wrapping.name)?;
            worker.try_unwrapping(wrapping, algorithm)
        };
        if let Err(error) = self.token.create(wrapping, execution.budget(), generate).await {
            // A pair that cannot unwrap must not remain until it expires.
            if matches!(error, TokenError::Unsupported(_) | TokenError::Full) {
                self.remove_unneeded(&[parameters]).await;
            }
            return Err(error.into());
        }
        let public = self
            .token
            .run_with(wrapping, execution.budget(), move |worker| worker.public_key(wrapping))
            .await?;
        self.remove_unneeded(&replaced).await;
        Ok(WrappingKey { parameters: (*parameters).clone(), public_key: public.to_der()? })
    }

    /// The import tokens for this key and algorithm, and the number of all others.
    fn import_tokens_of(
        &self,
        key: KeyId,
        algorithm: WrappingAlgorithm,
    ) -> (Vec<Arc<ImportParameters>>, usize) {
        let (same, others): (Vec<_>, Vec<_>) = self
            .store
            .documents::<ImportParameters>()
            .into_iter()
            .partition(|parameters| (parameters.key, parameters.algorithm) == (key, algorithm));
        (same, others.len())
    }

    /// Removes import tokens that are not needed: a new one has replaced them, or they cannot be used.
    /// One that cannot be removed expires.
    async fn remove_unneeded(&self, unneeded: &[Arc<ImportParameters>]) {
        for parameters in unneeded {
            if let Err(error) = self.remove_import(parameters).await {
                tracing::warn!(
                    event = "import.removal_postponed",
                    key_id = %parameters.key,
                    error = &error as &dyn std::error::Error,
                    "could not remove an import token that is not needed; it remains until it expires"
                );
            }
        }
    }

    /// Imports material. After the first import only the same material is accepted again, under the
    /// same key version, so that old ciphertexts can be decrypted again.
    ///
    /// # Errors
    /// `InvalidImportToken`, `ExpiredImportToken`, `InvalidKeyMaterial`, `Unsupported.Origin`, the
    /// codes of the state table, or store or token fail; the key is then unchanged.
    pub async fn import<P: CanImport>(
        &self,
        key: &AuthorizedKey<P>,
        material: WrappedMaterial,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<(), KeyringError> {
        check_origin(key.record())?;
        let key = key.record().id;
        // Continues even if the caller disconnects: an incomplete import would remain until the
        // next start.
        let (keyring, budget) = (self.clone(), execution.budget().clone());
        let work =
            tokio::spawn(async move { keyring.import_alone(key, material, now, &budget).await });
        work.await.unwrap_or_else(|_panicked| Err(ErrorCode::InternalFailure.into()))
    }

    async fn import_alone(
        &self,
        key: KeyId,
        material: WrappedMaterial,
        now: Time,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let _only_one = self.lock_material(budget.deadline()).await?;
        let parameters = self.check_import_token(key, material.import, now)?;
        let outcome = self.import_material(&parameters, &material, now, budget).await;
        if let Err(KeyringError::Refused(ErrorCode::InvalidKeyMaterial)) = &outcome {
            self.count_refusal(parameters.id).await?;
        }
        outcome
    }

    /// Checks an import token for this key now.
    fn check_import_token(
        &self,
        key: KeyId,
        token: Option<ImportToken>,
        now: Time,
    ) -> Result<Arc<ImportParameters>, ErrorCode> {
        let token = token.ok_or(ErrorCode::InvalidImportToken)?;
        let parameters = self.store.document::<ImportParameters>(&token.id.to_string());
        match parameters.filter(|parameters| parameters.key == key) {
            Some(parameters) if parameters.expires <= now => Err(ErrorCode::ExpiredImportToken),
            Some(parameters) if parameters.refusals >= MAX_REFUSALS => {
                Err(ErrorCode::InvalidImportToken)
            }
            Some(parameters) => Ok(parameters),
            // Expired parameters are soon removed, so the expiry is read from the token itself. A
            // forged expiry gives no access.
            None if token.expires <= now => Err(ErrorCode::ExpiredImportToken),
            None => Err(ErrorCode::InvalidImportToken),
        }
    }

    /// Counts a rejected import under these parameters.
    async fn count_refusal(&self, import: ImportId) -> Result<(), KeyringError> {
        self.store
            .change_document(&import.to_string(), |parameters: &mut ImportParameters| {
                parameters.refusals = parameters.refusals.saturating_add(1);
                Ok::<_, KeyringError>(())
            })
            .await?;
        Ok(())
    }

    async fn import_material(
        &self,
        parameters: &ImportParameters,
        material: &WrappedMaterial,
        now: Time,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let (record, unwrapped) =
            self.unwrap_as_pending_version(parameters, material, now, budget).await?;
        match &record.material {
            None => {
                let activated =
                    self.activate_first_material(&record, &unwrapped, material.expires).await;
                if activated.is_err() {
                    self.remove_failed_version(record.id, identity(&record, &unwrapped.version))
                        .await;
                }
                activated
            }
            Some(known) => {
                let is_present = known.is_present;
                let is_same = self.has_check_value(&record, &unwrapped, known, budget).await;
                self.remove_version(record.id, identity(&record, &unwrapped.version), budget)
                    .await?;
                if !is_same? {
                    return Err(ErrorCode::InvalidKeyMaterial.into());
                }
                self.restore_material(&record, parameters, material, is_present, budget).await
            }
        }
    }

    /// Whether the material that was unwrapped is the known material of the key.
    async fn has_check_value(
        &self,
        record: &KeyRecord,
        unwrapped: &UnwrappedVersion,
        known: &ImportedMaterial,
        budget: &Budget,
    ) -> Result<bool, KeyringError> {
        if known.check_value == unwrapped.check.as_bytes() {
            return Ok(true);
        }
        let (version, spec) = (identity(record, &unwrapped.version), record.spec);
        let known = known.check_value.clone();
        let compare = move |worker: &mut Worker<'_>| worker.has_check_value(version, spec, &known);
        Ok(self.token.run_with(version, budget, compare).await?)
    }

    /// Deletes the material; the key is then pending import, unless its deletion is scheduled.
    ///
    /// # Errors
    /// `Unsupported.Origin` when the key is not EXTERNAL, or store or token fail; the next start
    /// continues.
    pub async fn delete_material<P: CanImport>(
        &self,
        key: &AuthorizedKey<P>,
        execution: Execution<'_>,
    ) -> Result<(), KeyringError> {
        check_origin(key.record())?;
        let _only_one = self.lock_material(execution.budget().deadline()).await?;
        self.remove_material(key.record().id, |_material| true, execution.budget()).await
    }

    /// The keys whose imported material has expired.
    pub fn due_for_expiry(&self, now: Time) -> Vec<KeyId> {
        self.keys_where(|record| {
            record.material.as_ref().is_some_and(|material| material.is_due(now))
        })
    }

    /// Deletes the expired material of a key.
    ///
    /// # Errors
    /// When store or token fail; the next call continues.
    pub async fn expire_material(&self, key: KeyId, now: Time) -> Result<(), KeyringError> {
        let budget = Budget::new(self.timeouts.call);
        let _only_one = self.lock_material(budget.deadline()).await?;
        self.remove_material(key, |material| material.is_due(now), &budget).await?;
        tracing::info!(
            event = "key.material_expired",
            key_id = %key,
            "deleted expired imported material of a key"
        );
        Ok(())
    }

    /// The expired import tokens.
    pub fn expired_imports(&self, now: Time) -> Vec<Arc<ImportParameters>> {
        self.store.expired_imports(now)
    }

    /// Removes an import token, and destroys its wrapping pair.
    ///
    /// # Errors
    /// When store or token fail; the next call continues.
    pub async fn remove_import(&self, parameters: &ImportParameters) -> Result<(), KeyringError> {
        let wrapping = wrapping_pair(parameters.wrapping);
        self.destroy_object(wrapping, &Budget::new(self.timeouts.call)).await?;
        match self.store.remove_document::<ImportParameters>(&parameters.id.to_string()).await {
            Ok(()) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until no other change of imported material is made, by any gateway of the cluster.
    async fn lock_material(&self, end: Instant) -> Result<MaterialLock<'_>, KeyringError> {
        let alone = self.material.lock().await;
        Ok(MaterialLock { _cluster: self.store.lock_material(end).await?, _alone: alone })
    }

    /// Unwraps the material as a version that is not active, to compute its check value.
    async fn unwrap_as_pending_version(
        &self,
        parameters: &ImportParameters,
        material: &WrappedMaterial,
        now: Time,
        budget: &Budget,
    ) -> Result<(Arc<KeyRecord>, UnwrappedVersion), KeyringError> {
        let (key, id) = (parameters.key, KeyVersionId::random());
        let pending = self.pending_versions.begin(id);
        let record = self
            .store
            .change_key(key, |record| {
                state::check(record.state, KeyAction::Import)?;
                let number = record.next_version_number();
                let (created, iv_length) = (now, self.new_iv_length(record.spec));
                let version = KeyVersion { id, number, iv_length, ..KeyVersion::initial(created) };
                record.versions.push(version);
                Ok::<_, KeyringError>(())
            })
            .await?;
        let version = record.versions.iter().find(|version| version.id == id).cloned();
        let version = version.ok_or(ErrorCode::InternalFailure)?;
        match self.unwrap(&record, &version, parameters, material, budget).await {
            Ok(check) => Ok((record, UnwrappedVersion { version, check, _pending: pending })),
            Err(error) => {
                self.remove_failed_version(key, identity(&record, &version)).await;
                Err(error)
            }
        }
    }

    /// The first material of a key: activates the version that was unwrapped.
    async fn activate_first_material(
        &self,
        record: &KeyRecord,
        unwrapped: &UnwrappedVersion,
        expires: Option<Time>,
    ) -> Result<(), KeyringError> {
        let material = ImportedMaterial {
            check_value: unwrapped.check.as_bytes().to_vec(),
            expires,
            is_present: true,
        };
        let activate = |record: &mut KeyRecord| {
            // The deletion of the key may have been scheduled in the meantime.
            state::check(record.state, KeyAction::Import)?;
            if !record.activate(unwrapped.version.id) {
                return Err(StoreError::NotFound.into());
            }
            record.material = Some(material);
            record.state = KeyState::Enabled;
            Ok::<_, KeyringError>(())
        };
        let answer = self.answers.take(unwrapped.version.id);
        self.store.change_key_with(record.id, answer, activate).await.map(drop)
    }

    /// The same material again: under the key's own version, unless it is still present.
    async fn restore_material(
        &self,
        record: &KeyRecord,
        parameters: &ImportParameters,
        material: &WrappedMaterial,
        is_present: bool,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let version = record.live_versions().next().ok_or(ErrorCode::InternalFailure)?;
        if !is_present {
            self.mark_pending_destruction(record.id);
            self.destroy_object(identity(record, version), budget).await?;
            self.unwrap(record, version, parameters, material, budget).await?;
        }
        let brought = self
            .store
            .change_key(record.id, |record| {
                // The deletion of the key may have been scheduled in the meantime.
                state::check(record.state, KeyAction::Import)?;
                if let Some(known) = &mut record.material {
                    known.expires = material.expires;
                    known.is_present = true;
                }
                if record.state == KeyState::PendingImport {
                    record.state = KeyState::Enabled;
                }
                Ok::<_, KeyringError>(())
            })
            .await;
        if brought.is_ok() {
            self.pending_destruction.lock().remove(&record.id);
        }
        brought.map(drop)
    }

    /// The keys whose material may still be in the token although their rows mark it absent, as far
    /// as this process knows.
    pub fn pending_destructions(&self) -> Vec<KeyId> {
        self.pending_destruction.lock().iter().copied().collect()
    }

    /// Destroys the remaining material of such a key, if its row still marks it absent.
    ///
    /// # Errors
    /// When store or token fail; the next call tries again.
    pub async fn destroy_pending_material(&self, key: KeyId) -> Result<(), KeyringError> {
        let budget = Budget::new(self.timeouts.call);
        let _only_one = self.lock_material(budget.deadline()).await?;
        match self.store.key_on_disk(key).await {
            Ok(record) => {
                self.destroy_absent_material(&record, &budget).await?;
            }
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.pending_destruction.lock().remove(&key);
        Ok(())
    }

    pub(super) fn mark_pending_destruction(&self, key: KeyId) {
        self.pending_destruction.lock().insert(key);
    }

    async fn unwrap(
        &self,
        record: &KeyRecord,
        version: &KeyVersion,
        parameters: &ImportParameters,
        material: &WrappedMaterial,
        budget: &Budget,
    ) -> Result<CheckValue, KeyringError> {
        let target = identity(record, version);
        let (wrapping, spec) = (wrapping_pair(parameters.wrapping), record.spec);
        let algorithm = parameters.algorithm;
        let wrapped = material.wrapped.clone();
        let unwrap = move |worker: &mut Worker<'_>| {
            worker.unwrap_secret(wrapping, algorithm, &wrapped, &target.name, spec)
        };
        match self.token.create(target, budget, unwrap).await {
            Err(TokenError::BadKeyMaterial) => Err(ErrorCode::InvalidKeyMaterial.into()),
            Err(error) if error.is_not_found() => Err(ErrorCode::InvalidImportToken.into()),
            other => Ok(other?),
        }
    }

    async fn remove_material(
        &self,
        key: KeyId,
        is_selected: impl FnOnce(&ImportedMaterial) -> bool,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let mark_absent = |record: &mut KeyRecord| {
            if let Some(material) = record.material.as_mut().filter(|one| is_selected(one)) {
                material.is_present = false;
                material.expires = None;
                if record.state != KeyState::PendingDeletion {
                    record.state = KeyState::PendingImport;
                }
            }
            Ok::<_, KeyringError>(())
        };
        let record = self.store.change_key(key, mark_absent).await?;
        self.mark_pending_destruction(key);
        self.destroy_absent_material(&record, budget).await?;
        self.pending_destruction.lock().remove(&key);
        Ok(())
    }

    /// Destroys the token objects of a key whose row marks its material absent.
    pub(super) async fn destroy_absent_material(
        &self,
        record: &KeyRecord,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        if record.material.as_ref().is_some_and(|material| !material.is_present) {
            for version in record.live_versions() {
                self.destroy_object(identity(record, version), budget).await?;
            }
        }
        Ok(())
    }
}

/// The right to change imported material, until it is dropped.
struct MaterialLock<'k> {
    _cluster: MaterialGuard,
    _alone: MutexGuard<'k, ()>,
}

/// Material that was unwrapped, with its check value.
struct UnwrappedVersion {
    version: KeyVersion,
    check: CheckValue,
    _pending: PendingGuard,
}

/// The wrapping pair of an import token.
const fn wrapping_pair(wrapping: KeyVersionId) -> KeyIdentity {
    KeyIdentity::of_service(ServiceKey::ImportWrapping, wrapping)
}

fn check_origin(record: &KeyRecord) -> Result<(), ErrorCode> {
    if record.origin == Origin::External { Ok(()) } else { Err(ErrorCode::UnsupportedOrigin) }
}
