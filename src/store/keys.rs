//! SQL for keys and their versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::Row as _;

use super::catalogue::Catalogue;
use super::connection::Connection;
use super::damage::{ReadRows, from_hex};
use super::key_row::{key_values, read_key, read_version, version_changes, version_values};
use super::last_use;
use super::row_group::Selected;
use super::scope_reading::{ScopeCheck, ScopeReading, TableRows};
use super::signature::StoredRow;
use super::tables::{ALIASES, KEY_ANSWERS, KEYS, TOMBSTONES, VERSIONS};
use super::value::Value;
use super::write::Write;
use super::{DamagedRow, Store, StoreError};
use crate::model::{KeyAnswer, KeyId, KeyRecord, KeyVersion, KeyVersionId, Time, clock};

impl Store {
    /// Inserts a key with its versions.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the key's id or a version's id or number is taken;
    /// [`StoreError::QuotaReached`].
    pub async fn insert_key(&self, record: KeyRecord) -> Result<Arc<KeyRecord>, StoreError> {
        let mut record = record;
        sort_versions(&mut record);
        let mut write = self.write().await?;
        let count = sqlx::query("SELECT COUNT(*) FROM keys");
        write.require_room(write.quotas().keys, count).await?;
        write.insert_key(&record).await?;
        write.commit_key(record).await
    }

    /// Passes the key's record to `change` and stores the result, versions included. The id cannot
    /// change. Writes nothing if `change` fails or changes nothing.
    ///
    /// The record is read from disk and locked against all other writers until the change is
    /// committed, so that no change is lost.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the key does not exist; what `change` returns.
    pub async fn change_key<E, F>(&self, id: KeyId, change: F) -> Result<Arc<KeyRecord>, E>
    where
        E: From<StoreError>,
        F: FnOnce(&mut KeyRecord) -> Result<(), E>,
    {
        self.change_key_with(id, None, change).await
    }

    /// As [`Store::change_key`], and stores what a version of the key answers, if it is given and the record
    /// changes.
    ///
    /// # Errors
    /// As [`Store::change_key`].
    pub async fn change_key_with<E, F>(
        &self,
        id: KeyId,
        answer: Option<(KeyVersionId, KeyAnswer)>,
        change: F,
    ) -> Result<Arc<KeyRecord>, E>
    where
        E: From<StoreError>,
        F: FnOnce(&mut KeyRecord) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let before = write.lock_key(id).await?;
        let mut after = before.clone();
        change(&mut after)?;
        after.id = id;
        sort_versions(&mut after);
        if after == before {
            drop(write);
            // Another process has made this change. It is effective here with the answer.
            if self.key(id).is_none_or(|known| *known != before) {
                self.refresh().await?;
            }
            return Ok(Arc::new(before));
        }
        write.save_key(&before, &after).await?;
        if let Some((version, answer)) = &answer {
            write.put_answer(id, *version, answer).await?;
        }
        Ok(write.commit_key_with(after, answer).await?)
    }

    /// Reads the key from disk. The catalogue may be older if a commit reported an error but took
    /// effect.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the key does not exist.
    pub async fn key_on_disk(&self, id: KeyId) -> Result<Arc<KeyRecord>, StoreError> {
        self.change_key(id, |_record| Ok(())).await
    }

    /// Deletes a key with its versions and aliases. A tombstone remains, see [`Store::removed_at`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the key does not exist.
    pub async fn remove_key(&self, id: KeyId) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if !write.delete_key(&id.to_string()).await? {
            return Err(StoreError::NotFound);
        }
        write.put_tombstone(&id.to_string(), clock::now().unix()).await?;
        write.commit(move |catalogue| catalogue.remove_key(id)).await
    }

    /// Stores the hours of last use of key versions that are not stored yet. They are not signed.
    ///
    /// # Errors
    /// When the database cannot be written; the next call stores them.
    pub async fn flush_version_uses(&self) -> Result<(), StoreError> {
        let keys = self.keys();
        let versions = keys.iter().flat_map(|key| &key.versions);
        let uses: Vec<_> =
            versions.filter_map(|one| Some((one, one.last_use.unstored()?))).collect();
        let rows: Vec<_> = uses.iter().map(|(version, hour)| (version.id, *hour)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut write = self.write_record().await?;
        write.save_last_uses(&VERSIONS, &rows).await?;
        write.finish().await?;
        for (version, hour) in uses {
            version.last_use.note_stored(hour);
        }
        Ok(())
    }

    /// The beginning of the hour in which a gateway last stored a use of each version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn version_uses(&self) -> Result<HashMap<String, Time>, StoreError> {
        last_use::read(&mut self.inner.connection().await?, &VERSIONS).await
    }

    /// When a key was deleted. The tombstone distinguishes a destroyed key from a lost one. A tombstone
    /// with a wrong MAC is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn removed_at(&self, id: KeyId) -> Result<Option<Time>, StoreError> {
        self.inner.health.outage.require_readable()?;
        let select = sqlx::query(TOMBSTONES.select("WHERE key_id = $1")).bind(id.to_string());
        let Some(row) = self.inner.connection().await?.row(select).await? else { return Ok(None) };
        let is_signed = match self.inner.row_key.get() {
            Some(key) => StoredRow::read(&TOMBSTONES, &row, key)?.is_valid,
            None => true,
        };
        if is_signed { TOMBSTONES.fields(&row).time("removed").map(Some) } else { Ok(None) }
    }
}

impl Write {
    /// Deletes a key with its versions and aliases. Returns whether it existed.
    pub(super) async fn delete_key(&mut self, id: &str) -> Result<bool, StoreError> {
        for table in [&ALIASES, &KEY_ANSWERS, &VERSIONS] {
            self.delete_rows(table, "key_id = $1", vec![id.into()]).await?;
        }
        Ok(self.delete_rows(&KEYS, "id = $1", vec![id.into()]).await? > 0)
    }

    /// Stores the time at which a key was deleted.
    pub(super) async fn put_tombstone(&mut self, key: &str, unix: i64) -> Result<(), StoreError> {
        self.put_row(&TOMBSTONES, vec![key.into(), unix.into()]).await
    }

    /// Reads one key and locks its row until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the key does not exist.
    pub(super) async fn lock_key(&mut self, id: KeyId) -> Result<KeyRecord, StoreError> {
        let name = Value::from(id.to_string());
        let row = self.lock_row(&KEYS, std::slice::from_ref(&name)).await?;
        let (row, _stored) = row.ok_or(StoreError::NotFound)?;
        let versions = "WHERE key_id = $1 ORDER BY number";
        let versions = self.valid_rows(&VERSIONS, versions, vec![name]).await?;
        let versions = versions.iter().map(|(row, _stored)| Ok(read_version(row)?.1));
        read_key(&row, versions.collect::<Result<_, StoreError>>()?)
    }

    pub(super) async fn insert_key(&mut self, record: &KeyRecord) -> Result<(), StoreError> {
        self.insert_row(&KEYS, key_values(record)).await?;
        self.save_versions(record.id, &[], &record.versions).await
    }

    pub(super) async fn save_key(
        &mut self,
        before: &KeyRecord,
        after: &KeyRecord,
    ) -> Result<(), StoreError> {
        let values = KEYS.column_names().zip(key_values(after)).collect();
        self.change_row(&KEYS, &[after.id.to_string().into()], values).await?;
        self.save_versions(after.id, &before.versions, &after.versions).await
    }

    /// Writes the difference between two version lists of one key.
    async fn save_versions(
        &mut self,
        key: KeyId,
        before: &[KeyVersion],
        after: &[KeyVersion],
    ) -> Result<(), StoreError> {
        for gone in before.iter().filter(|version| find(after, version.id).is_none()) {
            let id = Value::from(gone.id.to_string());
            self.delete_rows(&KEY_ANSWERS, "version_id = $1", vec![id.clone()]).await?;
            self.delete_rows(&VERSIONS, "id = $1", vec![id]).await?;
        }
        for version in after {
            match find(before, version.id) {
                Some(same) if same == version => {}
                Some(_) => {
                    let id = version.id.to_string().into();
                    self.change_row(&VERSIONS, &[id], version_changes(key, version)).await?;
                }
                None => self.insert_row(&VERSIONS, version_values(key, version)).await?,
            }
        }
        Ok(())
    }

    /// Commits a key, and puts it into memory.
    pub(super) async fn commit_key(self, record: KeyRecord) -> Result<Arc<KeyRecord>, StoreError> {
        self.commit_key_with(record, None).await
    }

    /// As [`Write::commit_key`], with what a version of it answers.
    async fn commit_key_with(
        self,
        mut record: KeyRecord,
        answer: Option<(KeyVersionId, KeyAnswer)>,
    ) -> Result<Arc<KeyRecord>, StoreError> {
        self.inner().catalogue.read().share_last_uses(&mut record);
        let record = Arc::new(record);
        let remembered = Arc::clone(&record);
        let remember = move |catalogue: &mut Catalogue| {
            catalogue.put_key(&remembered);
            if let Some((version, answer)) = answer {
                catalogue.put_answer(version, answer);
            }
        };
        self.commit(remember).await?;
        Ok(record)
    }
}

/// The rows of keys and versions as they were read.
pub(super) struct KeyRows {
    keys: TableRows,
    versions: TableRows,
    /// The key of each version, as far as its columns tell, by the id of the version.
    owners: Vec<(String, String)>,
}

impl KeyRows {
    /// Reads rows.
    pub(super) async fn read(
        reading: &mut ScopeReading<'_>,
        selected: &Selected<'_>,
    ) -> Result<Self, StoreError> {
        let versions = reading.selected_rows(&VERSIONS, selected, "ORDER BY number").await?;
        let keys = reading.selected_rows(&KEYS, selected, "").await?;
        let mut owners: Vec<_> = versions.texts("id", "key_id").collect();
        if versions.has_unreadable() {
            owners.extend(owners_by_bytes(reading.connection()).await?);
        }
        Ok(Self { keys, versions, owners })
    }

    /// The number of rows.
    pub(super) fn count(&self) -> usize {
        self.keys.count() + self.versions.count()
    }

    /// Every key with its versions. A key with a damaged version is skipped completely: it would
    /// encrypt with another version, or be destroyed only in part.
    pub(super) fn load(self, check: &ScopeCheck) -> Result<ReadRows<KeyRecord>, StoreError> {
        let mut versions: HashMap<KeyId, Vec<KeyVersion>> = HashMap::new();
        let read = self.versions.read(check, read_version)?;
        let mut damaged = read.damaged;
        let has_damaged_versions = !damaged.is_empty();
        let usable: HashSet<String> =
            read.whole.iter().map(|(_key, version)| version.id.to_string()).collect();
        let in_part: HashSet<String> = self
            .owners
            .into_iter()
            .filter(|(version, _key)| !usable.contains(version))
            .map(|(_version, key)| key)
            .collect();
        for (key, version) in read.whole {
            versions.entry(key).or_default().push(version);
        }
        let read = self.keys.read(check, |row| read_key(row, Vec::new()))?;
        let mut whole = Vec::with_capacity(read.whole.len());
        for mut record in read.whole {
            record.versions = versions.remove(&record.id).unwrap_or_default();
            // A damaged version may not show which key it belongs to.
            let lacks_primary = has_damaged_versions
                && record.primary.is_some_and(|primary| record.version(primary).is_none());
            if lacks_primary || in_part.contains(&record.id.to_string()) {
                damaged.push(DamagedRow {
                    table: KEYS.name,
                    row: record.id.to_string(),
                    why: "one of its versions is damaged".to_owned(),
                });
            } else {
                whole.push(record);
            }
        }
        let out: HashSet<&str> = read.damaged.iter().map(|one| one.row.as_str()).collect();
        let left = versions.iter().filter(|(key, _)| !out.contains(key.to_string().as_str()));
        damaged.extend(left.flat_map(|(_key, versions)| versions).map(|version| DamagedRow {
            table: VERSIONS.name,
            row: version.id.to_string(),
            why: "its key does not exist".to_owned(),
        }));
        damaged.extend(read.damaged);
        Ok(ReadRows { whole, damaged })
    }
}

/// The key of each version by the id of the version, read as bytes.
async fn owners_by_bytes(connection: &mut Connection) -> Result<Vec<(String, String)>, StoreError> {
    let owners = sqlx::query("SELECT hex(id), hex(key_id) FROM key_versions");
    let mut found = Vec::new();
    for row in connection.rows(owners).await? {
        let (version, key): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        found.push((from_hex(&version), from_hex(&key)));
    }
    Ok(found)
}

fn find(versions: &[KeyVersion], id: KeyVersionId) -> Option<&KeyVersion> {
    versions.iter().find(|version| version.id == id)
}

pub(super) fn sort_versions(record: &mut KeyRecord) {
    record.versions.sort_by_key(|version| version.number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyState;
    use crate::store::tests::{Bench, open, sample_key, version};

    #[tokio::test]
    async fn a_change_reaches_memory_and_disk_with_its_versions() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let fresh = version((4, true));
        let changed = bench
            .store
            .change_key(record.id, |key| {
                key.state = KeyState::Enabled;
                key.delete_at = None;
                key.description.clear();
                key.primary = Some(fresh.id);
                key.versions[1].is_live = false;
                key.versions[0] = fresh.clone();
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        assert_eq!(changed.versions.iter().map(|one| one.number).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(bench.store.key(record.id), Some(Arc::clone(&changed)));
        assert_eq!(bench.store.key_of_version(fresh.id), Some(changed));
        assert_eq!(bench.store.key_of_version(record.versions[0].id), None);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_refused_change_alters_neither_memory_nor_disk() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let refused = bench.store.change_key(record.id, |key| {
            key.description.clear();
            Err(StoreError::Url("represents any refusal"))
        });
        assert!(matches!(refused.await, Err(StoreError::Url(_))));
        assert_eq!(bench.store.key(record.id), Some(record));
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_change_that_the_database_refuses_halfway_is_rolled_back() {
        let bench = Bench::new().await;
        let other = bench.store.insert_key(sample_key()).await.unwrap();
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let failed = bench.store.change_key(record.id, |key| {
            key.description.clear();
            key.versions.remove(0);
            key.versions.push(KeyVersion { number: 9, ..other.versions[0].clone() });
            Ok::<_, StoreError>(())
        });
        assert!(matches!(failed.await, Err(StoreError::Exists)));
        assert_eq!(bench.store.key(record.id), Some(record));
        assert_eq!(bench.store.key_of_version(other.versions[0].id), Some(other));
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_empty_change_writes_nothing() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let revision = async || -> i64 {
            let query = "SELECT CAST(SUM(revision) AS BIGINT) FROM row_digests";
            let query = sqlx::query_scalar(query);
            query.fetch_one(&*bench.store.inner.database.pool).await.unwrap()
        };
        let before = revision().await;
        let same = bench.store.change_key(record.id, |_| Ok::<_, StoreError>(())).await.unwrap();
        assert_eq!((&same, revision().await), (&record, before));
        let change = |key: &mut KeyRecord| {
            key.description.clear();
            Ok::<_, StoreError>(())
        };
        bench.store.change_key(record.id, change).await.unwrap();
        assert_eq!(revision().await, before + 1);
    }

    #[tokio::test]
    async fn a_change_that_another_process_has_made_is_effective_here_with_the_answer() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let there = open(&bench.url).await.unwrap();
        for store in [&there, &bench.store] {
            let disable = |key: &mut KeyRecord| {
                key.state = KeyState::Disabled;
                Ok::<_, StoreError>(())
            };
            store.change_key(record.id, disable).await.unwrap();
            assert_eq!(store.key(record.id).unwrap().state, KeyState::Disabled);
        }
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_existing_key_is_not_inserted_again() {
        let bench = Bench::new().await;
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        let again = KeyRecord { description: String::new(), ..(*record).clone() };
        assert!(matches!(bench.store.insert_key(again).await, Err(StoreError::Exists)));
        let same_version = KeyRecord { id: KeyId::random(), ..(*record).clone() };
        assert!(matches!(bench.store.insert_key(same_version).await, Err(StoreError::Exists)));
        assert_eq!(bench.store.keys(), [record]);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn deleting_a_key_deletes_versions_and_aliases_and_leaves_a_tombstone() {
        let bench = Bench::new().await;
        let kept = bench.store.insert_key(sample_key()).await.unwrap();
        let record = bench.store.insert_key(sample_key()).await.unwrap();
        for (name, key) in [("alias/a", record.id), ("alias/b", kept.id), ("alias/c", record.id)] {
            bench.store.create_alias(&name.parse().unwrap(), key).await.unwrap();
        }
        bench.store.remove_key(record.id).await.unwrap();
        assert_eq!(bench.store.keys(), [Arc::clone(&kept)]);
        assert_eq!(bench.store.key_of_version(record.versions[0].id), None);
        assert_eq!(bench.store.alias_target(&"alias/a".parse().unwrap()), None);
        assert_eq!(bench.store.aliases(), bench.store.aliases_of(kept.id));
        let versions: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM key_versions")
            .fetch_one(&*bench.store.inner.database.pool)
            .await
            .unwrap();
        assert_eq!(versions, 3);
        assert!(bench.store.removed_at(record.id).await.unwrap().is_some());
        assert_eq!(bench.store.removed_at(kept.id).await.unwrap(), None);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_unknown_key_is_neither_changed_nor_deleted() {
        let bench = Bench::new().await;
        let id = KeyId::random();
        let change = bench.store.change_key(id, |_| Ok::<_, StoreError>(()));
        assert!(matches!(change.await, Err(StoreError::NotFound)));
        assert!(matches!(bench.store.remove_key(id).await, Err(StoreError::NotFound)));
        assert_eq!(bench.store.removed_at(id).await.unwrap(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_changes_through_two_handles_lose_nothing() {
        let bench = Bench::new().await;
        let id = bench.store.insert_key(sample_key()).await.unwrap().id;
        let other = open(&bench.url).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..16 {
            let store = if at % 4 == 0 { other.clone() } else { bench.store.clone() };
            tasks.spawn(async move {
                let add = |key: &mut KeyRecord| {
                    key.description.push('+');
                    Ok::<_, StoreError>(())
                };
                store.change_key(id, add).await.unwrap();
            });
        }
        tasks.join_all().await;
        let again = open(&bench.url).await.unwrap();
        assert_eq!(again.key(id).unwrap().description.matches('+').count(), 16);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn sixteen_concurrent_changes_all_reach_memory() {
        let bench = Bench::new().await;
        let id = bench.store.insert_key(sample_key()).await.unwrap().id;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = bench.store.clone();
            tasks.spawn(async move {
                let later = |key: &mut KeyRecord| {
                    key.created = key.created.plus_seconds(1);
                    Ok::<_, StoreError>(())
                };
                store.change_key(id, later).await.unwrap();
            });
        }
        tasks.join_all().await;
        assert_eq!(bench.store.key(id).unwrap().created, Time::from_unix(1_700_000_016));
        assert_eq!(bench.store.keys().len(), 1);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_use_is_stored_once_an_hour_and_survives_what_another_process_changes() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let [first, second] = [&key.versions[0], &key.versions[1]];
        let stored = async |version: &KeyVersion| {
            bench.store.version_uses().await.unwrap().get(&version.id.to_string()).copied()
        };
        first.last_use.record(Time::from_unix(1_800_000_100));
        // Requests still use the records that they found before the catalogue was read again.
        let there = open(&bench.url).await.unwrap();
        let clear = |key: &mut KeyRecord| {
            key.description.clear();
            Ok::<_, StoreError>(())
        };
        there.change_key(key.id, clear).await.unwrap();
        bench.store.refresh().await.unwrap();
        second.last_use.record(Time::from_unix(1_800_003_700));
        bench
            .store
            .change_key(key.id, |key| {
                key.tags.clear();
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        bench.store.flush_version_uses().await.unwrap();
        assert_eq!(stored(first).await, Some(Time::from_unix(1_800_000_000)));
        assert_eq!(stored(second).await, Some(Time::from_unix(1_800_003_600)));
        assert_eq!(stored(&key.versions[2]).await, None);
        // The same hour is not written again: not even over what another program wrote.
        bench.change("UPDATE key_versions SET last_used = NULL").await;
        first.last_use.record(Time::from_unix(1_800_000_200));
        bench.store.flush_version_uses().await.unwrap();
        assert_eq!(stored(first).await, None);
        first.last_use.record(Time::from_unix(1_800_003_600));
        bench.store.flush_version_uses().await.unwrap();
        assert_eq!(stored(first).await, Some(Time::from_unix(1_800_003_600)));
        assert_eq!(open(&bench.url).await.unwrap().damaged_rows(), []);
    }

    #[tokio::test]
    async fn a_canceled_change_keeps_memory_and_disk_equal() {
        let bench = Bench::new().await;
        let id = bench.store.insert_key(sample_key()).await.unwrap().id;
        for polls in 0..40 {
            let change = bench.store.change_key(id, |key| {
                key.description.push('+');
                Ok::<_, StoreError>(())
            });
            let mut change = Box::pin(change);
            for _ in 0..polls {
                if futures_poll(change.as_mut()).await {
                    break;
                }
            }
            drop(change);
            // This lock is free only after the canceled change has ended.
            drop(bench.store.write().await.unwrap());
            bench.assert_disk_is_memory().await;
        }
    }

    /// Polls the future once, lets other tasks run, and returns whether it is done.
    async fn futures_poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        let is_ready = polled.await;
        tokio::task::yield_now().await;
        is_ready
    }
}
