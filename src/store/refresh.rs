//! Reads keys, aliases and documents again after another process changed them.
//!
//! Every change of them increments a counter in its transaction. The catalogue holds the count that
//! it was read at, so one row shows whether a new read is needed. In a cluster
//! only the rows that were changed are read, if possible (`changed_rows`).

use std::sync::Arc;

use super::catalogue::Catalogue;
use super::row::Scope;
use super::tables::CATALOGUE_REVISION;
use super::{Part, Store, StoreError, load, unsigned_metadata};
use crate::model::{KeyId, KeyRecord, KeyVersion};

impl Store {
    /// Reads keys, aliases and documents again if another process has changed any of them since the
    /// last read. Returns whether it did.
    ///
    /// # Errors
    /// When the database cannot be read, or was reset to an older state; memory then stays
    /// unchanged. A row that cannot be read is skipped.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let refreshed = Box::pin(self.read_changes()).await;
        let is_unavailable =
            matches!(refreshed, Err(StoreError::Unavailable { .. } | StoreError::Tls { .. }));
        self.inner.health.outage.note_comparison(!is_unavailable);
        refreshed
    }

    /// Records that memory could not be compared with the database.
    pub fn note_not_compared(&self, error: &StoreError) {
        let is_unavailable =
            matches!(error, StoreError::Unavailable { .. } | StoreError::Tls { .. });
        if is_unavailable {
            self.inner.health.outage.note_comparison(false);
        }
    }

    async fn read_changes(&self) -> Result<bool, StoreError> {
        if self.is_current().await? {
            return Ok(false);
        }
        // Waits for changes of this process, which reach memory only after the disk.
        let _writer_lock = Arc::clone(&self.inner.writer_lock).lock_owned().await;
        if let Some(has_read) = self.read_changed_rows().await? {
            if has_read {
                self.check_metadata_rows().await?;
            }
            return Ok(has_read);
        }
        if self.is_current().await? {
            return Ok(false);
        }
        let (catalogue, damaged) = load(&self.inner).await?;
        self.require_no_rollback(&catalogue)?;
        self.note_removed(&self.keys(), |id| catalogue.key(id).map(|key| &**key));
        *self.inner.catalogue.write() = catalogue;
        self.note_damaged(Part::Catalogue, damaged);
        self.check_metadata_rows().await?;
        Ok(true)
    }

    /// The live versions whose keys other processes have deleted, or whose material they have destroyed,
    /// since the last call, each with its key as it was.
    pub fn take_removed(&self) -> Vec<(Arc<KeyRecord>, KeyVersion)> {
        std::mem::take(&mut *self.inner.removed.lock())
    }

    /// Records what of these records is not in those that were read.
    pub(super) fn note_removed<'k>(
        &self,
        before: &[Arc<KeyRecord>],
        read: impl Fn(KeyId) -> Option<&'k KeyRecord>,
    ) {
        let mut removed = Vec::new();
        for record in before.iter().filter(|record| record.has_material()) {
            let now = read(record.id).filter(|now| now.has_material());
            let is_left =
                |version: &&KeyVersion| now.is_some_and(|now| now.version(version.id).is_some());
            let gone = record.live_versions().filter(|version| !is_left(version));
            removed.extend(gone.map(|version| (Arc::clone(record), version.clone())));
        }
        self.inner.removed.lock().extend(removed);
    }

    async fn is_current(&self) -> Result<bool, StoreError> {
        if self.inner.next_check.is_due(Scope::Catalogue) {
            return Ok(false);
        }
        let mut connection = self.inner.connection().await?;
        let (revision, damaged) =
            unsigned_metadata::read_count(&mut connection, CATALOGUE_REVISION).await?;
        Ok(damaged.is_none() && revision == self.inner.catalogue.read().revision())
    }

    fn require_no_rollback(&self, read: &Catalogue) -> Result<(), StoreError> {
        // A damaged counter is counted again from the start.
        if read.revision() == unsigned_metadata::NO_COUNT {
            return Ok(());
        }
        let known = self.inner.catalogue.read().revision();
        self.inner.require_no_rollback(known, read.revision())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Alias, FromParam, NetworkRule, Time};
    use crate::store::StoreError;
    use crate::store::tests::{Bench, open, sample_key};

    fn rule() -> NetworkRule {
        NetworkRule {
            name: "office".parse().unwrap(),
            source_private_ip: FromParam::from_param(r#"["10.0.0.0/8"]"#).unwrap(),
            description: String::new(),
            created: Time::from_unix(1_700_000_000),
        }
    }

    #[tokio::test]
    async fn every_change_through_one_handle_reaches_the_other() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let name: Alias = "alias/orders".parse().unwrap();
        let key = there.insert_key(sample_key()).await.unwrap().id;
        assert_eq!(here.key(key), None);
        assert!(here.refresh().await.unwrap());
        there.create_alias(&name, key).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.alias_target(&name), Some(key));
        let clear = |key: &mut crate::model::KeyRecord| {
            key.description.clear();
            Ok::<_, StoreError>(())
        };
        there.change_key(key, clear).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.key(key).unwrap().description, "");
        there.insert_document(rule()).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.documents::<NetworkRule>().len(), 1);
        there.delete_alias(&name, |_key| Ok::<_, StoreError>(())).await.unwrap();
        there.remove_key(key).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.keys(), []);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn own_changes_are_not_read_again_but_changes_between_them_are() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        here.insert_key(sample_key()).await.unwrap();
        here.insert_key(sample_key()).await.unwrap();
        assert!(!here.refresh().await.unwrap());
        let other = there.insert_key(sample_key()).await.unwrap().id;
        here.insert_key(sample_key()).await.unwrap();
        assert_eq!(here.key(other), None);
        assert!(here.refresh().await.unwrap());
        assert!(here.key(other).is_some());
        assert!(!here.refresh().await.unwrap());
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_handles_that_change_and_refresh_concurrently_end_equal() {
        let bench = Bench::new().await;
        let there = open(&bench.url).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..24 {
            let store = if at % 2 == 0 { there.clone() } else { bench.store.clone() };
            tasks.spawn(async move {
                store.insert_key(sample_key()).await.unwrap();
                store.refresh().await.unwrap();
            });
        }
        tasks.join_all().await;
        for store in [&there, &bench.store] {
            store.refresh().await.unwrap();
            assert_eq!(store.keys().len(), 24);
        }
        bench.assert_disk_is_memory().await;
    }
}
