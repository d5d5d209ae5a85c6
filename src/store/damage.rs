//! Rows that cannot be read. Each is left out by itself (no row, no right) and told of; the others are
//! read all the same, so that one damaged row neither keeps anything in force nor shuts anybody out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::connection::Connection;
use super::row::Table;
use super::{Store, StoreError};
use crate::model::KeyId;

/// A row that is left out because it cannot be read, or because what it belongs to cannot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRow {
    /// The table.
    pub table: &'static str,
    /// The row, by what names it.
    pub row: String,
    /// What is wrong with it. No value of the row stands in it.
    pub why: String,
}

/// What is read together, and again when any of it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Keys, aliases and documents.
    Catalogue,
    /// Principals and AccessKeys.
    Access,
    /// What operators have changed.
    OperatorEvents,
}

/// What was read of a table.
#[derive(Debug)]
pub(super) struct ReadRows<T> {
    pub(super) whole: Vec<T>,
    pub(super) damaged: Vec<DamagedRow>,
}

/// The damaged rows that were found at the last reading of each part.
#[derive(Debug, Default)]
pub(super) struct DamagedRows {
    rows: Mutex<BTreeMap<Part, BTreeSet<DamagedRow>>>,
    /// Whether what other processes have changed could not be read the last time.
    is_stale: AtomicBool,
}

impl DamagedRows {
    fn lock_rows(&self) -> MutexGuard<'_, BTreeMap<Part, BTreeSet<DamagedRow>>> {
        // Whole sets are put in, so that a poisoned lock still guards good data.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With what the first reading of the catalogue found.
    pub(super) fn of(catalogue: Vec<DamagedRow>) -> Self {
        let damages = Self::default();
        damages.note(Part::Catalogue, catalogue);
        damages
    }

    /// Takes the damaged rows of a part in place of those of its last reading. The log tells of each
    /// when it is first seen, and when it is whole again or gone.
    pub(super) fn note(&self, part: Part, rows: Vec<DamagedRow>) {
        let now: BTreeSet<DamagedRow> = rows.into_iter().collect();
        let mut rows = self.lock_rows();
        let before = rows.remove(&part).unwrap_or_default();
        for DamagedRow { table, row, why } in now.difference(&before) {
            tracing::error!(
                event = "store.row_damaged",
                table,
                row,
                why,
                "a row of the database is damaged and left out: hsmgate doctor tells what to do"
            );
        }
        for DamagedRow { table, row, .. } in before.difference(&now) {
            tracing::info!(
                event = "store.row_restored",
                table,
                row,
                "a damaged row of the database is whole again, or gone"
            );
        }
        rows.insert(part, now);
    }
}

impl Store {
    /// Every row that is known to be damaged, by table and row.
    pub fn damaged_rows(&self) -> Vec<DamagedRow> {
        let rows = self.inner.damages.lock_rows();
        rows.values().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the row of a key is there and damaged: the key is not known, and must not be taken
    /// for one that only the token has.
    pub fn is_damaged_key(&self, key: KeyId) -> bool {
        let name = key.to_string();
        let rows = self.inner.damages.lock_rows();
        let mut rows = rows.get(&Part::Catalogue).into_iter().flatten();
        rows.any(|one| one.table == "keys" && one.row == name)
    }

    /// Notes whether what other processes have changed could be taken over, all of it.
    pub fn note_refresh(&self, is_stale: bool) {
        self.inner.damages.is_stale.store(is_stale, Ordering::Relaxed);
    }

    /// Whether what other processes have changed could not be taken over the last time, so that what
    /// they took away may still be in force.
    pub fn is_stale(&self) -> bool {
        self.inner.damages.is_stale.load(Ordering::Relaxed)
    }

    /// Takes the damaged rows of a part in place of those of its last reading.
    pub fn note_damaged(&self, part: Part, rows: Vec<DamagedRow>) {
        self.inner.damages.note(part, rows);
    }
}

impl DamagedRow {
    /// The row that an error is about; any other error is given back.
    pub(super) fn of(error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::Corrupt { table, row, column, source } => {
                Ok(Self { table, row, why: format!("column {column}: {source}") })
            }
            other => Err(other),
        }
    }
}

/// Whether an error is about a value of one row, and not about the database.
pub(super) fn is_decode_error(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
}

impl Table {
    /// Reads every row by itself, with what comes after the table's name.
    ///
    /// A text that is not UTF-8 keeps its whole row from being read. Such rows are named by the bytes
    /// of their first column, which only SQLite is asked for: PostgreSQL takes no such text.
    pub(super) async fn read_all<T>(
        &self,
        connection: &mut Connection,
        rest: &'static str,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<ReadRows<T>, StoreError> {
        let mut read_rows = ReadRows { whole: Vec::new(), damaged: Vec::new() };
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut has_unreadable = false;
        let mut rows = sqlx::query(self.select(rest)).fetch(&mut *connection);
        while let Some(row) = rows.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) if is_decode_error(&error) => {
                    has_unreadable = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            *names.entry(row_name(&row)).or_default() += 1;
            match read(&row) {
                Ok(whole) => read_rows.whole.push(whole),
                Err(error) => read_rows.damaged.push(DamagedRow::of(error)?),
            }
        }
        drop(rows);
        if has_unreadable {
            for name in self.names(connection).await? {
                match names.get_mut(&name).filter(|count| **count > 0) {
                    Some(count) => *count -= 1,
                    None => read_rows.damaged.push(DamagedRow {
                        table: self.name,
                        row: name,
                        why: "it has a text that is not UTF-8".to_owned(),
                    }),
                }
            }
        }
        Ok(read_rows)
    }

    /// What names each row, whatever stands there.
    async fn names(&self, connection: &mut Connection) -> Result<Vec<String>, StoreError> {
        let first = self.columns.first().copied().unwrap_or("rowid");
        let sql = AssertSqlSafe(format!("SELECT hex({first}) FROM {}", self.name));
        let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await?;
        Ok(names.iter().map(|name| from_hex(name)).collect())
    }
}

/// What the first column says, a text or a number.
pub(super) fn row_name(row: &AnyRow) -> String {
    let number = || row.try_get::<i64, _>(0).map(|number| number.to_string());
    row.try_get::<String, _>(0).or_else(|_other| number()).unwrap_or_default()
}

/// The text of bytes in hexadecimal digits, as far as they are one.
pub(super) fn from_hex(digits: &str) -> String {
    let digits: Vec<u8> =
        digits.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let bytes = digits.chunks_exact(2).filter_map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Alias, KeyRecord};
    use crate::store::tests::{Bench, sample_key};

    /// What a store that opens the file now leaves out, by table and row.
    async fn left_out(bench: &Bench) -> (Store, Vec<(&'static str, String)>) {
        let again = Store::open(&bench.url).await.unwrap();
        let rows = again.damaged_rows().into_iter().map(|one| (one.table, one.row)).collect();
        (again, rows)
    }

    #[tokio::test]
    async fn a_damaged_key_is_left_out_with_its_versions_and_keeps_its_alias() {
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
            bench.tamper(sql).await;
            let (again, rows) = left_out(&bench).await;
            assert_eq!(rows, [("keys", bad.id.to_string())], "{sql}");
            assert!(again.is_damaged_key(bad.id) && !again.is_damaged_key(good.id));
            assert_eq!(again.keys(), [Arc::clone(&good)], "{sql}");
            assert_eq!(again.key_of_version(bad.versions[0].id), None);
            assert_eq!(again.alias_target(&name), Some(bad.id), "the name is not free");
            let taken = again.create_alias(&name, good.id).await;
            assert!(matches!(taken, Err(StoreError::Exists)), "{taken:?}");
        }
    }

    /// It would encrypt with another version, or be destroyed in part.
    #[tokio::test]
    async fn a_key_with_a_damaged_version_is_left_out_whole() {
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
            bench.tamper(sql).await;
            let (again, rows) = left_out(&bench).await;
            assert!(rows.contains(&("keys", record.id.to_string())), "{sql}: {rows:?}");
            assert_eq!(rows.len(), 2, "{sql}: {rows:?}");
            assert_eq!(again.keys(), [], "{sql}");
        }
    }

    #[tokio::test]
    async fn damaged_rows_do_not_keep_the_others_from_being_followed() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, Store::open(&bench.url).await.unwrap());
        let bad = there.insert_key(sample_key()).await.unwrap();
        let good = there.insert_key(sample_key()).await.unwrap();
        assert!(here.refresh().await.unwrap());
        bench
            .tamper(
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
    async fn a_counter_that_is_no_number_means_that_everything_may_have_changed() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, Store::open(&bench.url).await.unwrap());
        let key = there.insert_key(sample_key()).await.unwrap();
        assert!(here.refresh().await.unwrap());
        bench
            .tamper(
                "UPDATE facts SET value = CAST(x'ff' AS TEXT) WHERE name = 'catalogue-revision'",
            )
            .await;
        assert!(here.refresh().await.unwrap());
        assert_eq!(here.damaged_rows()[0].table, "facts");
        assert!(here.refresh().await.unwrap(), "it is read every time");
        there.remove_key(key.id).await.unwrap();
        assert!(here.refresh().await.unwrap());
        assert_eq!((here.keys(), here.damaged_rows()), (Vec::new(), Vec::new()));
        assert!(!here.refresh().await.unwrap(), "the next change mends it");
    }
}
