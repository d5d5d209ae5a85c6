//! Keys and versions come and go, always in an order that a kill at any instant leaves
//! repairable: the row says `Creating` before the token makes the object, and `Deleting` before
//! the token destroys it.

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
use crate::token::{Budget, KeyIdentity};

/// What a caller decides about a new key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Kind and size.
    pub spec: KeySpec,
    /// What it is for; one of the spec's usages.
    pub usage: KeyUsage,
    /// Where its material is to come from.
    pub origin: Origin,
    /// The protection level asked for.
    pub protection: ProtectionLevel,
    /// The instance, where one was named.
    pub instance: Option<InstanceId>,
    /// The owner's text.
    pub description: String,
    /// The owner's tags.
    pub tags: BTreeMap<TagKey, TagValue>,
    /// How it rotates; only for a key that can.
    pub rotation: Option<Rotation>,
    /// The key policy, where it has one of its own.
    pub policy: Option<String>,
}

/// A version whose row is written and that is not live yet.
pub(super) struct PendingVersion {
    record: Arc<KeyRecord>,
    pub(super) version: KeyVersion,
    pending: PendingGuard,
}

impl NewKey {
    /// The key, without any version.
    fn record(self, now: Time) -> KeyRecord {
        KeyRecord {
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
    /// Makes a key with its initial version in the token; a key of origin EXTERNAL waits for its
    /// material and has none.
    ///
    /// # Errors
    /// When the token has no such keys, or store or token fail; nothing of the key is visible
    /// then.
    pub async fn create<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        new: NewKey,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        let mut record = new.record(now);
        if record.origin == Origin::External {
            record.state = KeyState::PendingImport;
            return Ok(self.store.insert_key(record).await?);
        }
        // No row is begun that the token could not follow.
        self.token.ready()?;
        let version = KeyVersion::initial(now);
        let pending = self.pending_versions.begin(version.id);
        record.versions = vec![version.clone()];
        let record = self.store.insert_key(record).await?;
        self.generate_and_activate(PendingVersion { record, version, pending }, execution.budget())
            .await
    }

    /// Makes a new version of a key; for a symmetric key it becomes the primary one. A MAC key has
    /// one version for good, since a MAC does not tell which one made it.
    ///
    /// # Errors
    /// When the key's state, spec or origin forbids it, or store or token fail; the key then stays
    /// as it was.
    pub async fn add_version<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        now: Time,
        execution: Execution<'_>,
    ) -> Result<KeyVersion, KeyringError> {
        let pending = self
            .insert_pending_version(key.record().id, now, |record| {
                state::check(record.state, KeyAction::Cryptographic)?;
                let is_mac = record.usage == KeyUsage::GenerateVerifyMac;
                if record.origin == Origin::External || is_mac {
                    return Err(KeyringError::NotForKey(
                        "A key of this Origin or KeyUsage has one version for good",
                    ));
                }
                Ok(true)
            })
            .await?;
        let pending = pending.ok_or(ErrorCode::InternalFailure)?;
        let version = pending.version.clone();
        self.generate_and_activate(pending, execution.budget()).await?;
        Ok(version)
    }

    /// Writes the row of a new version, not live yet, if `decide` wants it of the key as it is
    /// under the store's lock.
    pub(super) async fn insert_pending_version(
        &self,
        key: KeyId,
        now: Time,
        decide: impl FnOnce(&KeyRecord) -> Result<bool, KeyringError>,
    ) -> Result<Option<PendingVersion>, KeyringError> {
        self.token.ready()?;
        let id = KeyVersionId::random();
        let pending = self.pending_versions.begin(id);
        let record = self
            .store
            .change_key(key, |record| {
                if decide(record)? {
                    record.versions.push(KeyVersion {
                        id,
                        number: record.next_version_number(),
                        created: now,
                        is_live: false,
                    });
                }
                Ok::<_, KeyringError>(())
            })
            .await?;
        let version = record.versions.iter().find(|version| version.id == id).cloned();
        Ok(version.map(|version| PendingVersion { record, version, pending }))
    }

    /// Makes the token object of a version whose row is written, and lets the version live.
    ///
    /// It goes on to its end when nobody waits any more: clients give up before a large key is
    /// made, and what is half made would stay so until the next start.
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
        self.generate(record, version, budget).await?;
        self.store
            .change_key(record.id, |record| {
                // The key may have been disabled meanwhile, and its callers told so.
                match record.state {
                    KeyState::Creating => record.state = KeyState::Enabled,
                    state => state::check(state, KeyAction::Cryptographic)?,
                }
                if record.activate(version.id) { Ok(()) } else { Err(StoreError::NotFound.into()) }
            })
            .await
    }

    /// Changes a key's facts if its state allows `wanted`.
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

    /// As [`Keyring::change`], where the key as it is under the store's lock has a word in it.
    ///
    /// # Errors
    /// As [`Keyring::change`], and what `change` refuses; the key then stays as it was.
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

    /// Whether the key's state allows `wanted`.
    ///
    /// # Errors
    /// The code of the state table.
    pub fn check<P>(&self, key: &AuthorizedKey<P>, wanted: KeyAction) -> Result<(), KeyringError> {
        Ok(state::check(key.record().state, wanted)?)
    }

    /// As [`Keyring::check`], for the record of a key that the store holds for a change.
    ///
    /// # Errors
    /// The code of the state table.
    pub fn check_record(&self, record: &KeyRecord, wanted: KeyAction) -> Result<(), KeyringError> {
        Ok(state::check(record.state, wanted)?)
    }

    async fn generate(
        &self,
        record: &KeyRecord,
        version: &KeyVersion,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let (spec, usage) = (record.spec, record.usage);
        let name = identity(record, version).name;
        Ok(self.token.change(budget, move |worker| worker.generate(&name, spec, usage)).await?)
    }

    /// Takes back a version that did not come alive. What fails here is done by a job.
    ///
    /// It has a time of its own, since the request's may be used up. The object lock puts it behind
    /// a generation that is still under way.
    pub(super) async fn remove_failed_version(&self, key: KeyId, version: KeyIdentity) {
        let budget = Budget::new(self.timeouts.call);
        if let Err(error) = self.remove_version(key, version, &budget).await {
            tracing::warn!(
                key_id = %key,
                key_version_id = %version.id(),
                error = &error as &dyn std::error::Error,
                "a half-made key version stays for now"
            );
        }
    }
}
