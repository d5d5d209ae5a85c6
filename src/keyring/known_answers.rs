//! What key versions answer: the database knows it, tokens are compared with it, and what a token answered
//! first is stored.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Keyring, KeyringError, identity};
use crate::model::{KeyAnswer, KeyVersionId};
use crate::store::{LearnedAnswer, Store};
use crate::token::KnownAnswers;

/// The answers in the database, and those that are not stored yet.
pub(super) struct StoredAnswers {
    store: Store,
    learned: Mutex<HashMap<KeyVersionId, KeyAnswer>>,
}

impl StoredAnswers {
    pub(super) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store, learned: Mutex::default() })
    }

    /// Takes the answer that a token gave for a new version, to be stored with it.
    pub(super) fn take(&self, version: KeyVersionId) -> Option<(KeyVersionId, KeyAnswer)> {
        self.learned.lock().remove_entry(&version)
    }
}

impl KnownAnswers for StoredAnswers {
    fn answer(&self, version: KeyVersionId) -> Option<KeyAnswer> {
        let stored = self.store.key_answer(version);
        stored.or_else(|| self.learned.lock().get(&version).cloned())
    }

    fn learn(&self, version: KeyVersionId, answer: KeyAnswer) {
        if self.store.key_answer(version).is_none() {
            self.learned.lock().entry(version).or_insert(answer);
        }
    }
}

impl Keyring {
    /// Stores what tokens answered for versions whose answer was not known. If another gateway has stored
    /// another answer meanwhile, the key is compared again.
    ///
    /// # Errors
    /// When the store fails; the next call continues.
    pub async fn store_learned_answers(&self) -> Result<(), KeyringError> {
        if self.store.is_standby() {
            return Ok(());
        }
        let learned: Vec<_> = {
            let learned = self.answers.learned.lock();
            learned.iter().filter_map(|one| self.learned_of_live_version(one)).collect()
        };
        if learned.is_empty() {
            return Ok(());
        }
        let others = self.store.store_answers(&learned).await?;
        let mut waiting = self.answers.learned.lock();
        for LearnedAnswer { version, .. } in &learned {
            waiting.remove(version);
        }
        drop(waiting);
        for LearnedAnswer { version: id, .. } in others {
            let Some(record) = self.store.key_of_version(id) else { continue };
            if let Some(version) = record.version(id) {
                self.token.compare_again(identity(&record, version));
            }
        }
        Ok(())
    }

    /// Those of versions that are not live yet are stored with them.
    fn learned_of_live_version(
        &self,
        (version, answer): (&KeyVersionId, &KeyAnswer),
    ) -> Option<LearnedAnswer> {
        let record = self.store.key_of_version(*version)?;
        record.version(*version)?;
        Some(LearnedAnswer { key: record.id, version: *version, answer: answer.clone() })
    }
}
