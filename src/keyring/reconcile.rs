//! Brings token and store together again after a kill, and destroys what is due.

use super::{Keyring, KeyringError};
use crate::model::{KeyId, KeyRecord, KeyState, KeyVersion, KeyVersionId, Time};
use crate::token::Budget;

/// A version that is not alive after so long is not being made any more.
const STALE_SECONDS: i64 = 600;

impl Keyring {
    /// Finishes what the last process left half done: versions that never came alive are taken
    /// back with their token objects. Deletions that had begun are carried through by the first
    /// [`Keyring::purge`].
    ///
    /// Token objects without a row are left alone: after a restore of an older store, good keys
    /// look like that.
    ///
    /// # Errors
    /// When store or token fail.
    pub async fn reconcile(&self) -> Result<(), KeyringError> {
        for record in self.store.keys() {
            if record.state == KeyState::Deleting {
                continue;
            }
            self.destroy_absent_material(&record, &Budget::new(self.times.call)).await?;
            for version in record.versions.iter().filter(|version| !version.is_live) {
                let budget = Budget::new(self.times.call);
                self.remove_version(record.id, version.id, &budget).await?;
                tracing::warn!(key_id = %record.id, key_version_id = %version.id,
                    "took back a key version that was half made when the process ended");
            }
        }
        Ok(())
    }

    /// Takes back versions that never came alive and that nobody can be making any more: their
    /// process lives on, and the token or the store failed it when it was to take them back.
    ///
    /// # Errors
    /// When store or token fail; the next call tries again.
    pub async fn take_back_stale(&self, now: Time) -> Result<(), KeyringError> {
        let longest = i64::try_from(self.times.generate.as_secs()).unwrap_or(i64::MAX);
        let stale = now.plus_seconds(-longest.saturating_mul(2).max(STALE_SECONDS));
        for record in self.store.keys() {
            let is_stale = |version: &&KeyVersion| !version.is_live && version.created < stale;
            for version in record.versions.iter().filter(is_stale) {
                let budget = Budget::new(self.times.call);
                self.remove_version(record.id, version.id, &budget).await?;
                tracing::warn!(key_id = %record.id, key_version_id = %version.id,
                    "took back a key version that never came alive");
            }
        }
        Ok(())
    }

    /// The keys whose deletion date has passed, and those whose deletion has begun.
    pub fn due_for_purge(&self, now: Time) -> Vec<KeyId> {
        let mut due = self.store.keys();
        due.retain(|record| is_due(record, now) || record.state == KeyState::Deleting);
        due.iter().map(|record| record.id).collect()
    }

    /// Destroys a key whose deletion is due; that is decided anew under the store's lock, as the
    /// deletion may have been cancelled.
    ///
    /// # Errors
    /// When store or token fail; what was begun is finished by the next call.
    pub async fn purge(&self, key: KeyId, now: Time) -> Result<(), KeyringError> {
        let record = self
            .store
            .change_key(key, |record| {
                if is_due(record, now) {
                    record.state = KeyState::Deleting;
                }
                Ok::<_, KeyringError>(())
            })
            .await?;
        if record.state == KeyState::Deleting {
            self.finish_deletion(&record).await?;
            tracing::info!(key_id = %key, "destroyed a key whose deletion was due");
        }
        Ok(())
    }

    async fn finish_deletion(&self, record: &KeyRecord) -> Result<(), KeyringError> {
        for version in &record.versions {
            self.destroy_object(version.id, &Budget::new(self.times.call)).await?;
        }
        Ok(self.store.remove_key(record.id).await?)
    }

    /// Destroys the token object of a version that is not live, then its row; a key whose only
    /// version it was goes too, if it never came alive itself.
    pub(super) async fn remove_version(
        &self,
        key: KeyId,
        version: KeyVersionId,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        self.destroy_object(version, budget).await?;
        let record = self
            .store
            .change_key(key, |record| {
                record.versions.retain(|held| held.id != version || held.is_live);
                Ok::<_, KeyringError>(())
            })
            .await?;
        if record.state == KeyState::Creating && record.versions.is_empty() {
            self.store.remove_key(key).await?;
        }
        Ok(())
    }

    pub(super) async fn destroy_object(
        &self,
        version: KeyVersionId,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        Ok(self.token.change(budget, move |worker| worker.destroy(version)).await?)
    }
}

fn is_due(record: &KeyRecord, now: Time) -> bool {
    record.state == KeyState::PendingDeletion && record.delete_at.is_some_and(|date| date <= now)
}
