//! Groups of rows that are read again together when one of them was changed: a key with its versions, or one
//! row of another table of the catalogue. What each group contributes to the digest of its part is kept, so
//! that a part is checked after some of its rows were read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::digest::RowSet;
use super::row::{Scope, Table};
use super::row_key::RowKey;
use super::tables::tables_of;
use super::value::Value;

/// The maximum number of groups that a change lists. Of more, everything is read again.
const MAX_LISTED: usize = 500;

/// The rows of the catalogue that one value names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RowGroup {
    /// The name of what the key identifies, usually a table.
    name: &'static str,
    /// The texts that identify it, as JSON.
    key: String,
}

impl RowGroup {
    /// The group of a row. `None` if it is not of the catalogue, or what identifies it is not a text.
    pub(super) fn of_row(table: &Table, values: &[Value]) -> Option<Self> {
        if table.signed?.scope != Scope::Catalogue {
            return None;
        }
        let part_by = table.part_by();
        let texts =
            values.iter().skip(part_by.from).take(part_by.columns).map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            });
        Self::new(part_by.name, &texts.collect::<Option<Vec<_>>>()?)
    }

    /// A group from its name and key in the database.
    pub(super) fn parse(name: &str, key: &str) -> Option<Self> {
        let mut groups = tables_of(Scope::Catalogue).map(Table::part_by);
        let part_by = groups.find(|part_by| part_by.name == name)?;
        let texts: Vec<String> = serde_json::from_str(key).ok()?;
        if texts.len() == part_by.columns { Self::new(part_by.name, &texts) } else { None }
    }

    fn new<T: serde::Serialize>(name: &'static str, texts: &[T]) -> Option<Self> {
        Some(Self { name, key: serde_json::to_string(texts).ok()? })
    }

    /// The name of what the key identifies, usually a table.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// The key in the database.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The texts that identify it.
    pub(super) fn texts(&self) -> Vec<String> {
        serde_json::from_str(&self.key).unwrap_or_default()
    }

    /// The part that has its rows.
    pub(super) fn part(&self, key: &RowKey) -> u8 {
        let values: Vec<Value> = self.texts().into_iter().map(Value::Text).collect();
        key.part(self.name, &values, Scope::Catalogue.parts())
    }
}

/// Which rows of the catalogue are read.
#[derive(Debug)]
pub(super) enum Selected<'g> {
    All,
    Groups(&'g BTreeSet<RowGroup>),
}

impl Selected<'_> {
    /// The condition for a table, which follows its name, with the values. `None` if no row is selected.
    pub(super) fn condition(&self, table: &Table) -> Option<(String, Vec<Value>)> {
        let Self::Groups(groups) = self else { return Some((String::new(), Vec::new())) };
        let part_by = table.part_by();
        let keys: Vec<_> =
            groups.iter().filter(|group| group.name == part_by.name).map(RowGroup::texts).collect();
        let last = keys.last()?;
        // One of few numbers of values, so that few statements are prepared.
        let count = keys.len().next_power_of_two();
        let keys = keys.iter().chain(std::iter::repeat(last)).take(count);
        let columns = table.column_names().skip(part_by.from).take(part_by.columns);
        let columns: Vec<_> = columns.collect();
        let (mut conditions, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for texts in keys {
            let mut of_key = Vec::with_capacity(columns.len());
            for (column, text) in columns.iter().zip(texts) {
                values.push(Value::from(text.as_str()));
                of_key.push(format!("{column} = ${}", values.len()));
            }
            conditions.push(format!("({})", of_key.join(" AND ")));
        }
        Some((format!("WHERE {}", conditions.join(" OR ")), values))
    }
}

/// What the rows of each group contribute to the digest of their part, as they are in memory.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    groups: HashMap<RowGroup, RowSet>,
    parts: BTreeMap<u8, RowSet>,
    /// The groups that this process has changed, and not read since.
    not_read_back: BTreeSet<RowGroup>,
}

impl KnownRows {
    /// Changes what the rows of a group contribute.
    pub(super) fn apply(&mut self, group: RowGroup, part: u8, change: &RowSet) {
        self.parts.entry(part).or_default().apply(change);
        let mut set = self.groups.remove(&group).unwrap_or_default();
        set.apply(change);
        if set != RowSet::default() {
            self.groups.insert(group, set);
        }
    }

    /// What the rows of a group contribute.
    pub(super) fn of(&self, group: &RowGroup) -> RowSet {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// The groups that have rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = &RowGroup> {
        self.groups.keys()
    }

    /// The groups that this process has changed, and not read since.
    pub(super) fn not_read_back(&self) -> impl Iterator<Item = &RowGroup> {
        self.not_read_back.iter()
    }

    /// Records that all groups were read since this process changed them.
    pub(super) fn note_read_back(&mut self) {
        self.not_read_back.clear();
    }

    /// Whether the same rows are known.
    #[cfg(test)]
    pub(super) fn are_same(&self, other: &Self) -> bool {
        self.groups == other.groups
            && (0..Scope::Catalogue.parts()).all(|part| self.of_part(part) == other.of_part(part))
    }

    /// The set of all rows of a part.
    pub(super) fn of_part(&self, part: u8) -> RowSet {
        self.parts.get(&part).copied().unwrap_or_default()
    }
}

/// The changes of groups by one transaction.
#[derive(Debug, Default)]
pub(super) struct ChangedGroups {
    groups: BTreeMap<RowGroup, (u8, RowSet)>,
    /// More was changed than the groups say.
    is_incomplete: bool,
}

impl ChangedGroups {
    /// Whether nothing of the catalogue was changed.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && !self.is_incomplete
    }

    /// The change of a row of this table.
    pub(super) fn note(
        &mut self,
        table: &Table,
        values: &[Value],
        part: u8,
        change: impl FnOnce(&mut RowSet),
    ) {
        if table.signed.is_none_or(|signed| signed.scope != Scope::Catalogue) {
            return;
        }
        match RowGroup::of_row(table, values) {
            Some(group) => {
                let (_part, set) = self.groups.entry(group).or_insert((part, RowSet::default()));
                change(set);
            }
            None => self.is_incomplete = true,
        }
    }

    /// Adds the change of a group.
    pub(super) fn insert(&mut self, group: RowGroup, part: u8, change: RowSet) {
        self.groups.insert(group, (part, change));
    }

    /// The changes of the parts.
    pub(super) fn parts(&self) -> BTreeMap<u8, RowSet> {
        let mut parts: BTreeMap<u8, RowSet> = BTreeMap::new();
        for (part, change) in self.groups.values() {
            parts.entry(*part).or_default().apply(change);
        }
        parts
    }

    /// Records that more was changed than the groups say.
    pub(super) fn note_others(&mut self) {
        self.is_incomplete = true;
    }

    /// The groups, for the other gateways. `None` if they must read everything.
    pub(super) fn listed(&self) -> Option<impl Iterator<Item = &RowGroup>> {
        let is_listed = !self.is_incomplete && (1..=MAX_LISTED).contains(&self.groups.len());
        is_listed.then(|| self.groups.keys())
    }

    /// Applies the changes to what is known of the rows in memory. `None` if that is not sufficient.
    pub(super) fn apply_to(self, known: Option<KnownRows>) -> Option<KnownRows> {
        let mut known = known.filter(|_known| !self.is_incomplete)?;
        for (group, (part, change)) in self.groups {
            known.not_read_back.insert(group.clone());
            known.apply(group, part, &change);
        }
        Some(known)
    }
}
