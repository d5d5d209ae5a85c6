//! In-memory catalogue of keys, aliases, documents and secrets. It has no SQL.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::document_cache::DocumentCache;
use super::row_group::{ChangedGroups, KnownRows};
use super::row_key::{Mac, is_mac};
use super::sorted::{Sorted, SortedList};
use crate::model::{
    Alias, KeyAnswer, KeyId, KeyRecord, KeyVersionId, SecretName, SecretRecord, Time,
};

/// An alias of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRecord {
    /// The alias name (unique).
    pub name: Alias,
    /// The key that the alias names.
    pub key: KeyId,
    /// Creation time. Moving the alias to another key keeps it.
    pub created: Time,
}

/// A secret in the catalogue, with the revision and the MAC of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CatalogueSecret {
    pub(super) record: Arc<SecretRecord>,
    pub(super) revision: i64,
    /// `None` for a row that has none: the store is locked, or the row older than MACs.
    pub(super) mac: Option<Mac>,
}

impl CatalogueSecret {
    /// Whether a row whose MAC was checked has the same values.
    pub(super) fn is_row_with(&self, checked: &[u8]) -> bool {
        self.mac.as_ref().is_some_and(|mac| is_mac(checked, mac))
    }

    /// The secret by its name.
    pub(super) fn into_entry(self) -> (SecretName, Self) {
        (self.record.name.clone(), self)
    }
}

/// Keys by creation time, then id.
impl Sorted for KeyRecord {
    type SortKey = (Time, KeyId);

    fn sort_key(&self) -> (Time, KeyId) {
        (self.created, self.id)
    }

    fn order(&self, key: &(Time, KeyId)) -> Ordering {
        self.sort_key().cmp(key)
    }
}

/// Aliases by name.
impl Sorted for AliasRecord {
    type SortKey = Alias;

    fn sort_key(&self) -> Alias {
        self.name.clone()
    }

    fn order(&self, key: &Alias) -> Ordering {
        self.name.cmp(key)
    }
}

/// Indexes keys by id, by version and by age, aliases by name and by key, and documents by name.
#[derive(Default)]
pub(super) struct Catalogue {
    keys: HashMap<KeyId, Arc<KeyRecord>>,
    by_version: HashMap<KeyVersionId, KeyId>,
    by_age: SortedList<KeyRecord>,
    /// What the versions answer, as far as it is known.
    answers: HashMap<KeyVersionId, KeyAnswer>,
    /// Those of `by_age` that callers see. A listing that lasts keeps the list as it was.
    visible: Arc<SortedList<KeyRecord>>,
    aliases: SortedList<AliasRecord>,
    /// The same aliases by name, for requests: a search in the list compares a dozen names that are not in
    /// the caches of the processor if there are many.
    aliases_by_name: HashMap<Alias, Arc<AliasRecord>>,
    names_by_key: HashMap<KeyId, BTreeSet<Alias>>,
    pub(super) documents: DocumentCache,
    /// By name.
    pub(super) secrets: BTreeMap<SecretName, CatalogueSecret>,
    /// The database revision that the catalogue holds.
    revision: i64,
    /// What the rows contribute to the digests, if the rows that change can be read alone. `None` without
    /// other gateways, and while a row is damaged.
    known_rows: Option<KnownRows>,
}

impl Catalogue {
    /// An empty catalogue at this revision.
    pub(super) fn of(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The database revision that the catalogue holds.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// What the rows contribute to the digests, if the rows that change can be read alone.
    pub(super) fn known_rows(&self) -> Option<&KnownRows> {
        self.known_rows.as_ref()
    }

    /// Sets what the rows contribute to the digests.
    pub(super) fn set_known_rows(&mut self, known: Option<KnownRows>) {
        self.known_rows = known;
    }

    /// Records what a change of this process made of the rows.
    pub(super) fn note_changed(&mut self, changed: ChangedGroups) {
        self.known_rows = changed.apply_to(self.known_rows.take());
    }

    /// Records how the rows that were read differ from those before. The rows that this process has
    /// changed are among them.
    pub(super) fn note_read(&mut self, changed: ChangedGroups) {
        self.note_changed(changed);
        if let Some(known) = &mut self.known_rows {
            known.note_read_back();
        }
    }

    /// Records that the catalogue holds the rows of this database revision.
    pub(super) fn set_revision(&mut self, revision: i64) {
        self.revision = revision;
    }

    /// Records a change that the catalogue already holds, with the database revision after it. If
    /// another process changed the database in between, the revision stays, and the next refresh
    /// reads everything.
    pub(super) fn note_revision(&mut self, revision: i64) {
        if revision == self.revision.saturating_add(1) {
            self.revision = revision;
        }
    }

    pub(super) fn key(&self, id: KeyId) -> Option<&Arc<KeyRecord>> {
        self.keys.get(&id)
    }

    pub(super) fn key_of_version(&self, version: KeyVersionId) -> Option<&Arc<KeyRecord>> {
        self.key(*self.by_version.get(&version)?)
    }

    /// Sorted by creation time, then id.
    pub(super) fn keys(&self) -> &[Arc<KeyRecord>] {
        self.by_age.as_slice()
    }

    /// The keys that callers see.
    pub(super) fn visible_keys(&self) -> &Arc<SortedList<KeyRecord>> {
        &self.visible
    }

    pub(super) fn alias(&self, name: &Alias) -> Option<&AliasRecord> {
        self.aliases_by_name.get(name).map(|alias| &**alias)
    }

    /// Sorted by name.
    pub(super) fn aliases(&self) -> &SortedList<AliasRecord> {
        &self.aliases
    }

    /// The aliases of one key, sorted by name.
    pub(super) fn aliases_of(&self, key: KeyId) -> impl Iterator<Item = &AliasRecord> {
        let names = self.names_by_key.get(&key).into_iter().flatten();
        names.filter_map(|name| self.alias(name))
    }

    /// Inserts records that were read. In another order than that of the lists, each would move many
    /// others.
    pub(super) fn put_all(&mut self, mut keys: Vec<KeyRecord>, mut aliases: Vec<AliasRecord>) {
        keys.sort_unstable_by_key(|key| (key.created, key.id));
        for key in keys {
            self.put_key(&Arc::new(key));
        }
        aliases.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        for alias in aliases {
            self.put_alias(alias);
        }
    }

    /// Lets a record that was read again share the last uses of its versions with the record that requests
    /// may still use.
    pub(super) fn share_last_uses(&self, record: &mut KeyRecord) {
        let Some(known) = self.key(record.id) else { return };
        for version in &mut record.versions {
            let known = known.versions.iter().find(|known| known.id == version.id);
            if let Some(known) = known {
                version.last_use = known.last_use.clone();
            }
        }
    }

    /// Inserts a record, or replaces the one with its id.
    pub(super) fn put_key(&mut self, record: &Arc<KeyRecord>) {
        self.forget_record(record.id);
        for version in &record.versions {
            self.by_version.insert(version.id, record.id);
        }
        self.by_age.put(Arc::clone(record));
        if record.is_visible() {
            Arc::make_mut(&mut self.visible).put(Arc::clone(record));
        }
        self.keys.insert(record.id, Arc::clone(record));
    }

    /// What a version answers, if it is known.
    pub(super) fn answer(&self, version: KeyVersionId) -> Option<&KeyAnswer> {
        self.answers.get(&version)
    }

    /// Sets what a version answers.
    pub(super) fn put_answer(&mut self, version: KeyVersionId, answer: KeyAnswer) {
        self.answers.insert(version, answer);
    }

    /// Removes a key and its aliases.
    pub(super) fn remove_key(&mut self, id: KeyId) {
        self.forget_key(id);
        for name in self.names_by_key.remove(&id).unwrap_or_default() {
            self.aliases.remove(&name);
            self.aliases_by_name.remove(&name);
        }
    }

    /// Removes a key without its aliases, which are rows of their own.
    pub(super) fn forget_key(&mut self, id: KeyId) {
        let versions = self.keys.get(&id).into_iter().flat_map(|record| &record.versions);
        for version in versions {
            self.answers.remove(&version.id);
        }
        self.forget_record(id);
    }

    /// Inserts an alias, or replaces the one with its name.
    pub(super) fn put_alias(&mut self, alias: AliasRecord) {
        self.remove_alias(&alias.name);
        self.names_by_key.entry(alias.key).or_default().insert(alias.name.clone());
        let alias = Arc::new(alias);
        self.aliases_by_name.insert(alias.name.clone(), Arc::clone(&alias));
        self.aliases.put(alias);
    }

    /// Removes an alias.
    pub(super) fn remove_alias(&mut self, name: &Alias) {
        let Some(alias) = self.aliases.remove(name) else { return };
        self.aliases_by_name.remove(name);
        let Some(names) = self.names_by_key.get_mut(&alias.key) else { return };
        names.remove(name);
        if names.is_empty() {
            self.names_by_key.remove(&alias.key);
        }
    }

    fn forget_record(&mut self, id: KeyId) {
        let Some(record) = self.keys.remove(&id) else { return };
        self.by_age.remove(&record.sort_key());
        if record.is_visible() {
            Arc::make_mut(&mut self.visible).remove(&record.sort_key());
        }
        for version in &record.versions {
            self.by_version.remove(&version.id);
        }
    }
}
