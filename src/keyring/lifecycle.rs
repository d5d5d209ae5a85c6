//! Creation and change of keys and versions, in an order that can be completed or reverted after a
//! kill at any time: the row becomes `Creating` before the token generates the object, and
//! `Deleting` before the token destroys it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pending_versions::PendingGuard;
use super::{Execution, KeyAction, Keyring, KeyringError, identity, state};
use crate::authz::{AccountGrant, AuthorizedKey, CanManage, Permission};
use crate::error::ErrorCode;
use crate::model::{
    InstanceId, KeyId, KeyRecord, KeySpec, KeyState, KeyUsage, KeyVersion, KeyVersionId, Origin,
    ProtectionLevel, Rotation, TagKey, TagValue, Time,
};
use crate::store::StoreError;
use crate::token::{Budget, KeyIdentity, Worker};

/// The caller's parameters of a new key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The id; `None` for a random one.
    pub id: Option<KeyId>,
    /// Kind and size.
    pub spec: KeySpec,
    /// The usage; one of the spec's usages.
    pub usage: KeyUsage,
    /// The origin of its material.
    pub origin: Origin,
    /// The requested protection level.
    pub protection: ProtectionLevel,
    /// The instance, if named.
    pub instance: Option<InstanceId>,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: BTreeMap<TagKey, TagValue>,
    /// The rotation settings; only for a key that can rotate.
    pub rotation: Option<Rotation>,
    /// The key policy, if the key has one.
    pub policy: Option<String>,
}

/// A version whose row is written and that is not active yet.
pub(super) struct PendingVersion {
    record: Arc<KeyRecord>,
    pub(super) version: KeyVersion,
    pending: PendingGuard,
}

impl NewKey {
    /// The record of the key, without any version.
    fn record(self, now: Time) -> KeyRecord {
        let id = self.id.unwrap_or_else(KeyId::random);
        KeyRecord {
            id,
            instance: self.instance,
            description: self.description,
            tags: self.tags,
            rotation: self.rotation,
            policy: self.policy,
            ..KeyRecord::new(self.spec, self.usage, self.origin, self.protection, now)
        }
    }
}

impl Keyring {
    /// Creates a key with its initial version in the token; a key of origin EXTERNAL has no version
    /// until its material is imported.
    ///
    /// # Errors
    /// When the token does not support the key, or store or token fail; the key is then not
    /// visible.
    pub async fn create<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        new: NewKey,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.create_record(new.record(now), now, execution).await
    }

    /// As [`Keyring::create`], for a key that callers do not see.
    pub(super) async fn create_internal<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        new: NewKey,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        let record = KeyRecord { is_internal: true, ..new.record(now) };
        self.create_record(record, now, execution).await
    }

    async fn create_record(
        &self,
        mut record: KeyRecord,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        // No row is written of a key that the token does not support, or cannot generate now.
        self.token.check_supported(record.spec, record.usage)?;
        if record.origin == Origin::External {
            record.state = KeyState::PendingImport;
            return Ok(self.store.insert_key(record).await?);
        }
        self.token.ready()?;
        let iv_length = self.new_iv_length(record.spec);
        let version = KeyVersion { iv_length, ..KeyVersion::initial(now) };
        let pending = self.pending_versions.begin(version.id);
        record.versions = vec![version.clone()];
        let record = self.store.insert_key(record).await?;
        self.generate_and_activate(PendingVersion { record, version, pending }, execution.budget())
            .await
    }

    /// Creates a new version of a key; for a symmetric key it becomes the primary one. A MAC key
    /// has only one version, because a MAC does not name its version.
    ///
    /// # Errors
    /// When the key's state, spec or origin forbids it, the key has the maximum number of versions, or
    /// store or token fail; the key is then unchanged.
    pub async fn add_version<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<KeyVersion, KeyringError> {
        // Automatic rotations do not count: their interval limits their number.
        let quota = self.store.quotas().key_versions;
        let may_rotate = |record: &KeyRecord| {
            check_rotation(record)?;
            if quota.has_room(record.versions.len()) {
                Ok(true)
            } else {
                Err(StoreError::QuotaReached(quota).into())
            }
        };
        let pending = self.insert_pending_version(key.record().id, now, may_rotate).await?;
        let pending = pending.ok_or(ErrorCode::InternalFailure)?;
        let version = pending.version.clone();
        self.generate_and_activate(pending, execution.budget()).await?;
        Ok(version)
    }

    /// Writes the row of a new version, not active yet, if `decide` accepts the key's row under the
    /// row lock.
    pub(super) async fn insert_pending_version(
        &self,
        key: KeyId,
        now: Time,
        decide: impl FnOnce(&KeyRecord) -> Result<bool, KeyringError>,
    ) -> Result<Option<PendingVersion>, KeyringError> {
        self.token.ready()?;
        let id = KeyVersionId::random();
        let pending = self.pending_versions.begin(id);
        let insert = |record: &mut KeyRecord| {
            if decide(record)? {
                let number = record.next_version_number();
                let (created, iv_length) = (now, self.new_iv_length(record.spec));
                let version = KeyVersion { id, number, iv_length, ..KeyVersion::initial(created) };
                record.versions.push(version);
            }
            Ok::<_, KeyringError>(())
        };
        let record = self.store.change_key(key, insert).await?;
        let version = record.versions.iter().find(|version| version.id == id).cloned();
        Ok(version.map(|version| PendingVersion { record, version, pending }))
    }

    /// Generates the token object of a version whose row is written, and activates the version.
    ///
    /// It continues even if the caller disconnects: clients time out before a large key is
    /// generated, and an incomplete version would remain until the next start.
    pub(super) async fn generate_and_activate(
        &self,
        pending: PendingVersion,
        budget: &Budget,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        let (keyring, budget) = (self.clone(), budget.clone());
        let work = tokio::spawn(async move {
            let PendingVersion { record, version, pending } = pending;
            let outcome = keyring.make(&record, &version, &budget).await;
            if outcome.is_err() {
                keyring.remove_failed_version(record.id, identity(&record, &version)).await;
            }
            drop(pending);
            outcome
        });
        work.await.unwrap_or_else(|_panicked| Err(ErrorCode::InternalFailure.into()))
    }

    async fn make(
        &self,
        record: &KeyRecord,
        version: &KeyVersion,
        budget: &Budget,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        let (spec, usage, key) = (record.spec, record.usage, identity(record, version));
        let generate = move |worker: &mut Worker<'_>| worker.generate(&key.name, spec, usage);
        self.token.create(key, budget, generate).await?;
        let answer = self.answers.take(version.id);
        self.store
            .change_key_with(record.id, answer, |record| {
                // The key may have been disabled meanwhile, which its callers have seen.
                match record.state {
                    KeyState::Creating => record.state = KeyState::Enabled,
                    state => state::check(state, KeyAction::Cryptographic)?,
                }
                if record.activate(version.id) { Ok(()) } else { Err(StoreError::NotFound.into()) }
            })
            .await
    }

    /// Changes the metadata of a key if its state allows `wanted`.
    ///
    /// # Errors
    /// When the state forbids it, or the store fails.
    pub async fn change<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        wanted: KeyAction,
        execution: Execution<'_>,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.try_change(key, wanted, execution, |record| {
            change(record);
            Ok(())
        })
        .await
    }

    /// As [`Keyring::change`], but `change` sees the current row, under the row lock, and may
    /// refuse.
    ///
    /// # Errors
    /// As [`Keyring::change`], and the error of `change`; the key is then unchanged.
    pub async fn try_change<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        wanted: KeyAction,
        _execution: Execution<'_>,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), KeyringError>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.store
            .change_key(key.record().id, |record| {
                state::check(record.state, wanted)?;
                change(record)
            })
            .await
    }

    /// Checks that the key's state allows `wanted`.
    ///
    /// # Errors
    /// The code of the state table.
    pub fn check<P>(&self, key: &AuthorizedKey<P>, wanted: KeyAction) -> Result<(), KeyringError> {
        Ok(state::check(key.record().state, wanted)?)
    }

    /// Removes a version that was not activated. If this fails, a job repeats it.
    ///
    /// It has a separate token budget, because the request's may be used up. The object lock delays
    /// it until a running generation has ended.
    pub(super) async fn remove_failed_version(&self, key: KeyId, version: KeyIdentity) {
        let budget = Budget::new(self.timeouts.call);
        if let Err(error) = self.remove_version(key, version, &budget).await {
            tracing::warn!(
                event = "key.removal_postponed",
                key_id = %key,
                key_version_id = %version.id(),
                error = &error as &dyn std::error::Error,
                "could not remove an incomplete key version; will retry"
            );
        }
    }
}

/// Checks that a key can have a new version now.
fn check_rotation(record: &KeyRecord) -> Result<(), KeyringError> {
    state::check(record.state, KeyAction::Cryptographic)?;
    if record.origin == Origin::External || record.usage == KeyUsage::GenerateVerifyMac {
        let reason = "A key of this Origin or KeyUsage has only one version";
        return Err(KeyringError::NotForKey(reason));
    }
    Ok(())
}
