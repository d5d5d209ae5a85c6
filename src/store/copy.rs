//! Copies a store to another database, which may be of the other kind.
//!
//! Rows are copied as they are, with their MACs: the MACs are over values, which both databases keep. An
//! entry in the metadata of the copy marks it as unfinished until every row was compared; nothing is
//! served from it before. The original is not changed. Both are locked exclusively, so no gateway runs.
//!
//! A run compares each table first, and copies the rows that differ. So it continues after an interruption
//! at any instant, also if the original was changed in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Column as _, Row as _};

use super::connect::{self, Connected};
use super::connection::Connection;
use super::copy_mark::{mark, tables};
use super::error::Cause;
use super::file_lock::LockMode;
use super::health::Health;
use super::locked::LockedStore;
use super::tables::{METADATA, UNFINISHED_COPY};
use super::value::{Value, bind};
use super::{Store, StoreError, schema, unsigned_metadata};

/// The rows that are read, and written in one transaction, at a time. In tests so few that tables have
/// several batches.
const BATCH: usize = if cfg!(test) { 3 } else { 200 };

/// A table that is copied.
#[derive(Debug)]
struct CopiedTable {
    name: &'static str,
    /// The columns of its primary key.
    key: &'static [&'static str],
}

const fn table(name: &'static str, key: &'static [&'static str]) -> CopiedTable {
    CopiedTable { name, key }
}

/// Every table that is copied. A row follows the rows to which it refers.
static COPIED: [CopiedTable; 17] = [
    table("keys", &["id", "account"]),
    table("key_versions", &["id", "account"]),
    table("key_answers", &["version_id", "account"]),
    table("aliases", &["name", "account"]),
    table("key_tombstones", &["key_id", "account"]),
    table("documents", &["name", "kind", "account"]),
    table("principals", &["name", "account"]),
    table("access_keys", &["id", "account"]),
    table("secrets", &["name", "account"]),
    table("secret_versions", &["row_id", "version_id"]),
    table("secret_tombstones", &["row_id", "account"]),
    table("approvals", &["id", "account"]),
    table("operator_events", &["number"]),
    table("revocations", &["id"]),
    // A request that was accepted before the copy must not be accepted again after it.
    table("used_nonces", &["nonce"]),
    table("row_digests", &["scope", "part", "account"]),
    table("facts", &["name", "account"]),
];

/// The tables that are not copied: what they say is true of running gateways and of one database only.
#[cfg(test)]
const LEFT_OUT: &[&str] =
    &["_sqlx_migrations", "catalogue_changes", "cluster_leases", "cluster_members"];

/// What was done with one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedRows {
    /// The table.
    pub table: &'static str,
    /// The rows of the original.
    pub rows: usize,
    /// The rows that were copied. The others were copied by an earlier run.
    pub copied: usize,
    /// The rows of the copy that were compared with the original, after all were copied, and are the same.
    pub verified: usize,
}

/// A store and the database to which it is copied.
pub struct StoreCopy {
    original: LockedStore,
    to: String,
    /// The value of the mark of the copy.
    mark: String,
}

/// A copy that has every row, and is still marked as unfinished.
pub struct CompleteCopy {
    original: LockedStore,
    copy: LockedStore,
    /// What was copied, by table.
    pub tables: Vec<CopiedRows>,
}

/// A row with all its columns, in the order of the database.
struct RawRow(Vec<(String, Value)>);

/// The key of a row, as its bytes.
type KeyBytes = Vec<u8>;

/// The rows of a table: the key and a digest of each.
type Digests = BTreeMap<KeyBytes, (Vec<Value>, Vec<u8>)>;

/// How a copy of a table differs from the original.
#[derive(Default)]
struct Difference {
    /// The rows of the original.
    rows: usize,
    /// The rows that are the same.
    same: usize,
    /// The rows of the original that the copy does not have so.
    missing: BTreeSet<KeyBytes>,
    /// The rows of the copy that the original does not have so.
    surplus: Vec<Vec<Value>>,
    /// A row that differs, for errors.
    example: Option<String>,
}

impl StoreCopy {
    /// Locks the store at `from`, and examines the database at `to`. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::InUseElsewhere`] while a process uses one of them; [`StoreError::NotEmpty`] and
    /// [`StoreError::OtherCopy`]; [`StoreError::Migration`] when the original has the tables of another
    /// version; [`StoreError::Locked`] when its rows were never signed.
    pub async fn prepare(from: &str, to: &str) -> Result<Self, StoreError> {
        let connected = connect::connect_to_any_existing(from, LockMode::Exclusive).await?;
        let mut connection = Connection::acquire(&connected.pool).await?;
        if mark(&mut connection).await?.is_some() {
            return Err(StoreError::UnfinishedCopy(connected.name()));
        }
        drop(connection);
        schema::require_own(&connected.pool).await?;
        let original = LockedStore::load(connected, super::StoreMetrics::default()).await?;
        let mark = original.wrapped_row_key().await?.ok_or(StoreError::Locked)?;
        let copy = Self { original, to: to.to_owned(), mark };
        if let Some(target) = copy.existing_target().await? {
            target.close().await;
        }
        Ok(copy)
    }

    /// The original, to check its rows.
    pub fn original(&self) -> &LockedStore {
        &self.original
    }

    fn original_database(&self) -> &Connected {
        self.original.unchecked().database()
    }

    /// The target, if it has tables.
    async fn existing_target(&self) -> Result<Option<Connected>, StoreError> {
        match connect::connect_to_any_existing(&self.to, LockMode::Exclusive).await {
            Ok(target) => {
                self.require_empty_or_begun(&target).await?;
                Ok(Some(target))
            }
            Err(StoreError::NoFile(_) | StoreError::NoStore(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn require_empty_or_begun(&self, target: &Connected) -> Result<(), StoreError> {
        let mut connection = Connection::acquire(&target.pool).await?;
        match mark(&mut connection).await? {
            Some(mark) if mark == self.mark => return Ok(()),
            Some(_other) => return Err(StoreError::OtherCopy(target.name())),
            None => {}
        }
        let present = tables(&mut connection).await?;
        for table in COPIED.iter().filter(|table| present.contains(table.name)) {
            if !table.read(&mut connection, None).await?.is_empty() {
                return Err(StoreError::NotEmpty(target.name()));
            }
        }
        Ok(())
    }

    /// What a run would copy. Changes nothing.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub async fn plan(&self) -> Result<Vec<CopiedRows>, StoreError> {
        let mut original = Connection::acquire(&self.original_database().pool).await?;
        let target = self.existing_target().await?;
        let mut plan = Vec::new();
        for table in &COPIED {
            let mut present = None;
            if let Some(target) = &target {
                let mut connection = Connection::acquire(&target.pool).await?;
                if tables(&mut connection).await?.contains(table.name) {
                    present = Some(connection);
                }
            }
            let difference = table.compare(&mut original, present.as_mut()).await?;
            plan.push(difference.to_copied_rows(table.name, 0));
        }
        if let Some(target) = target {
            target.close().await;
        }
        Ok(plan)
    }

    /// Copies every row that the target does not have, and compares all. `progress` is told the number of
    /// rows that are done, and that of the others.
    ///
    /// # Errors
    /// When a database fails or a row cannot be written; the next run continues.
    pub async fn run(
        self,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<CompleteCopy, StoreError> {
        if let Some(target) = self.existing_target().await? {
            target.close().await;
        }
        let target = connect::connect_to_any(&self.to, LockMode::Exclusive).await?;
        self.require_empty_or_begun(&target).await?;
        let mut original = Connection::acquire(&self.original_database().pool).await?;
        let mut connection = Connection::acquire(&target.pool).await?;
        unsigned_metadata::put(&mut connection, UNFINISHED_COPY, &self.mark).await?;
        // Lists of the changes of another store would be taken for those of the copy.
        connection.execute(sqlx::query("DELETE FROM catalogue_changes")).await?;
        drop(connection);
        let mut remaining = 0;
        for table in &COPIED {
            remaining += table.count(&mut original).await?;
        }
        let mut counts = Counts { done: 0, remaining, progress: &mut progress };
        let mut copied = Vec::new();
        for table in &COPIED {
            copied.push(table.copy(&mut original, &target, &mut counts).await?);
        }
        let mut connection = Connection::acquire(&target.pool).await?;
        let mut done = Vec::new();
        for (table, copied) in COPIED.iter().zip(copied) {
            let difference = table.compare(&mut original, Some(&mut connection)).await?;
            if let Some(row) = difference.example {
                return Err(StoreError::CopyDiffers { table: table.name, row });
            }
            done.push(difference.to_copied_rows(table.name, copied));
        }
        drop((original, connection));
        let copy = LockedStore::load(target, super::StoreMetrics::default()).await?;
        Ok(CompleteCopy { original: self.original, copy, tables: done })
    }

    /// Closes the original.
    pub async fn close(self) {
        self.original.close().await;
    }
}

impl CompleteCopy {
    /// The copy, to check its rows.
    pub fn copy(&self) -> &LockedStore {
        &self.copy
    }

    /// Lets gateways serve the copy, and records who made it. `copy` is the checked copy.
    ///
    /// # Errors
    /// When one of the databases was not locked all the time, or the copy cannot be written.
    pub async fn release(
        &self,
        copy: &Store,
        mut parameters: Vec<(&str, String)>,
    ) -> Result<(), StoreError> {
        let original = self.original.unchecked().database();
        original.require_lock().await?;
        copy.database().require_lock().await?;
        parameters.push(("From", original.name()));
        parameters.push(("To", copy.database().name()));
        let mut write = copy.write().await?;
        write.note("CopyStore", parameters).await?;
        let delete = sqlx::query("DELETE FROM facts WHERE name = $1").bind(UNFINISHED_COPY);
        write.execute(delete).await?;
        write.finish().await
    }

    /// Closes both databases.
    pub async fn close(self) {
        self.copy.close().await;
        self.original.close().await;
    }
}

/// The rows that are done, and the others.
struct Counts<'p> {
    done: usize,
    remaining: usize,
    progress: &'p mut dyn FnMut(usize, usize),
}

impl Counts<'_> {
    fn add(&mut self, rows: usize) {
        self.done += rows;
        self.remaining = self.remaining.saturating_sub(rows);
        (self.progress)(self.done, self.remaining);
    }
}

impl Difference {
    fn to_copied_rows(&self, table: &'static str, copied: usize) -> CopiedRows {
        CopiedRows { table, rows: self.rows, copied, verified: self.same }
    }
}

impl CopiedTable {
    async fn count(&self, connection: &mut Connection) -> Result<usize, StoreError> {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", self.name));
        let count: i64 = connection.value(sqlx::query(count)).await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// The next rows after one, in the order of the database. The mark of the copy is not among them.
    async fn read(
        &self,
        connection: &mut Connection,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<RawRow>, StoreError> {
        let key = self.key.join(", ");
        let after_row = match &after {
            Some(_key) => format!("({key}) > ({})", placeholders(self.key.len())),
            None => "1 = 1".to_owned(),
        };
        let not_mark = if self.name == METADATA.name {
            format!("AND name <> '{UNFINISHED_COPY}'")
        } else {
            String::new()
        };
        let select = AssertSqlSafe(format!(
            "SELECT * FROM {} WHERE {after_row} {not_mark} ORDER BY {key} LIMIT {BATCH}",
            self.name
        ));
        let rows = connection.rows(bind(sqlx::query(select), after.unwrap_or_default())).await;
        let rows = rows.map_err(|error| self.failed(&[], error))?;
        let rows = rows.iter().map(RawRow::read).collect::<Result<Vec<_>, _>>();
        rows.map_err(|error| self.failed(&[], error))
    }

    /// A digest of each row, by key.
    async fn digests(&self, connection: &mut Connection) -> Result<Digests, StoreError> {
        let mut digests = Digests::new();
        let mut after = None;
        loop {
            let rows = self.read(connection, after).await?;
            for row in &rows {
                let key = row.key(self);
                digests.insert(bytes_of(&key), (key, row.digest()));
            }
            after = rows.last().map(|row| row.key(self));
            if after.is_none() {
                return Ok(digests);
            }
        }
    }

    /// Compares a copy with the original. Without a copy every row is missing.
    async fn compare(
        &self,
        original: &mut Connection,
        copy: Option<&mut Connection>,
    ) -> Result<Difference, StoreError> {
        let original = self.digests(original).await?;
        let mut copied = match copy {
            Some(copy) => self.digests(copy).await?,
            None => Digests::new(),
        };
        let mut difference = Difference { rows: original.len(), ..Difference::default() };
        for (bytes, (key, digest)) in original {
            let present = copied.remove(&bytes);
            if present.as_ref().is_some_and(|(_key, present)| *present == digest) {
                difference.same += 1;
                continue;
            }
            difference.example = Some(text_of(&key));
            difference.missing.insert(bytes);
            difference.surplus.extend(present.map(|(key, _digest)| key));
        }
        for (key, _digest) in copied.into_values() {
            difference.example = Some(text_of(&key));
            difference.surplus.push(key);
        }
        Ok(difference)
    }

    /// Makes the copy of the table the same as the original. Returns the number of rows that were copied.
    async fn copy(
        &self,
        original: &mut Connection,
        target: &Connected,
        counts: &mut Counts<'_>,
    ) -> Result<usize, StoreError> {
        let mut connection = Connection::acquire(&target.pool).await?;
        let difference = self.compare(original, Some(&mut connection)).await?;
        drop(connection);
        counts.add(difference.same);
        // First, because a row may have a unique value that another row has now.
        for keys in difference.surplus.chunks(BATCH) {
            let mut change = begin_change(target).await?;
            for key in keys {
                let delete = bind(sqlx::query(AssertSqlSafe(self.delete())), key.clone());
                change.execute(delete).await.map_err(|error| self.failed(key, error))?;
            }
            change.commit().await?;
        }
        let mut after = None;
        while !difference.missing.is_empty() {
            let rows = self.read(original, after).await?;
            after = rows.last().map(|row| row.key(self));
            if after.is_none() {
                break;
            }
            let missing = rows
                .into_iter()
                .filter(|row| difference.missing.contains(&bytes_of(&row.key(self))));
            counts.add(self.insert(target, missing.collect()).await?);
        }
        Ok(difference.missing.len())
    }

    fn delete(&self) -> String {
        let conditions: Vec<_> =
            self.key.iter().zip(1..).map(|(column, at)| format!("{column} = ${at}")).collect();
        format!("DELETE FROM {} WHERE {}", self.name, conditions.join(" AND "))
    }

    /// Inserts rows in one transaction. Returns their number.
    async fn insert(&self, target: &Connected, rows: Vec<RawRow>) -> Result<usize, StoreError> {
        let count = rows.len();
        if count == 0 {
            return Ok(0);
        }
        let mut change = begin_change(target).await?;
        for RawRow(fields) in rows {
            let (columns, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
            let insert = AssertSqlSafe(format!(
                "INSERT INTO {} ({}) VALUES ({})",
                self.name,
                columns.join(", "),
                placeholders(columns.len())
            ));
            let key = self.key_of(&columns, &values);
            let inserted = change.execute(bind(sqlx::query(insert), values)).await;
            inserted.map_err(|error| self.failed(&key, error))?;
        }
        change.commit().await?;
        Ok(count)
    }

    fn key_of(&self, columns: &[String], values: &[Value]) -> Vec<Value> {
        let fields = || columns.iter().zip(values);
        let of = |key: &&str| fields().find(|(column, _value)| column == key);
        self.key.iter().filter_map(of).map(|(_column, value)| value.clone()).collect()
    }

    fn failed(&self, key: &[Value], source: impl Into<Cause>) -> StoreError {
        StoreError::Copy { table: self.name, row: text_of(key), source: source.into() }
    }
}

impl RawRow {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let field = |at: usize| Ok((row.column(at).name().to_owned(), Value::read(row, at)?));
        (0..row.len()).map(field).collect::<Result<_, sqlx::Error>>().map(Self)
    }

    fn key(&self, table: &CopiedTable) -> Vec<Value> {
        let (columns, values): (Vec<_>, Vec<_>) = self.0.iter().cloned().unzip();
        table.key_of(&columns, &values)
    }

    /// A digest of names and values, whatever the order of the columns.
    fn digest(&self) -> Vec<u8> {
        let mut fields: Vec<_> = self.0.iter().collect();
        fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut context = Context::new(&SHA256);
        for (column, value) in fields {
            context.update(&bytes_of(&[Value::from(column.as_str()), value.clone()]));
        }
        context.finish().as_ref().to_vec()
    }
}

async fn begin_change(target: &Connected) -> Result<Connection, StoreError> {
    let mut connection = Connection::acquire(&target.pool).await?;
    connection.begin_change(&Arc::<Health>::default()).await?;
    Ok(connection)
}

/// Values as bytes that no other values have.
fn bytes_of(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let (kind, content) = value.encode().unwrap_or_default();
        bytes.push(kind);
        bytes.extend_from_slice(&content.len().to_be_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

/// A key for people.
fn text_of(key: &[Value]) -> String {
    let texts = key.iter().map(|value| match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Null(_) | Value::Bytes(_) => String::new(),
    });
    texts.collect::<Vec<_>>().join("/")
}

fn placeholders(count: usize) -> String {
    let placeholders: Vec<_> = (1..=count).map(|at| format!("${at}")).collect();
    placeholders.join(", ")
}

#[cfg(test)]
mod tests;
