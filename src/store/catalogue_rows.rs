//! Reads the rows of the catalogue: all of them, or those of some groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::aliases::read_alias;
use super::catalogue::{AliasRecord, Catalogue, CatalogueSecret};
use super::document_cache::DocumentCache;
use super::key_answers::read_answer;
use super::keys::KeyRows;
use super::row_group::{RowGroup, Selected};
use super::scope_reading::{ScopeCheck, ScopeReading, TableRows};
use super::tables::{
    ALIASES, DOCUMENTS, KEY_ANSWERS, KEYS, SECRET_TOMBSTONES, SECRETS, TOMBSTONES,
};
use super::{DamagedRow, StoreError, documents, secrets};
use crate::model::{KeyAnswer, KeyRecord, KeyVersionId};

/// The rows as they were read.
pub(super) struct CatalogueRows {
    keys: KeyRows,
    answers: TableRows,
    aliases: TableRows,
    documents: TableRows,
    tombstones: TableRows,
    secrets: TableRows,
    secret_tombstones: TableRows,
}

/// What the rows that may be used say.
pub(super) struct CatalogueRecords {
    pub(super) keys: Vec<KeyRecord>,
    answers: Vec<(KeyVersionId, KeyAnswer)>,
    aliases: Vec<AliasRecord>,
    documents: DocumentCache,
    secrets: Vec<CatalogueSecret>,
}

impl CatalogueRows {
    /// Reads rows.
    pub(super) async fn read(
        reading: &mut ScopeReading<'_>,
        selected: &Selected<'_>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            keys: KeyRows::read(reading, selected).await?,
            answers: reading.selected_rows(&KEY_ANSWERS, selected, "").await?,
            aliases: reading.selected_rows(&ALIASES, selected, "").await?,
            documents: reading.selected_rows(&DOCUMENTS, selected, "").await?,
            tombstones: reading.selected_rows(&TOMBSTONES, selected, "").await?,
            secrets: reading.selected_rows(&SECRETS, selected, "").await?,
            secret_tombstones: reading.selected_rows(&SECRET_TOMBSTONES, selected, "").await?,
        })
    }

    /// The number of rows.
    pub(super) fn count(&self) -> usize {
        let tables = [
            &self.answers,
            &self.aliases,
            &self.documents,
            &self.tombstones,
            &self.secrets,
            &self.secret_tombstones,
        ];
        self.keys.count() + tables.map(TableRows::count).iter().sum::<usize>()
    }

    /// Reads each row that may be used, and returns the others.
    pub(super) fn load(
        self,
        check: &ScopeCheck,
    ) -> Result<(CatalogueRecords, Vec<DamagedRow>), StoreError> {
        let keys = self.keys.load(check)?;
        let answers = self.answers.read(check, read_answer)?;
        let aliases = self.aliases.read(check, read_alias)?;
        let (documents, damaged_documents) = documents::load(self.documents, check)?;
        let tombstones = self.tombstones.read(check, |_row| Ok(()))?;
        let secrets = self.secrets.read(check, secrets::read_secret)?;
        let secret_tombstones = self.secret_tombstones.read(check, |_row| Ok(()))?;
        let damaged = [
            keys.damaged,
            answers.damaged,
            aliases.damaged,
            damaged_documents,
            tombstones.damaged,
            secrets.damaged,
            secret_tombstones.damaged,
        ];
        let (keys, aliases, secrets) = (keys.whole, aliases.whole, secrets.whole);
        let answers = answers.whole.into_iter().flatten().collect();
        Ok((CatalogueRecords { keys, answers, aliases, documents, secrets }, damaged.concat()))
    }
}

impl CatalogueRecords {
    /// Puts the records of all rows into an empty catalogue.
    pub(super) fn fill(self, catalogue: &mut Catalogue) {
        catalogue.put_all(self.keys, self.aliases);
        put_answers(catalogue, self.answers);
        catalogue.documents = self.documents;
        catalogue.secrets = self.secrets.into_iter().map(CatalogueSecret::into_entry).collect();
    }

    /// Replaces what the catalogue has of these groups.
    pub(super) fn replace(self, catalogue: &mut Catalogue, groups: &BTreeSet<RowGroup>) {
        for group in groups {
            forget(catalogue, group);
        }
        for key in self.keys {
            catalogue.put_key(&Arc::new(key));
        }
        put_answers(catalogue, self.answers);
        for alias in self.aliases {
            catalogue.put_alias(alias);
        }
        catalogue.documents.extend(self.documents);
        catalogue.secrets.extend(self.secrets.into_iter().map(CatalogueSecret::into_entry));
    }
}

/// Puts answers into the catalogue. One of a key that an earlier program has deleted is left.
fn put_answers(catalogue: &mut Catalogue, answers: Vec<(KeyVersionId, KeyAnswer)>) {
    for (version, answer) in answers {
        if catalogue.key_of_version(version).is_some() {
            catalogue.put_answer(version, answer);
        }
    }
}

/// Removes what the catalogue has of a group. A name that cannot be read names nothing in memory.
fn forget(catalogue: &mut Catalogue, group: &RowGroup) {
    let texts = group.texts();
    let Some(name) = texts.first() else { return };
    if group.name() == KEYS.name {
        if let Ok(id) = name.parse() {
            catalogue.forget_key(id);
        }
    } else if group.name() == ALIASES.name {
        if let Ok(name) = name.parse() {
            catalogue.remove_alias(&name);
        }
    } else if group.name() == SECRETS.name {
        catalogue.secrets.remove(name.as_str());
    } else if group.name() == DOCUMENTS.name
        && let Some(kind) = texts.get(1)
    {
        catalogue.documents.remove(kind, name);
    }
}
