//! SQL for what key versions answer.

use std::str::FromStr as _;

use sqlx::any::AnyRow;

use super::catalogue::Catalogue;
use super::tables::KEY_ANSWERS;
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{KeyAnswer, KeyId, KeyVersionId};

/// The number of answers that are stored in one transaction.
const STORED_TOGETHER: usize = 100;

/// What a version of a key answers, as a token said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedAnswer {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: KeyVersionId,
    /// The answer.
    pub answer: KeyAnswer,
}

impl Store {
    /// What a key version answers, if it is known. Without I/O.
    pub fn key_answer(&self, version: KeyVersionId) -> Option<KeyAnswer> {
        self.inner.catalogue.read().answer(version).cloned()
    }

    /// Stores what live versions answer, except where the database knows it already: another gateway may have
    /// learned it meanwhile. Returns the versions of which it knows another answer.
    ///
    /// # Errors
    /// When the database cannot be written; some may be stored then.
    pub async fn store_answers(
        &self,
        learned: &[LearnedAnswer],
    ) -> Result<Vec<LearnedAnswer>, StoreError> {
        let mut others = Vec::new();
        let mut learned = learned.to_vec();
        // Two gateways that lock rows in one order wait for each other, and cannot block each other.
        learned.sort_unstable_by_key(|one| (one.key, one.version));
        for together in learned.chunks(STORED_TOGETHER) {
            let mut write = self.write_record().await?;
            let mut known = Vec::with_capacity(together.len());
            for one in together {
                let stored = write.store_answer(one).await?;
                if stored.as_ref().is_some_and(|stored| *stored != one.answer) {
                    others.push(one.clone());
                }
                known.extend(stored.map(|stored| (one.version, stored)));
            }
            let remember = move |catalogue: &mut Catalogue| {
                for (version, answer) in known {
                    catalogue.put_answer(version, answer);
                }
            };
            write.commit(remember).await?;
        }
        Ok(others)
    }
}

impl Write {
    /// Stores what a version answers, unless it is known. Returns what the database has then; `None` if the
    /// row cannot be used or the version does not exist.
    async fn store_answer(
        &mut self,
        learned: &LearnedAnswer,
    ) -> Result<Option<KeyAnswer>, StoreError> {
        let LearnedAnswer { key, version, answer } = learned;
        let record = match self.lock_key(*key).await {
            Ok(record) => record,
            Err(StoreError::NotFound | StoreError::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if record.version(*version).is_none() {
            return Ok(None);
        }
        match self.lock_row(&KEY_ANSWERS, &[version.to_string().into()]).await {
            Ok(Some((row, _stored))) => {
                read_answer(&row).map(|read| read.map(|(_id, known)| known))
            }
            Ok(None) => {
                self.insert_row(&KEY_ANSWERS, values(*key, *version, answer)).await?;
                Ok(Some(answer.clone()))
            }
            // It is reported as damaged, and stays.
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores what a version answers, whatever the database has.
    pub(super) async fn put_answer(
        &mut self,
        key: KeyId,
        version: KeyVersionId,
        answer: &KeyAnswer,
    ) -> Result<(), StoreError> {
        self.put_row(&KEY_ANSWERS, values(key, version, answer)).await
    }
}

/// The values of a row, in the order of [`KEY_ANSWERS`].
fn values(key: KeyId, version: KeyVersionId, answer: &KeyAnswer) -> Vec<Value> {
    vec![version.to_string().into(), key.to_string().into(), answer.to_string().into()]
}

/// Reads an answer with its version. `None` for one of a kind that only a later program knows.
pub(super) fn read_answer(row: &AnyRow) -> Result<Option<(KeyVersionId, KeyAnswer)>, StoreError> {
    let fields = KEY_ANSWERS.fields(row);
    let version = fields.parsed("version_id")?;
    let text: String = fields.get("answer")?;
    Ok(KeyAnswer::from_str(&text).ok().map(|answer| (version, answer)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{AnswerKind, KeyRecord};
    use crate::store::tests::{Bench, open, sample_key};

    /// Stores answers of all live versions.
    pub(in super::super) async fn store_sample_answers(store: &Store) {
        let keys = store.keys();
        let versions = keys.iter().flat_map(|key| key.live_versions().map(|one| (key.id, one.id)));
        let answer = KeyAnswer::digest(AnswerKind::AesBlock, b"sample");
        let learned = versions.map(|(key, version)| {
            let answer = answer.clone();
            LearnedAnswer { key, version, answer }
        });
        assert_eq!(store.store_answers(&learned.collect::<Vec<_>>()).await.unwrap(), []);
    }

    fn learned(key: &KeyRecord, at: usize, text: &[u8]) -> LearnedAnswer {
        let answer = KeyAnswer::digest(AnswerKind::AesBlock, text);
        LearnedAnswer { key: key.id, version: key.versions[at].id, answer }
    }

    #[tokio::test]
    async fn the_first_answer_of_a_version_stays_and_others_are_returned() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let live = key.versions.iter().position(|version| version.is_live).unwrap();
        let first = learned(&key, live, b"first");
        let there = open(&bench.url).await.unwrap();
        assert_eq!(bench.store.store_answers(std::slice::from_ref(&first)).await.unwrap(), []);
        // Another process that has not read it.
        let second = learned(&key, live, b"second");
        let others = there.store_answers(std::slice::from_ref(&second)).await.unwrap();
        assert_eq!(others, [second]);
        for store in [&bench.store, &there, &open(&bench.url).await.unwrap()] {
            assert_eq!(store.key_answer(first.version), Some(first.answer.clone()));
        }
        let unknown = LearnedAnswer { version: KeyVersionId::random(), ..first.clone() };
        assert_eq!(there.store_answers(&[unknown]).await.unwrap(), []);
        // The answer is that of the version, whatever the key's other columns.
        let clear = |key: &mut KeyRecord| {
            key.description.clear();
            Ok::<_, StoreError>(())
        };
        bench.store.change_key(key.id, clear).await.unwrap();
        assert_eq!(bench.store.key_answer(first.version), Some(first.answer.clone()));
        bench.assert_disk_is_memory().await;
        bench.store.remove_key(key.id).await.unwrap();
        assert_eq!(bench.store.key_answer(first.version), None);
        assert_eq!(rows(&bench).await, 0);
    }

    #[tokio::test]
    async fn a_row_that_was_changed_or_moved_is_not_used_and_one_of_a_later_kind_is_ignored() {
        for (sql, damaged) in [
            ("UPDATE key_answers SET answer = 'aes-block:00'", 1),
            ("UPDATE key_answers SET key_id = 'key-hzz630494463ejqjx1234'", 1),
            ("DELETE FROM key_answers", 0),
        ] {
            let bench = Bench::new().await;
            let key = bench.store.insert_key(sample_key()).await.unwrap();
            let live = key.versions.iter().position(|version| version.is_live).unwrap();
            let first = learned(&key, live, b"first");
            bench.store.store_answers(std::slice::from_ref(&first)).await.unwrap();
            bench.tamper(sql).await;
            let again = open(&bench.url).await.unwrap();
            assert_eq!(again.key_answer(first.version), None, "{sql}");
            assert_eq!(again.damaged_rows().len(), damaged, "{sql}");
            assert_eq!(again.keys(), [key], "{sql}");
        }
    }

    async fn rows(bench: &Bench) -> i64 {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM key_answers");
        count.fetch_one(&*bench.store.inner.database.pool).await.unwrap()
    }
}
