//! Keys and versions come and go, always in an order that a kill at any instant leaves
//! repairable: the row says `Creating` before the token makes the object, and `Deleting` before
//! the token destroys it.

use std::sync::Arc;

use super::{Keyring, KeyringError, Use, state};
use crate::authz::{AccountGrant, AuthorizedKey, Changes, Permission};
use crate::error::ErrorCode;
use crate::model::{
    KeyId, KeyRecord, KeySpec, KeyState, KeyUsage, KeyVersion, KeyVersionId, Origin,
    ProtectionLevel, Time,
};
use crate::token::{Budget, ObjectName, ObjectOwner};

/// What a caller decides about a new key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Kind and size.
    pub spec: KeySpec,
    /// What it is for; one of the spec's usages.
    pub usage: KeyUsage,
    /// The protection level asked for.
    pub protection: ProtectionLevel,
    /// The owner's text.
    pub description: String,
}

impl Keyring {
    /// Makes a key with its initial version in the token.
    ///
    /// # Errors
    /// When store or token fail; nothing of the key is visible then.
    pub async fn create<P: Permission>(
        &self,
        _grant: &AccountGrant<P>,
        new: NewKey,
        now: Time,
        budget: &Budget,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        let version = KeyVersion::initial(now);
        let record = KeyRecord {
            description: new.description,
            versions: vec![version.clone()],
            ..KeyRecord::new(new.spec, new.usage, Origin::AliyunKms, new.protection, now)
        };
        let record = self.store.insert_key(record).await?;
        if let Err(error) = self.generate(&record, &version, budget).await {
            self.forget_version(record.id, version.id).await;
            return Err(error);
        }
        self.store
            .change_key(record.id, |record| {
                record.state = KeyState::Enabled;
                record.go_live(version.id);
                Ok::<_, KeyringError>(())
            })
            .await
    }

    /// Makes a new version of a key; for a symmetric key it becomes the primary one.
    ///
    /// # Errors
    /// When the key's state or origin forbids it, or store or token fail; the key then stays as
    /// it was.
    pub async fn add_version<P: Changes>(
        &self,
        key: &AuthorizedKey<P>,
        now: Time,
        budget: &Budget,
    ) -> Result<KeyVersion, KeyringError> {
        let id = KeyVersionId::random();
        let record = self
            .store
            .change_key(key.record().id, |record| {
                state::check(record.state, Use::Cryptographic)?;
                if record.origin == Origin::External {
                    return Err(ErrorCode::RejectedUnsupportedOperation.into());
                }
                record.versions.push(KeyVersion {
                    id,
                    number: record.next_version_number(),
                    created: now,
                    is_live: false,
                });
                Ok::<_, KeyringError>(())
            })
            .await?;
        let version = record
            .versions
            .iter()
            .find(|version| version.id == id)
            .cloned()
            .ok_or(ErrorCode::InternalFailure)?;
        if let Err(error) = self.generate(&record, &version, budget).await {
            self.forget_version(record.id, id).await;
            return Err(error);
        }
        self.store
            .change_key(record.id, |record| {
                record.go_live(id);
                Ok::<_, KeyringError>(())
            })
            .await?;
        Ok(version)
    }

    /// Changes a key's facts if its state allows `wanted`.
    ///
    /// # Errors
    /// When the state forbids it, or the store fails.
    pub async fn change<P: Changes>(
        &self,
        key: &AuthorizedKey<P>,
        wanted: Use,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.store
            .change_key(key.record().id, |record| {
                state::check(record.state, wanted)?;
                change(record);
                Ok(())
            })
            .await
    }

    /// Whether the key's state allows `wanted`.
    ///
    /// # Errors
    /// The code of the state table.
    pub fn check<P>(&self, key: &AuthorizedKey<P>, wanted: Use) -> Result<(), KeyringError> {
        Ok(state::check(key.record().state, wanted)?)
    }

    async fn generate(
        &self,
        record: &KeyRecord,
        version: &KeyVersion,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        let (spec, usage) = (record.spec, record.usage);
        let name = ObjectName {
            owner: ObjectOwner::Key(record.id),
            number: version.number,
            version: version.id,
        };
        Ok(self.token.change(budget, move |worker| worker.generate(&name, spec, usage)).await?)
    }

    /// Takes back a version that did not come alive. What fails here is done at the next start.
    ///
    /// It has a time of its own, since the request's may be used up. The object lock puts it behind
    /// a generation that is still under way.
    pub(super) async fn forget_version(&self, key: KeyId, version: KeyVersionId) {
        let budget = Budget::new(self.times.call);
        if let Err(error) = self.remove_version(key, version, &budget).await {
            tracing::warn!(
                key_id = %key,
                key_version_id = %version,
                error = &error as &dyn std::error::Error,
                "a half-made key version stays until the next start"
            );
        }
    }
}
