//! Detects that the open database was reset to an older state, or exchanged for another one, by
//! overwriting the file. The file is then still the same inode and intact.
//!
//! Changes that this process acknowledged are then missing on disk. The database is neither read
//! nor written until a restart.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use parking_lot::Mutex;
use sqlx::{Connection as _, SqliteConnection};

use super::row::Scope;
use super::scope_reading::PartRevisions;
use super::tables::CATALOGUE_REVISION;
use super::{Inner, Store, StoreError, check};

/// The metadata entry with the instance id.
const INSTANCE_ID: &str = "instance-id";
/// The state of the file, in an error.
const OLDER: &str = "holds an older state of the database in use";
const ANOTHER: &str = "holds the database of another instance";
const LACKS_KEYS: &str = "lacks keys that were in the database";

/// The last seen state of the database.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    /// The instance id, once it is set.
    instance: Mutex<Option<String>>,
    /// The highest revision of principals and AccessKeys.
    access: Mutex<i64>,
    /// The highest revision of each part of each scope.
    parts: Mutex<BTreeMap<Scope, PartRevisions>>,
}

impl LastSeen {
    /// The highest revisions of the parts of a scope.
    pub(super) fn revisions(&self, scope: Scope) -> PartRevisions {
        self.parts.lock().get(&scope).cloned().unwrap_or_default()
    }

    /// Records the revisions of the parts of a scope that were read, or written and committed.
    pub(super) fn note_revisions(&self, scope: Scope, read: &PartRevisions) {
        let mut parts = self.parts.lock();
        let known = parts.entry(scope).or_default();
        for (part, revision) in read {
            let highest = known.entry(*part).or_insert(*revision);
            *highest = (*highest).max(*revision);
        }
    }

    /// Accepts all revisions that are read next, whatever they are.
    pub(super) fn forget_all(&self) {
        self.forget_revisions();
        *self.access.lock() = 0;
    }

    /// Accepts the revisions that are read next, whatever they are: an operator signed the store.
    pub(super) fn forget_revisions(&self) {
        self.parts.lock().clear();
    }
}

/// The state of the file, read through a new connection without a cache.
struct OnDisk {
    /// `None` if it is not a number.
    revision: Option<i64>,
    instance: Option<String>,
    keys: HashSet<String>,
}

impl Store {
    /// How the file is older than memory or belongs to another instance, if so. A file that cannot
    /// be read gives no result.
    pub(super) async fn detect_rollback(&self, path: &Path) -> Option<&'static str> {
        let (revision, keys) = {
            let catalogue = self.inner.catalogue.read();
            let keys: Vec<String> = catalogue.keys().iter().map(|key| key.id.to_string()).collect();
            (catalogue.revision(), keys)
        };
        let found = read(path).await.ok()?;
        if self.is_another_instance(found.instance) {
            return Some(ANOTHER);
        }
        match found.revision {
            Some(on_disk) if on_disk < revision => Some(OLDER),
            // Part of the newer state may still be in the WAL.
            Some(on_disk) if on_disk == revision => {
                let is_whole = keys.iter().all(|key| found.keys.contains(key));
                (!is_whole).then_some(LACKS_KEYS)
            }
            _ => None,
        }
    }

    fn is_another_instance(&self, found: Option<String>) -> bool {
        let mut known = self.inner.last_seen.instance.lock();
        match (&*known, found) {
            (Some(known), found) => found.as_ref() != Some(known),
            (None, found) => {
                *known = found;
                false
            }
        }
    }
}

impl Inner {
    /// Marks the file as rolled back. Only a restart clears the mark.
    pub(super) fn note_rollback(&self, path: &Path, what: &'static str) -> StoreError {
        let lost = StoreError::FileLost { path: path.to_owned(), what: what.to_owned() };
        self.health.note_rollback(what);
        self.health.note_file(Some(lost.to_string()));
        lost
    }

    /// Fails if a revision is lower than one seen before.
    ///
    /// # Errors
    /// [`StoreError::FileLost`].
    pub(super) fn require_no_rollback(&self, known: i64, found: i64) -> Result<(), StoreError> {
        match &self.database.files {
            Some(files) if found < known => Err(self.note_rollback(files.path(), OLDER)),
            _ => Ok(()),
        }
    }

    /// The highest revision of principals and AccessKeys that was read. It must be read before the
    /// revision that is compared with it.
    pub(super) fn last_access_revision(&self) -> i64 {
        *self.last_seen.access.lock()
    }

    /// As [`Inner::require_no_rollback`], for principals and AccessKeys.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check_access_revision(
        &self,
        known: i64,
        found: Option<i64>,
    ) -> Result<(), StoreError> {
        match found {
            Some(found) => {
                self.require_no_rollback(known, found)?;
                let mut last_seen = self.last_seen.access.lock();
                *last_seen = found.max(*last_seen);
            }
            // The counter was damaged and restarts.
            None => *self.last_seen.access.lock() = 0,
        }
        Ok(())
    }
}

async fn read(path: &Path) -> Result<OnDisk, sqlx::Error> {
    let mut connection = check::connect(path, true).await?;
    let found = read_from(&mut connection).await;
    connection.close().await?;
    found
}

async fn read_from(connection: &mut SqliteConnection) -> Result<OnDisk, sqlx::Error> {
    // One snapshot for all three reads.
    let mut reading = connection.begin().await?;
    let mut metadata = async |name: &'static str| -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT value FROM facts WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *reading)
            .await
    };
    let revision = metadata(CATALOGUE_REVISION).await?.map_or(Some(0), |count| count.parse().ok());
    let instance = metadata(INSTANCE_ID).await?;
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT id FROM keys").fetch_all(&mut *reading).await?;
    reading.rollback().await?;
    Ok(OnDisk { revision, instance, keys: keys.into_iter().collect() })
}
