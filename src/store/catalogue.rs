//! The catalogue of keys, aliases and documents in memory. It knows nothing of SQL.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::AliasRecord;
use super::document_cache::DocumentCache;
use crate::model::{Alias, KeyId, KeyRecord, KeyVersionId, Time};

/// Keys by id, by version and by age; aliases by name and by key; documents by name.
#[derive(Default)]
pub(super) struct Catalogue {
    keys: HashMap<KeyId, Arc<KeyRecord>>,
    by_version: HashMap<KeyVersionId, KeyId>,
    by_age: BTreeMap<(Time, KeyId), Arc<KeyRecord>>,
    aliases: BTreeMap<Alias, AliasRecord>,
    names_by_key: HashMap<KeyId, BTreeSet<Alias>>,
    document_cache: DocumentCache,
    /// How many changes of the database it holds.
    revision: i64,
}

impl Catalogue {
    /// Of this revision, still without anything in it.
    pub(super) fn of(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// How many changes of the database it holds.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes notice of a change that it now holds, and that made the database's revision this.
    /// With a change of another process in between it stays behind, until it is read anew.
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

    /// By rising time of creation, then id.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.by_age.values()
    }

    pub(super) fn alias(&self, name: &Alias) -> Option<&AliasRecord> {
        self.aliases.get(name)
    }

    /// By rising name.
    pub(super) fn aliases(&self) -> impl Iterator<Item = &AliasRecord> {
        self.aliases.values()
    }

    /// Those of one key, by rising name.
    pub(super) fn aliases_of(&self, key: KeyId) -> impl Iterator<Item = &AliasRecord> {
        let names = self.names_by_key.get(&key).into_iter().flatten();
        names.filter_map(|name| self.aliases.get(name))
    }

    /// Takes a record in place of the one with its id, if there is one.
    pub(super) fn put_key(&mut self, record: &Arc<KeyRecord>) {
        self.forget_record(record.id);
        for version in &record.versions {
            self.by_version.insert(version.id, record.id);
        }
        self.by_age.insert((record.created, record.id), Arc::clone(record));
        self.keys.insert(record.id, Arc::clone(record));
    }

    /// Forgets a key and its aliases.
    pub(super) fn remove_key(&mut self, id: KeyId) {
        self.forget_record(id);
        for name in self.names_by_key.remove(&id).unwrap_or_default() {
            self.aliases.remove(&name);
        }
    }

    /// Takes an alias in place of the one with its name, if there is one.
    pub(super) fn put_alias(&mut self, alias: AliasRecord) {
        self.remove_alias(&alias.name);
        self.names_by_key.entry(alias.key).or_default().insert(alias.name.clone());
        self.aliases.insert(alias.name.clone(), alias);
    }

    /// Forgets an alias.
    pub(super) fn remove_alias(&mut self, name: &Alias) {
        let Some(alias) = self.aliases.remove(name) else { return };
        let Some(names) = self.names_by_key.get_mut(&alias.key) else { return };
        names.remove(name);
        if names.is_empty() {
            self.names_by_key.remove(&alias.key);
        }
    }

    pub(super) fn document_cache(&self) -> &DocumentCache {
        &self.document_cache
    }

    pub(super) fn document_cache_mut(&mut self) -> &mut DocumentCache {
        &mut self.document_cache
    }

    fn forget_record(&mut self, id: KeyId) {
        let Some(record) = self.keys.remove(&id) else { return };
        self.by_age.remove(&(record.created, id));
        for version in &record.versions {
            self.by_version.remove(&version.id);
        }
    }
}
