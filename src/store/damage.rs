//! Tracks rows that cannot be read. Each one is skipped (it grants nothing) and reported. The
//! others are still read, so one damaged row neither keeps an old right in force nor locks other
//! users out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Store, StoreError};
use crate::model::KeyId;

/// A row that is skipped because it, or the row it belongs to, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRow {
    /// The table.
    pub table: &'static str,
    /// The value of the row's first column.
    pub row: String,
    /// The fault. Contains no value of the row.
    pub why: String,
}

/// A group of tables that is read, and refreshed, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Keys, aliases and documents.
    Catalogue,
    /// Principals and AccessKeys.
    Access,
    /// Changes made by operators.
    OperatorEvents,
    /// Requests for approvals.
    Approvals,
    /// Metadata.
    Metadata,
}

/// The readable and the damaged rows of a table.
#[derive(Debug)]
pub(super) struct ReadRows<T> {
    pub(super) whole: Vec<T>,
    pub(super) damaged: Vec<DamagedRow>,
}

/// The damaged rows found by the last read of each part.
#[derive(Debug, Default)]
pub(super) struct DamagedRows {
    rows: Mutex<BTreeMap<Part, BTreeSet<DamagedRow>>>,
    /// Whether the last refresh of other processes' changes failed.
    is_stale: AtomicBool,
}

impl DamagedRows {
    /// Replaces the damaged rows of a part. Logs each row when it is first seen, and when it is
    /// readable again or deleted.
    pub(super) fn note(&self, part: Part, rows: Vec<DamagedRow>) {
        let now: BTreeSet<DamagedRow> = rows.into_iter().collect();
        let mut rows = self.rows.lock();
        let before = rows.remove(&part).unwrap_or_default();
        for DamagedRow { table, row, why } in now.difference(&before) {
            tracing::error!(
                event = "store.row_damaged",
                table,
                row,
                why,
                "a damaged database row is ignored; run hsmgate doctor for repair instructions"
            );
        }
        for DamagedRow { table, row, .. } in before.difference(&now) {
            tracing::info!(
                event = "store.row_restored",
                table,
                row,
                "a damaged database row was repaired or deleted"
            );
        }
        rows.insert(part, now);
    }
}

impl Store {
    /// Every known damaged row, by table and row.
    pub fn damaged_rows(&self) -> Vec<DamagedRow> {
        let rows = self.inner.damages.rows.lock();
        rows.values().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the row of a key exists but is damaged. Such a key must not be treated as one that
    /// only the token has.
    pub fn is_damaged_key(&self, key: KeyId) -> bool {
        let name = key.to_string();
        let rows = self.inner.damages.rows.lock();
        let mut rows = rows.get(&Part::Catalogue).into_iter().flatten();
        rows.any(|one| one.table == "keys" && one.row == name)
    }

    /// Records whether the last refresh of other processes' changes was incomplete.
    pub fn note_refresh(&self, is_stale: bool) {
        self.inner.damages.is_stale.store(is_stale, Ordering::Relaxed);
    }

    /// Whether the last refresh of other processes' changes was incomplete, so that a right that
    /// they removed may still be in force.
    pub fn is_stale(&self) -> bool {
        self.inner.damages.is_stale.load(Ordering::Relaxed)
    }

    /// Replaces the damaged rows of a part.
    pub fn note_damaged(&self, part: Part, rows: Vec<DamagedRow>) {
        self.inner.damages.note(part, rows);
    }
}

impl DamagedRow {
    /// The row that an error is about. Any other error is returned.
    pub(super) fn of(error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::Corrupt { table, row, column, source } => {
                Ok(Self { table, row, why: format!("column {column}: {source}") })
            }
            other => Err(other),
        }
    }
}

/// The text encoded by hexadecimal digits. Invalid bytes are replaced.
pub(super) fn from_hex(digits: &str) -> String {
    String::from_utf8_lossy(&hex::decode(digits).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Alias, KeyRecord};
    use crate::store::tests::{Bench, open, sample_key};

    /// The rows that a newly opened store skips, by table and row.
    async fn left_out(bench: &Bench) -> (Store, Vec<(&'static str, String)>) {
        let again = open(&bench.url).await.unwrap();
        let rows = again.damaged_rows().into_iter().map(|one| (one.table, one.row)).collect();
        (again, rows)
    }

    #[tokio::test]
    async fn a_damaged_key_is_skipped_with_its_versions_and_keeps_its_alias() {
        for sql in [
            "UPDATE keys SET spec = 'x' WHERE description = 'bad'",
            "UPDATE keys SET tags = CAST(x'7bff7d' AS TEXT) WHERE description = 'bad'",
            "UPDATE keys SET created = 'noon' WHERE description = 'bad'",
        ] {
            let bench = Bench::new().await;
            let bad = KeyRecord { description: "bad".to_owned(), ..sample_key() };
            let bad = bench.store.insert_key(bad).await.unwrap();
            let good = bench.store.insert_key(sample_key()).await.unwrap();
            let name: Alias = "alias/a".parse().unwrap();
            bench.store.create_alias(&name, bad.id).await.unwrap();
            if !bench.change(sql).await {
                continue;
            }
            let (again, rows) = left_out(&bench).await;
            assert_eq!(rows, [("keys", bad.id.to_string())], "{sql}");
            assert!(again.is_damaged_key(bad.id) && !again.is_damaged_key(good.id));
            assert_eq!(again.keys(), [Arc::clone(&good)], "{sql}");
            assert_eq!(again.key_of_version(bad.versions[0].id), None);
            assert_eq!(again.alias_target(&name), Some(bad.id), "the alias is still taken");
            let taken = again.create_alias(&name, good.id).await;
            assert!(matches!(taken, Err(StoreError::Exists)), "{taken:?}");
        }
    }

    /// A partly loaded key would encrypt with another version, or be destroyed only in part.
    #[tokio::test]
    async fn a_key_with_a_damaged_version_is_skipped_completely() {
        for sql in [
            "UPDATE key_versions SET is_live = 2 WHERE number = 2",
            "UPDATE key_versions SET id = 'A' WHERE number = 1",
            "UPDATE key_versions SET invocations = -1 WHERE number = 1",
            "UPDATE key_versions SET invocations = 'x', is_live = 2 WHERE number = 1",
            "UPDATE key_versions SET id = CAST(x'ff' AS TEXT) WHERE number = 1",
            "PRAGMA foreign_keys = OFF; UPDATE key_versions SET key_id = 'x' WHERE number = 2",
        ] {
            let bench = Bench::new().await;
            let record = bench.store.insert_key(sample_key()).await.unwrap();
            if !bench.change(sql).await {
                continue;
            }
            let (again, rows) = left_out(&bench).await;
            assert!(rows.contains(&("keys", record.id.to_string())), "{sql}: {rows:?}");
            assert_eq!(rows.len(), 2, "{sql}: {rows:?}");
            assert_eq!(again.keys(), [], "{sql}");
        }
    }

    #[tokio::test]
    async fn other_rows_are_refreshed_despite_damaged_rows() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let bad = there.insert_key(sample_key()).await.unwrap();
        let good = there.insert_key(sample_key()).await.unwrap();
        assert!(here.refresh().await.unwrap());
        bench
            .change(
                "UPDATE keys SET state = 'x' WHERE created = (SELECT MIN(created) FROM keys) \
            AND id = (SELECT MIN(id) FROM keys)",
            )
            .await;
        let (kept, lost) =
            if bad.id.to_string() < good.id.to_string() { (good, bad) } else { (bad, good) };
        let change = |key: &mut KeyRecord| {
            key.description = "changed".to_owned();
            Ok::<_, StoreError>(())
        };
        there.change_key(kept.id, change).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.key(kept.id).unwrap().description, "changed");
        assert_eq!(here.key(lost.id), None);
        assert_eq!(here.damaged_rows().len(), 1);
        there.remove_key(lost.id).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.damaged_rows(), []);
    }

    #[tokio::test]
    async fn a_counter_that_is_not_a_number_forces_a_full_refresh() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let key = there.insert_key(sample_key()).await.unwrap();
        assert!(here.refresh().await.unwrap());
        let value = if bench.is_on_file() { "CAST(x'ff' AS TEXT)" } else { "'many'" };
        let sql = format!("UPDATE facts SET value = {value} WHERE name = 'catalogue-revision'");
        bench.tamper(&sql).await;
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.damaged_rows()[0].table, "facts");
        assert!(here.refresh().await.unwrap(), "everything is read every time");
        there.remove_key(key.id).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!((here.keys(), here.damaged_rows()), (Vec::new(), Vec::new()));
        assert!(!here.refresh().await.unwrap(), "the next change repairs the counter");
    }
}
