//! Notices that the database was put back to an older state, or exchanged for another one, while it is
//! open: by somebody who has written over the file, which stays the same file and is whole.
//!
//! What this process has acknowledged is gone from the disk then. Nothing is read from such a database
//! and nothing is written to it, until a restart takes it for what it is.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{Connection as _, SqliteConnection};

use super::refresh::REVISION;
use super::{Inner, Store, StoreError, check};

/// The fact that names the instance.
const INSTANCE_ID: &str = "instance-id";
/// What the file is, in an error.
const OLDER: &str = "holds an older state of the database than the one that is in use";
const ANOTHER: &str = "holds the database of another instance than the one that is in use";
const LACKS_KEYS: &str = "lacks keys that were in the database";

/// What the database was seen to be.
#[derive(Debug, Default)]
pub(super) struct LastSeen {
    /// The instance, once it has a name.
    instance: Mutex<Option<String>>,
    /// The highest count of changes of principals and AccessKeys.
    access: Mutex<i64>,
}

/// What a look at the file finds, with a connection that knows nothing of it yet.
struct OnDisk {
    /// None where it is no number.
    revision: Option<i64>,
    instance: Option<String>,
    keys: HashSet<String>,
}

impl Store {
    /// What is older or another in the file than in memory, if anything. A file that cannot be read
    /// tells nothing.
    pub(super) async fn detect_rollback(&self, path: &Path) -> Option<&'static str> {
        let (revision, keys) = {
            let catalogue = self.inner.catalogue();
            let keys: Vec<String> = catalogue.keys().map(|key| key.id.to_string()).collect();
            (catalogue.revision(), keys)
        };
        let found = read(path).await.ok()?;
        if self.is_another_instance(found.instance) {
            return Some(ANOTHER);
        }
        match found.revision {
            Some(on_disk) if on_disk < revision => Some(OLDER),
            // Part of the newer state may still be in the log.
            Some(on_disk) if on_disk == revision => {
                let is_whole = keys.iter().all(|key| found.keys.contains(key));
                (!is_whole).then_some(LACKS_KEYS)
            }
            _ => None,
        }
    }

    fn is_another_instance(&self, found: Option<String>) -> bool {
        let mut known = locked(&self.inner.last_seen.instance);
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
    /// Takes the file for one of an older state, for good.
    pub(super) fn note_rollback(&self, path: &Path, what: &'static str) -> StoreError {
        let lost = StoreError::FileLost { path: path.to_owned(), what: what.to_owned() };
        self.health.note_rollback(what);
        self.health.note_file(Some(lost.to_string()));
        lost
    }

    /// Refuses a count of changes that is lower than one that was seen.
    ///
    /// # Errors
    /// [`StoreError::FileLost`].
    pub(super) fn require_no_rollback(&self, known: i64, found: i64) -> Result<(), StoreError> {
        match &self.files {
            Some(files) if found < known => Err(self.note_rollback(files.path(), OLDER)),
            _ => Ok(()),
        }
    }

    /// The highest count of changes of principals and AccessKeys that was read. It has to be asked
    /// before the count is read that is held against it.
    pub(super) fn last_access_revision(&self) -> i64 {
        *locked(&self.last_seen.access)
    }

    /// As [`Inner::require_no_older`], for principals and AccessKeys.
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
                let mut last_seen = locked(&self.last_seen.access);
                *last_seen = found.max(*last_seen);
            }
            // It is counted anew.
            None => *locked(&self.last_seen.access) = 0,
        }
        Ok(())
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in, so that a poisoned lock still guards good data.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(path: &Path) -> Result<OnDisk, sqlx::Error> {
    let mut connection = check::connect(path, true).await?;
    let found = read_from(&mut connection).await;
    connection.close().await?;
    found
}

async fn read_from(connection: &mut SqliteConnection) -> Result<OnDisk, sqlx::Error> {
    // One state of all three.
    let mut reading = connection.begin().await?;
    let mut metadata = async |name: &'static str| -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT value FROM facts WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *reading)
            .await
    };
    let revision = metadata(REVISION).await?.map_or(Some(0), |count| count.parse().ok());
    let instance = metadata(INSTANCE_ID).await?;
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT id FROM keys").fetch_all(&mut *reading).await?;
    reading.rollback().await?;
    Ok(OnDisk { revision, instance, keys: keys.into_iter().collect() })
}
