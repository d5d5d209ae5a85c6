//! The digests of the rows of a scope: what shows that a row is missing, additional or older.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::connection::Connection;
use super::row::Scope;
use super::row_key::{Mac, RowKey, is_mac, xor};
use super::value::Value;
use super::{StoreError, signature::StoredRow};
use crate::model::random;

/// The length of a nonce in bytes.
const NONCE_BYTES: usize = 16;
/// The maximum number of wrong rows of one part whose combinations are tried. Each doubles the work.
const MAX_TRIED_ROWS: usize = 10;

/// The set of rows of one part: the XOR of their elements, and their number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowSet {
    elements: Mac,
    count: i64,
}

impl RowSet {
    /// Adds a row by its MAC.
    pub(super) fn add(&mut self, key: &RowKey, mac: &[u8]) {
        self.elements = xor(&self.elements, &key.element(mac));
        self.count = self.count.saturating_add(1);
    }

    /// Removes a row by its MAC.
    pub(super) fn remove(&mut self, key: &RowKey, mac: &[u8]) {
        self.elements = xor(&self.elements, &key.element(mac));
        self.count = self.count.saturating_sub(1);
    }

    /// The change of a set by a deletion. `counted` says which of the wrong rows `before` it are in the
    /// set; `after` are the rows that remain.
    pub(super) fn of_deletion(
        before: &[StoredRow],
        counted: &[bool],
        after: &[StoredRow],
        key: &RowKey,
    ) -> Self {
        let mut change = Self::default();
        let mut counted = counted.iter();
        for row in before {
            let is_counted = row.is_valid || counted.next().is_some_and(|is| *is);
            let remains = after.iter().any(|other| other.stored_mac == row.stored_mac);
            if is_counted && !remains {
                change.remove(key, &row.stored_mac);
            }
        }
        change
    }

    /// Applies the additions and removals of another set.
    pub(super) fn apply(&mut self, change: &Self) {
        self.elements = xor(&self.elements, &change.elements);
        self.count = self.count.saturating_add(change.count);
    }

    /// The change that makes this set of another one.
    pub(super) fn change_from(mut self, before: &Self) -> Self {
        self.elements = xor(&self.elements, &before.elements);
        self.count = self.count.saturating_sub(before.count);
        self
    }
}

/// The changes of the sets of one transaction, by scope and part.
pub(super) type SetChanges = BTreeMap<(Scope, u8), RowSet>;

/// The stored digest of one part.
#[derive(Debug, Clone, Copy)]
struct PartDigest {
    part: u8,
    revision: i64,
    set: RowSet,
}

impl PartDigest {
    /// Reads a digest, if its MAC is right.
    fn read(scope: Scope, row: &AnyRow, key: &RowKey) -> Option<Self> {
        let part: u8 = row.try_get::<i64, _>(0).ok()?.try_into().ok()?;
        let (revision, count): (i64, i64) = (row.try_get(1).ok()?, row.try_get(2).ok()?);
        let (nonce, masked): (Vec<u8>, Vec<u8>) = (row.try_get(3).ok()?, row.try_get(4).ok()?);
        let stored: Vec<u8> = row.try_get(5).ok()?;
        let values = values(scope, part, revision, count, &nonce, &masked);
        if !is_mac(&stored, &mac(&values, key)) {
            return None;
        }
        let masked: Mac = masked.try_into().ok()?;
        let elements = xor(&masked, &key.mask(scope.name(), part, &nonce));
        Some(Self { part, revision, set: RowSet { elements, count } })
    }

    /// The values of its row, with a fresh nonce.
    fn values(&self, scope: Scope, key: &RowKey) -> Result<[Value; 7], StoreError> {
        let nonce = random::secret::<NONCE_BYTES>()
            .map_err(|source| StoreError::Unavailable { source: source.into() })?;
        let masked = xor(&self.set.elements, &key.mask(scope.name(), self.part, &*nonce));
        let signed = values(scope, self.part, self.revision, self.set.count, &*nonce, &masked);
        let mac = mac(&signed, key);
        let [scope, part, revision, count, nonce, digest] = signed;
        Ok([scope, part, revision, count, nonce, digest, Value::Bytes(mac.to_vec())])
    }
}

/// Selects the digests of a scope.
const SELECT: &str = "SELECT part, revision, row_count, nonce, digest, row_mac FROM row_digests \
                      WHERE scope = $1";

const COLUMNS: [&str; 6] = ["scope", "part", "revision", "row_count", "nonce", "digest"];

fn values(
    scope: Scope,
    part: u8,
    revision: i64,
    count: i64,
    nonce: &[u8],
    digest: &[u8],
) -> [Value; 6] {
    [
        scope.name().into(),
        i64::from(part).into(),
        revision.into(),
        count.into(),
        nonce.to_vec().into(),
        digest.to_vec().into(),
    ]
}

fn mac(values: &[Value; 6], key: &RowKey) -> Mac {
    key.mac("row_digests", COLUMNS.into_iter().zip(values))
}

/// Applies the changes of a transaction to the digests. A digest whose own MAC is wrong stays as it is:
/// its part stays refused until an operator signs the store. Returns the new revision of each other part.
pub(super) async fn apply(
    connection: &mut Connection,
    key: &RowKey,
    changes: SetChanges,
) -> Result<Vec<(Scope, u8, i64)>, StoreError> {
    let mut revisions = Vec::with_capacity(changes.len());
    for ((scope, part), change) in changes {
        let lock = sqlx::query(
            "UPDATE row_digests SET part = part WHERE scope = $1 AND part = $2 \
             RETURNING part, revision, row_count, nonce, digest, row_mac",
        );
        let row = connection.row(lock.bind(scope.name()).bind(i64::from(part))).await?;
        let Some(mut digest) = row.and_then(|row| PartDigest::read(scope, &row, key)) else {
            continue;
        };
        digest.set.apply(&change);
        digest.revision = digest.revision.saturating_add(1);
        let update = sqlx::query(
            "UPDATE row_digests SET revision = $3, row_count = $4, nonce = $5, digest = $6, \
             row_mac = $7 WHERE scope = $1 AND part = $2",
        );
        let values = digest.values(scope, key)?;
        let update = values.into_iter().fold(update, |update, value| value.bind(update));
        connection.execute(update).await?;
        revisions.push((scope, part, digest.revision));
    }
    Ok(revisions)
}

/// The revisions of the parts of a scope, by part.
pub(super) async fn revisions(
    connection: &mut Connection,
    scope: Scope,
) -> Result<Vec<i64>, StoreError> {
    let select = sqlx::query("SELECT revision FROM row_digests WHERE scope = $1 ORDER BY part");
    let rows = connection.rows(select.bind(scope.name())).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Replaces every digest of a scope with that of these sets, by part.
pub(super) async fn replace(
    connection: &mut Connection,
    key: &RowKey,
    scope: Scope,
    sets: &BTreeMap<u8, RowSet>,
) -> Result<(), StoreError> {
    let highest = sqlx::query(
        "SELECT CAST(COALESCE(MAX(revision), 0) AS BIGINT) FROM row_digests WHERE scope = $1",
    );
    let highest: i64 = connection.value(highest.bind(scope.name())).await.unwrap_or_default();
    let delete = sqlx::query("DELETE FROM row_digests WHERE scope = $1").bind(scope.name());
    connection.execute(delete).await?;
    for part in 0..scope.parts() {
        let set = sets.get(&part).copied().unwrap_or_default();
        let digest = PartDigest { part, revision: highest.saturating_add(1), set };
        let insert = sqlx::query(
            "INSERT INTO row_digests \
             (scope, part, revision, row_count, nonce, digest, row_mac, account) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let values = digest.values(scope, key)?;
        let insert = values.into_iter().fold(insert, |insert, value| value.bind(insert));
        connection.execute(insert.bind(key.account().to_owned())).await?;
    }
    Ok(())
}

/// The digests of a scope, read in the transaction that reads its rows.
#[derive(Debug, Default)]
pub(super) struct Digests {
    parts: BTreeMap<u8, PartDigest>,
}

/// What the digest of a part says about its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartState {
    /// The rows with a right MAC are all rows of the part, in their newest state, except rows that
    /// are known to be wrong.
    Whole,
    /// A row is missing, or is older than the digest, or the digest itself is wrong.
    Incomplete,
}

impl Digests {
    /// Reads the digests of a scope whose own MAC is right.
    pub(super) async fn read(
        connection: &mut Connection,
        key: &RowKey,
        scope: Scope,
    ) -> Result<Self, StoreError> {
        let rows = connection.rows(sqlx::query(SELECT).bind(scope.name())).await?;
        let parts = rows.iter().filter_map(|row| PartDigest::read(scope, row, key));
        Ok(Self { parts: parts.map(|digest| (digest.part, digest)).collect() })
    }

    /// Reads the digests of all parts of a scope. `None` if one of them is missing, not signed, or older
    /// than it was: `known` are the revisions that were known before the transaction began.
    pub(super) async fn read_newest(
        connection: &mut Connection,
        key: &RowKey,
        scope: Scope,
        known: &BTreeMap<u8, i64>,
    ) -> Result<Option<Self>, StoreError> {
        let digests = Self::read(connection, key, scope).await?;
        let is_newest = |part: u8| {
            let digest = digests.parts.get(&part);
            digest.is_some_and(|digest| Some(&digest.revision) >= known.get(&part))
        };
        let are_newest = (0..scope.parts()).all(is_newest);
        Ok(are_newest.then_some(digests))
    }

    /// The sets of rows, by part.
    pub(super) fn sets(&self) -> impl Iterator<Item = (u8, &RowSet)> {
        self.parts.values().map(|digest| (digest.part, &digest.set))
    }

    /// The revision of each part. It rises with each change of one of its rows.
    pub(super) fn revisions(&self) -> impl Iterator<Item = (u8, i64)> {
        self.parts.values().map(|digest| (digest.part, digest.revision))
    }

    /// Compares the rows of a part with its digest.
    pub(super) fn check(&self, part: u8, rows: &[StoredRow], key: &RowKey) -> PartState {
        match self.counted(part, rows, key) {
            Some(_counted) => PartState::Whole,
            None => PartState::Incomplete,
        }
    }

    /// Which rows with a wrong MAC the digest counts: those whose values were changed, in contrast to
    /// those that were added. One flag for each wrong row, in their order. `None` if no combination
    /// gives the digest.
    pub(super) fn counted(&self, part: u8, rows: &[StoredRow], key: &RowKey) -> Option<Vec<bool>> {
        let wanted = self.parts.get(&part)?.set;
        let mut valid = RowSet::default();
        for row in rows.iter().filter(|row| row.is_valid) {
            valid.add(key, &row.stored_mac);
        }
        let wrong = rows.iter().filter(|row| !row.is_valid);
        let mut wrong: Vec<RowSet> =
            wrong.map(|row| RowSet { elements: key.element(&row.stored_mac), count: 1 }).collect();
        let count = wrong.len();
        // More rows than can be tried are counted, so that a flood of rows costs no more than itself.
        for row in wrong.drain(count.min(MAX_TRIED_ROWS)..) {
            valid.apply(&row);
        }
        // All wrong rows first: values that were changed are the usual case.
        (0..1_u32 << wrong.len()).rev().find_map(|combination| {
            let is_counted = |at: usize| at >= MAX_TRIED_ROWS || combination >> at & 1 == 1;
            let mut set = valid;
            for (_at, row) in wrong.iter().enumerate().filter(|(at, _row)| is_counted(*at)) {
                set.apply(row);
            }
            (set == wanted).then(|| (0..count).map(is_counted).collect())
        })
    }
}
