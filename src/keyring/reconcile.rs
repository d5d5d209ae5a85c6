//! Reconciles token and store after a kill.

use std::time::Duration;

use super::{Keyring, KeyringError, identity};
use crate::model::{KeyId, KeyState, clock};
use crate::store::StoreError;
use crate::token::{Budget, KeyIdentity};

/// A version of another gateway that is inactive for longer than this is not being generated any
/// more.
const MAX_GENERATION_TIME: Duration = Duration::from_mins(10);

impl Keyring {
    /// Completes the unfinished work of the last process: versions that were not activated are
    /// removed with their token objects. The first [`Keyring::purge`] continues deletions.
    ///
    /// Token objects without a row are kept: after a restore of an older store, valid keys look
    /// like that.
    ///
    /// The jobs repeat a removal that the token refuses: one object that cannot be destroyed must
    /// not prevent the service of all other keys.
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

    /// The versions that were not activated and are not being generated: their process has ended,
    /// or store or token failed while it removed them. While another gateway uses the store, a
    /// version of another process must have been inactive for a while first.
    ///
    /// # Errors
    /// When the other users of the store cannot be determined.
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
            // The process that generates a version gives up after its timeout.
            let longest = self.timeouts.generate.saturating_mul(2).max(MAX_GENERATION_TIME);
            left.retain(|(_key, version)| {
                first_seen.get(&version.id()).is_some_and(|since| clock::since(*since) > longest)
            });
        }
        Ok(left)
    }

    /// Removes a version of [`Keyring::incomplete_versions`] with its token objects.
    ///
    /// # Errors
    /// When store or token fail; the next call tries again.
    pub async fn remove_incomplete_version(
        &self,
        key: KeyId,
        version: KeyIdentity,
    ) -> Result<(), KeyringError> {
        self.remove_version(key, version, &Budget::new(self.timeouts.call)).await?;
        tracing::warn!(
            event = "key.incomplete_removed",
            key_id = %key,
            key_version_id = %version.id(),
            "removed an incomplete key version"
        );
        Ok(())
    }

    /// Destroys the token object of an abandoned version, then its row, and a key without another
    /// version that was never active. An active version is kept.
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
        self.answers.take(version.id());
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

    /// Drops what this process keeps in the token of versions that another process has destroyed.
    pub async fn forget_removed(&self) {
        for version in self.store.take_removed() {
            let version = identity(&version.0, &version.1);
            self.token.forget(version, &Budget::new(self.timeouts.call)).await;
        }
    }

    /// Destroys the token objects of a version, which may be incomplete.
    pub(super) async fn destroy_object(
        &self,
        version: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), KeyringError> {
        Ok(self.token.destroy_incomplete(version, budget).await?)
    }
}

/// Whether a removal is complete, not postponed because the token refuses it.
fn is_done(outcome: Result<(), KeyringError>, key: KeyId) -> Result<bool, KeyringError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error @ KeyringError::Store(_)) => Err(error),
        Err(error) => {
            tracing::error!(
                event = "key.reconcile_failed",
                key_id = %key,
                error = &error as &dyn std::error::Error,
                "could not complete the removal of a key version or of imported material; will retry"
            );
            Ok(false)
        }
    }
}
