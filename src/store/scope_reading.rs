//! Reads all rows of a scope in one snapshot, and decides which of them may be used.
//!
//! A row is used only if its MAC is right and the digest of its part counts exactly the rows that are
//! there. A wrong row that explains the difference alone does not affect the other rows of its part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::connection::Connection;
use super::damage::{DamagedRow, ReadRows, from_hex};
use super::digest::{Digests, PartState, RowSet};
use super::error::is_decode_error;
use super::row::{Scope, Table, row_name};
use super::row_group::{KnownRows, RowGroup, Selected};
use super::row_key::RowKey;
use super::signature::{StoredRow, WRONG_MAC, part, scope};
use super::value::{Value, bind};
use super::{Store, StoreError};

/// The table name of damaged digests.
pub(super) const DIGESTS: &str = "row_digests";
pub(super) const PART_IS_INCOMPLETE: &str =
    "rows of its part of the database are missing or older than they were";
const NOT_UTF8: &str = "it contains text that is not UTF-8";

/// The revision of each part when it was last read, so that a part cannot go back to an older state.
pub(super) type PartRevisions = BTreeMap<u8, i64>;

/// The reading of one scope.
pub(super) struct ScopeReading<'c> {
    connection: &'c mut Connection,
    scope: Scope,
    /// `None` while the store is locked: then nothing is checked.
    key: Option<Arc<RowKey>>,
    by_part: BTreeMap<u8, Vec<StoredRow>>,
    /// What the rows with a right MAC contribute to the digests, if that is wanted.
    known_rows: Option<KnownRows>,
}

/// The rows of one table as they were read.
pub(super) struct TableRows {
    table: &'static Table,
    rows: Vec<SeenRow>,
    unreadable: Vec<String>,
}

struct SeenRow {
    row: AnyRow,
    part: u8,
    is_valid: bool,
}

/// Which rows of a scope may be used.
#[derive(Debug, Default)]
pub(super) struct ScopeCheck {
    is_checked: bool,
    incomplete: BTreeSet<u8>,
    /// The digests that do not fit their rows.
    pub(super) damaged: Vec<DamagedRow>,
    /// The revision of each part.
    pub(super) revisions: PartRevisions,
}

impl<'c> ScopeReading<'c> {
    /// Begins to read a scope. The connection must be in a transaction.
    pub(super) fn new(
        connection: &'c mut Connection,
        scope: Scope,
        key: Option<Arc<RowKey>>,
    ) -> Self {
        Self { connection, scope, key, by_part: BTreeMap::new(), known_rows: None }
    }

    /// Records what the rows that are read contribute to the digests.
    pub(super) fn note_known_rows(&mut self) {
        self.known_rows = self.key.is_some().then(KnownRows::default);
    }

    /// What the rows that were read contribute to the digests.
    pub(super) fn take_known_rows(&mut self) -> Option<KnownRows> {
        self.known_rows.take()
    }

    /// The connection, for what is read in the same snapshot.
    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    /// Reads the rows of a table of the scope. `rest` follows the table name.
    pub(super) async fn rows(
        &mut self,
        table: &'static Table,
        rest: &str,
    ) -> Result<TableRows, StoreError> {
        self.rows_with(table, rest, Vec::new()).await
    }

    /// Reads the selected rows of a table of the scope.
    pub(super) async fn selected_rows(
        &mut self,
        table: &'static Table,
        selected: &Selected<'_>,
        order: &str,
    ) -> Result<TableRows, StoreError> {
        match selected.condition(table) {
            Some((condition, values)) => {
                self.rows_with(table, &format!("{condition} {order}"), values).await
            }
            None => Ok(TableRows { table, rows: Vec::new(), unreadable: Vec::new() }),
        }
    }

    async fn rows_with(
        &mut self,
        table: &'static Table,
        rest: &str,
        values: Vec<Value>,
    ) -> Result<TableRows, StoreError> {
        let (mut found, mut has_unreadable) = (Vec::new(), false);
        let see = |row: Result<AnyRow, sqlx::Error>| {
            match row {
                Ok(row) => found.push(row),
                Err(error) if is_decode_error(&error) => has_unreadable = true,
                Err(error) => return Err(error.into()),
            }
            Ok(())
        };
        self.connection.each_row(bind(sqlx::query(table.select(rest)), values), see).await?;
        let unreadable =
            if has_unreadable { self.unreadable_rows(table, &found).await? } else { Vec::new() };
        let mut rows = Vec::with_capacity(found.len());
        for row in found {
            rows.push(if table.is_signed(&row) {
                self.see(table, row)
            } else {
                SeenRow { row, part: 0, is_valid: true }
            });
        }
        Ok(TableRows { table, rows, unreadable })
    }

    fn see(&mut self, table: &Table, row: AnyRow) -> SeenRow {
        let Some(key) = &self.key else { return SeenRow { row, part: 0, is_valid: true } };
        match StoredRow::read(table, &row, key) {
            Ok(mut stored) => {
                let (part, is_valid) = (stored.part, stored.is_valid);
                if !table.is_counted() {
                    return SeenRow { row, part, is_valid };
                }
                if let Some(known) = self.known_rows.as_mut().filter(|_| is_valid)
                    && let Some(group) = RowGroup::of_row(table, &stored.values)
                {
                    let mut set = RowSet::default();
                    set.add(key, &stored.stored_mac);
                    known.apply(group, part, &set);
                }
                stored.values.clear();
                self.by_part.entry(part).or_default().push(stored);
                SeenRow { row, part, is_valid }
            }
            Err(_unreadable) => SeenRow { row, part: 0, is_valid: false },
        }
    }

    /// The names of the rows that cannot be read, because a text is not UTF-8. They are read as bytes,
    /// only from SQLite: PostgreSQL does not store such text.
    async fn unreadable_rows(
        &mut self,
        table: &Table,
        found: &[AnyRow],
    ) -> Result<Vec<String>, StoreError> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for row in found {
            *names.entry(row_name(row)).or_default() += 1;
        }
        let part_by = table.part_by();
        let columns = part_by.from + part_by.columns;
        let keys: Vec<_> = table.column_names().take(columns).collect();
        let hex: Vec<_> = keys.iter().map(|column| format!("hex({column})")).collect();
        let mac = if table.signed.is_some() { "hex(row_mac)" } else { "''" };
        let (name, hex) = (table.name, hex.join(", "));
        let sql = AssertSqlSafe(format!("SELECT {hex}, {mac} FROM {name}"));
        let mut unreadable = Vec::new();
        for row in self.connection.rows(sqlx::query(sql)).await? {
            let text = |at: usize| Ok::<_, StoreError>(from_hex(row.try_get(at)?));
            let values: Result<Vec<Value>, _> =
                (0..keys.len()).map(|at| text(at).map(Value::Text)).collect();
            let name = text(0)?;
            if let Some(count) = names.get_mut(&name).filter(|count| **count > 0) {
                *count -= 1;
            } else {
                let mac: Option<&str> = row.try_get(keys.len())?;
                let stored_mac = hex::decode(mac.unwrap_or_default()).unwrap_or_default();
                self.see_unreadable(table, &values?, stored_mac);
                unreadable.push(name);
            }
        }
        Ok(unreadable)
    }

    fn see_unreadable(&mut self, table: &Table, values: &[Value], stored_mac: Vec<u8>) {
        let Some(key) = self.key.as_ref().filter(|_key| table.is_counted()) else { return };
        let part = part(table, values, key);
        let (values, is_own) = (Vec::new(), false);
        let row = StoredRow { values, stored_mac, is_own, is_valid: false, part };
        self.by_part.entry(part).or_default().push(row);
    }

    /// The rows of each part, for a check of their digests.
    pub(super) fn into_parts(self) -> BTreeMap<u8, Vec<StoredRow>> {
        self.by_part
    }

    /// Compares the rows with the digests of the scope. `known` are the revisions that were known before
    /// the transaction began: later ones may be newer than its snapshot.
    pub(super) async fn check(self, known: &PartRevisions) -> Result<ScopeCheck, StoreError> {
        let Some(key) = &self.key else { return Ok(ScopeCheck::default()) };
        let digests = Digests::read(self.connection, key, self.scope).await?;
        let mut check = ScopeCheck {
            is_checked: true,
            revisions: digests.revisions().collect(),
            ..ScopeCheck::default()
        };
        for part in 0..self.scope.parts() {
            let rows = self.by_part.get(&part).map_or(&[][..], |rows| rows);
            let is_older = check.revisions.get(&part) < known.get(&part);
            if is_older || digests.check(part, rows, key) == PartState::Incomplete {
                check.incomplete.insert(part);
                check.damaged.push(damaged_digest(self.scope, part));
            }
        }
        Ok(check)
    }
}

impl ScopeCheck {
    /// The check of the MACs alone, without the digests, if rows are checked.
    pub(super) fn of_rows(is_checked: bool) -> Self {
        Self { is_checked, ..Self::default() }
    }

    /// Whether every part has its rows, in their newest state.
    pub(super) fn is_whole(&self) -> bool {
        self.incomplete.is_empty()
    }
}

/// The name of the digest of a part, as a damaged row.
fn digest_name(scope: Scope, part: u8) -> String {
    format!("{}/{part}", scope.name())
}

fn damaged_digest(scope: Scope, part: u8) -> DamagedRow {
    DamagedRow {
        table: DIGESTS,
        row: digest_name(scope, part),
        why: "rows of this part are missing, additional or older than they were".to_owned(),
    }
}

impl Store {
    /// Whether a row with these values may be missing: the part that would have it is incomplete.
    pub(super) fn may_lack_row(&self, table: &Table, values: &[Value]) -> Result<bool, StoreError> {
        let scope = scope(table);
        let digest = digest_name(scope, part(table, values, &*self.row_key()?));
        Ok(self.damaged_rows().iter().any(|one| one.table == DIGESTS && one.row == digest))
    }
}

impl TableRows {
    /// The texts of two columns of each row that has both.
    pub(super) fn texts<'r>(
        &'r self,
        one: &'static str,
        other: &'static str,
    ) -> impl Iterator<Item = (String, String)> + use<'r> {
        let rows = self.rows.iter();
        rows.filter_map(move |seen| {
            Some((seen.row.try_get(one).ok()?, seen.row.try_get(other).ok()?))
        })
    }

    /// The number of rows.
    pub(super) fn count(&self) -> usize {
        self.rows.len() + self.unreadable.len()
    }

    /// Whether a row cannot be read at all.
    pub(super) fn has_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Reads each row that may be used.
    pub(super) fn read<T>(
        self,
        check: &ScopeCheck,
        mut read: impl FnMut(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<ReadRows<T>, StoreError> {
        let mut read_rows = ReadRows { whole: Vec::new(), damaged: Vec::new() };
        let damaged = |row: String, why: &str| DamagedRow {
            table: self.table.name,
            row,
            why: why.to_owned(),
        };
        for SeenRow { row, part, is_valid } in &self.rows {
            let why = match (check.is_checked, is_valid) {
                (true, false) => Some(WRONG_MAC),
                (true, true) if check.incomplete.contains(part) => Some(PART_IS_INCOMPLETE),
                _ => None,
            };
            match why {
                Some(why) => read_rows.damaged.push(damaged(row_name(row), why)),
                None => match read(row) {
                    Ok(whole) => read_rows.whole.push(whole),
                    Err(error) => read_rows.damaged.push(DamagedRow::of(error)?),
                },
            }
        }
        read_rows.damaged.extend(self.unreadable.into_iter().map(|row| damaged(row, NOT_UTF8)));
        Ok(read_rows)
    }
}
