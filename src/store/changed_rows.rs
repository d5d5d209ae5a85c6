//! Reads only the rows that other gateways of the cluster have changed.
//!
//! The lists of changes name the rows. Each row needs a right MAC, and the digest of each part must be that
//! of the rows that are in memory then. Otherwise nothing is used of what was read, and all rows are read
//! and checked instead.
//!
//! The rows that this process has changed are read again with them. If one of them had been put back to an
//! older state before the change, memory and digest have the same wrong sum, and only the row shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalogue_rows::CatalogueRows;
use super::change_list::{self, ListedChanges, MAX_READ};
use super::connection::Connection;
use super::digest::{Digests, RowSet};
use super::row::Scope;
use super::row_group::{ChangedGroups, KnownRows, RowGroup, Selected};
use super::row_key::RowKey;
use super::scope_reading::{PartRevisions, ScopeCheck, ScopeReading};
use super::tables::KEYS;
use super::{Store, StoreError};
use crate::model::KeyRecord;

/// What the lists of changes say.
enum ListedRows {
    /// Nothing was changed.
    Current,
    /// The rows that were changed fit the digests.
    Read(Box<ReadRows>),
    /// All rows must be read.
    Unknown,
}

/// The rows that were changed.
struct ReadRows {
    revision: i64,
    groups: BTreeSet<RowGroup>,
    rows: CatalogueRows,
    /// How they differ from those in memory.
    changed: ChangedGroups,
    /// The new revisions of the parts.
    revisions: PartRevisions,
}

impl Store {
    /// Reads the rows that other gateways of the cluster have changed, and puts them into memory. Returns
    /// whether there were any. `None` if all rows must be read. The caller holds the writer lock.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn read_changed_rows(&self) -> Result<Option<bool>, StoreError> {
        let inner = &self.inner;
        let known_revision = {
            let catalogue = inner.catalogue.read();
            catalogue.known_rows().map(|_rows| catalogue.revision())
        };
        let (Some(known_revision), Some(row_key)) = (known_revision, inner.row_key.get()) else {
            return Ok(None);
        };
        if inner.next_check.is_due(Scope::Catalogue) {
            return Ok(None);
        }
        let (mut connection, known) = inner.begin_read(Scope::Catalogue).await?;
        let listed =
            self.read_listed_rows(&mut connection, known_revision, &known, row_key).await?;
        connection.rollback().await?;
        match listed {
            ListedRows::Current => Ok(Some(false)),
            ListedRows::Read(rows) => Ok(self.use_rows(*rows)?.then_some(true)),
            ListedRows::Unknown => Ok(None),
        }
    }

    /// Reads the rows in one snapshot, and compares them with the digests.
    async fn read_listed_rows(
        &self,
        connection: &mut Connection,
        known_revision: i64,
        known: &PartRevisions,
        row_key: &Arc<RowKey>,
    ) -> Result<ListedRows, StoreError> {
        let Some(listed) = change_list::read(connection, known_revision).await? else {
            return Ok(ListedRows::Unknown);
        };
        let ListedChanges { revision, groups } = listed;
        if revision == known_revision {
            return Ok(ListedRows::Current);
        }
        let groups = self.with_own_changes(groups);
        if groups.len() > MAX_READ {
            return Ok(ListedRows::Unknown);
        }
        let scope = Scope::Catalogue;
        let mut reading = ScopeReading::new(connection, scope, Some(Arc::clone(row_key)));
        reading.note_known_rows();
        let selected = Selected::Groups(&groups);
        let rows = CatalogueRows::read(&mut reading, &selected).await?;
        let read = reading.take_known_rows().unwrap_or_default();
        let Some(changed) = self.changes_of(&groups, &read, row_key) else {
            return Ok(ListedRows::Unknown);
        };
        let parts = changed.parts();
        let digests = Digests::read_newest(connection, row_key, scope, known).await?;
        Ok(match digests.filter(|digests| self.fit(digests, &parts)) {
            Some(digests) => {
                let revisions = digests.revisions().collect();
                ListedRows::Read(Box::new(ReadRows { revision, groups, rows, changed, revisions }))
            }
            None => ListedRows::Unknown,
        })
    }

    /// Adds the groups that this process has changed, and not read since.
    fn with_own_changes(&self, mut groups: BTreeSet<RowGroup>) -> BTreeSet<RowGroup> {
        let catalogue = self.inner.catalogue.read();
        let own = catalogue.known_rows().into_iter().flat_map(KnownRows::not_read_back);
        groups.extend(own.cloned());
        groups
    }

    /// How the rows that were read differ from those in memory. `None` if they are not those of the groups.
    fn changes_of(
        &self,
        groups: &BTreeSet<RowGroup>,
        read: &KnownRows,
        row_key: &RowKey,
    ) -> Option<ChangedGroups> {
        if !read.groups().all(|group| groups.contains(group)) {
            return None;
        }
        let catalogue = self.inner.catalogue.read();
        let known = catalogue.known_rows()?;
        let mut changed = ChangedGroups::default();
        for group in groups {
            let change = read.of(group).change_from(&known.of(group));
            changed.insert(group.clone(), group.part(row_key), change);
        }
        Some(changed)
    }

    /// Whether the rows in memory, with these changes of the parts, are those of the digests.
    fn fit(&self, digests: &Digests, changes: &BTreeMap<u8, RowSet>) -> bool {
        let catalogue = self.inner.catalogue.read();
        let Some(known) = catalogue.known_rows() else { return false };
        digests.sets().all(|(part, wanted)| {
            let mut set = known.of_part(part);
            if let Some(change) = changes.get(&part) {
                set.apply(change);
            }
            set == *wanted
        })
    }

    /// Puts rows into memory. Returns whether all of them can be used; otherwise none is.
    fn use_rows(&self, read: ReadRows) -> Result<bool, StoreError> {
        let inner = &self.inner;
        inner.health.metrics.count_refreshed_rows("changed", read.rows.count());
        let (mut records, damaged) = read.rows.load(&ScopeCheck::of_rows(true))?;
        if !damaged.is_empty() {
            return Ok(false);
        }
        let mut catalogue = inner.catalogue.write();
        let keys = read.groups.iter().filter(|group| group.name() == KEYS.name);
        let ids = keys.filter_map(|group| group.texts().first()?.parse().ok());
        let before: Vec<Arc<KeyRecord>> =
            ids.filter_map(|id| catalogue.key(id).map(Arc::clone)).collect();
        self.note_removed(&before, |id| records.keys.iter().find(|key| key.id == id));
        records.keys.iter_mut().for_each(|key| catalogue.share_last_uses(key));
        records.replace(&mut catalogue, &read.groups);
        catalogue.note_read(read.changed);
        catalogue.set_revision(read.revision);
        inner.last_seen.note_revisions(Scope::Catalogue, &read.revisions);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
