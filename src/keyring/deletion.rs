//! The deletion of a key, from its schedule to its tombstone.
//!
//! [`Keyring::schedule_deletion`] sets the key to `PendingDeletion` with a date, and until that
//! date [`Keyring::cancel_deletion`] can cancel it. [`Keyring::purge`], a job, then performs these
//! steps:
//!
//! 1. the row becomes `Deleting`: the deletion can no longer be canceled, and the key not used;
//! 2. the token destroys the objects of every version;
//! 3. one transaction removes the row and inserts the tombstone, which prevents a recovery of the
//!    key from the token.
//!
//! After a kill at any point the next purge continues: a row in `Deleting` is due whatever the
//! clock says, and destroying a missing object is not an error.

use std::sync::Arc;

use super::{Execution, KeyAction, Keyring, KeyringError, identity};
use crate::authz::{AuthorizedKey, CanManage};
use crate::model::{KeyId, KeyRecord, KeyState, Time};
use crate::token::Budget;

impl Keyring {
    /// Schedules the deletion of a key.
    ///
    /// # Errors
    /// When the key's state or its deletion protection forbids it, or the store fails.
    pub async fn schedule_deletion<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        delete_at: Time,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.try_change(key, KeyAction::ScheduleDeletion, execution, |record| {
            if record.deletion_protection.is_some() {
                return Err(KeyringError::Protected);
            }
            record.state = KeyState::PendingDeletion;
            record.delete_at = Some(delete_at);
            Ok(())
        })
        .await
    }

    /// Cancels a scheduled deletion. The key becomes enabled, or pending import if it has no
    /// material.
    ///
    /// # Errors
    /// When no deletion is scheduled, or the store fails.
    pub async fn cancel_deletion<P: CanManage>(
        &self,
        key: &AuthorizedKey<P>,
        execution: Execution<'_>,
    ) -> Result<Arc<KeyRecord>, KeyringError> {
        self.change(key, KeyAction::CancelDeletion, execution, |record| {
            record.delete_at = None;
            record.state =
                if record.has_material() { KeyState::Enabled } else { KeyState::PendingImport };
        })
        .await
    }

    /// The keys to destroy: those whose deletion has begun, and, unless `is_held`, those whose date
    /// has passed.
    pub fn due_for_purge(&self, now: Time, is_held: bool) -> Vec<KeyId> {
        self.keys_where(|record| {
            record.state == KeyState::Deleting || (!is_held && is_due(record, now))
        })
    }

    /// Destroys a key whose deletion is due. This is checked again under the row lock, because the
    /// deletion may have been canceled.
    ///
    /// # Errors
    /// When store or token fail; the next call continues.
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
            tracing::info!(
                event = "key.destroyed",
                key_id = %key,
                "destroyed a key whose deletion was due"
            );
        }
        Ok(())
    }

    async fn finish_deletion(&self, record: &KeyRecord) -> Result<(), KeyringError> {
        for version in &record.versions {
            let (version, is_live) = (identity(record, version), version.is_live);
            let budget = Budget::new(self.timeouts.call);
            if is_live {
                self.token.destroy(version, &budget).await?;
            } else {
                self.token.destroy_incomplete(version, &budget).await?;
            }
        }
        Ok(self.store.remove_key(record.id).await?)
    }
}

fn is_due(record: &KeyRecord, now: Time) -> bool {
    record.state == KeyState::PendingDeletion && record.delete_at.is_some_and(|date| date <= now)
}
