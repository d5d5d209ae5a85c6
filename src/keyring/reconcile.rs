//! Makes token and store agree again after a kill.

use std::time::Duration;

use super::{Keyring, KeyringError, identity};
use crate::model::{KeyId, KeyState};
use crate::store::StoreError;
use crate::token::{Budget, KeyIdentity};

/// A version of another gateway that has not come alive for so long is not being made any more.
const MAX_GENERATION_TIME: Duration = Duration::from_mins(10);

impl Keyring {
    /// Finishes what the last process left half done: versions that never came alive are taken
    /// back with their token objects. Deletions that had begun are carried through by the first
    /// [`Keyring::purge`].
    ///
    /// Token objects without a row are left alone: after a restore of an older store, good keys
    /// look like that.
    ///
    /// What the token refuses is left to the jobs, which try it again: one object that cannot be
    /// destroyed must not keep all other keys from being served.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reconcile(&self) -> Result<(), KeyringError> {
        for record in self.store.keys() {
            if record.state != KeyState::Deleting {
                let budget = Budget::new(self.timeouts.call);
                let destroyed = self.destroy_absent_material(&record, &budget).await;
                if !is_done(destroyed, record.id)? {
                    self.mark_pending_destruction(record.id);
                }
            }
        }
        for (key, version) in self.incomplete_versions().await? {
            is_done(self.remove_incomplete_version(key, version).await, key)?;
        }
        Ok(())
    }

    /// The versions that never came alive and that nobody makes any more: the process that made
    /// them has ended, or token or store failed it when it was to take them back. While another
    /// gateway uses the store, what this one does not make itself has to rest for a while first.
    ///
    /// # Errors
    /// When it cannot be told whether the store has another user.
    pub async fn incomplete_versions(&self) -> Result<Vec<(KeyId, KeyIdentity)>, KeyringError> {
        let mut left = Vec::new();
        for record in self.store.keys() {
            if record.state == KeyState::Deleting {
                continue;
            }
            let versions = record.versions.iter();
            let dead = versions.filter(|one| !one.is_live && !self.pending_versions.has(one.id));
            left.extend(dead.map(|version| (record.id, identity(&record, version))));
        }
        let first_seen =
            self.pending_versions.first_seen(left.iter().map(|(_key, version)| version.id()));
        if !left.is_empty() && !self.store.is_only_user().await? {
            // Whoever makes a version gives it up when its time is over.
            let longest = self.timeouts.generate.saturating_mul(2).max(MAX_GENERATION_TIME);
            left.retain(|(_key, version)| {
                first_seen.get(&version.id()).is_some_and(|since| since.elapsed() > longest)
            });
        }
        Ok(left)
    }

    /// Takes back a version of [`Keyring::incomplete_versions`] with its token objects.
    ///
    /// # Errors
    /// When store or token fail; the next call tries again.
    pub async fn remove_incomplete_version(
        &self,
        key: KeyId,
        version: KeyIdentity,
    ) -> Result<(), KeyringError> {
        self.remove_version(key, version, &Budget::new(self.timeouts.call)).await?;
        tracing::warn!(key_id = %key, key_version_id = %version.id(),
            "took back a key version that never came alive");
        Ok(())
    }

    /// Destroys the token object of a version that its maker has given up, then its row; a key whose
    /// only version it was goes too, if it never came alive itself. A version that is live stays.
    pub(super) async fn remove_version(
        &self,
        key: KeyId,
        version: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        match self.store.key_on_disk(key).await {
            Ok(record) if record.version(version.id()).is_some() => return Ok(()),
            Ok(_) | Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.destroy_object(version, budget).await?;
        let removed = self
            .store
            .change_key(key, |record| {
                record.versions.retain(|held| held.id != version.id());
                Ok(())
            })
            .await;
        let removed = match removed {
            Ok(record) if record.state == KeyState::Creating && record.versions.is_empty() => {
                self.store.remove_key(key).await
            }
            other => other.map(drop),
        };
        match removed {
            Ok(()) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Destroys what a version has in the token, which may be half made.
    pub(super) async fn destroy_object(
        &self,
        version: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        Ok(self.token.change(budget, move |worker| worker.destroy_incomplete(version)).await?)
    }
}

/// Whether something was done that is only put off when the token refuses it.
fn is_done(outcome: Result<(), KeyringError>, key: KeyId) -> Result<bool, KeyringError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error @ KeyringError::Store(_)) => Err(error),
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(
                event = "key.reconcile_failed",
                key_id = %key,
                error,
                "what the last process left half done of a key cannot be finished yet"
            );
            Ok(false)
        }
    }
}
