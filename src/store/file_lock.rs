//! Locks a SQLite store between processes: a lock file beside it, shared by all users of the store
//! and exclusive for a process that replaces it. The system releases it with the process.
//!
//! A separate file is used because closing any other handle of the database releases SQLite's own
//! locks on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::StoreError;
use super::files::{NO_LINK, with_suffix};
use crate::model::clock;

/// How long a shared user waits for a process that checks for other users.
const WAIT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);

/// The kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockMode {
    /// Shared with other processes.
    Shared,
    /// No other process may use the store.
    Exclusive,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock of a database file. In shared mode it waits shortly: another process may hold
    /// the lock exclusively to check whether it is the only user. Blocking.
    pub(super) fn acquire(database: &Path, mode: LockMode) -> Result<Self, StoreError> {
        let path = with_suffix(database, ".lock");
        let failed = |source| StoreError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.custom_flags(NO_LINK).open(&path).map_err(failed)?;
        let directory = File::open(path.parent().unwrap_or(&path)).map_err(failed)?;
        change_owner_to_that_of(&file, &directory).map_err(failed)?;
        let end = clock::monotonic() + WAIT;
        let locked = loop {
            let locked = match mode {
                LockMode::Shared => file.try_lock_shared(),
                LockMode::Exclusive => file.try_lock(),
            };
            let is_taken = matches!(locked, Err(TryLockError::WouldBlock));
            if !is_taken || mode == LockMode::Exclusive || clock::monotonic() >= end {
                break locked;
            }
            thread::sleep(POLL);
        };
        locked.map(|()| Self { file }).map_err(|error| of_lock(error, database))
    }

    /// Whether no other process holds the lock now. The lock is shared afterwards.
    pub(super) fn is_only_user(&self, database: &Path) -> Result<bool, StoreError> {
        let is_only_user = match self.file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(error) => return Err(of_lock(error, database)),
        };
        // It is taken if another process began to replace the store between the two calls.
        let shared = self.file.try_lock_shared().map_err(|error| of_lock(error, database));
        shared.map(|()| is_only_user)
    }
}

fn of_lock(error: TryLockError, database: &Path) -> StoreError {
    match error {
        TryLockError::WouldBlock => StoreError::InUseElsewhere(database.display().to_string()),
        TryLockError::Error(source) => {
            StoreError::File { path: with_suffix(database, ".lock"), source }
        }
    }
}

/// Gives a file that root created to the owner of its directory: the gateway must be able to use
/// what an operator repaired as root. SQLite does the same with its files.
pub(super) fn change_owner_to_that_of(file: &File, directory: &File) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, directory.metadata()?);
    let is_root = rustix::process::geteuid().is_root();
    if is_root && (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        fchown(file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::LockedStore;
    use crate::store::tests::{Bench, open};

    #[tokio::test]
    async fn a_shared_store_refuses_an_exclusive_lock() {
        let bench = Bench::on_file().await;
        assert!(bench.store.is_only_user().await.unwrap());
        let other = open(&bench.url).await.unwrap();
        assert!(!bench.store.is_only_user().await.unwrap());
        let refused = LockedStore::open_exclusive(&bench.url).await.err().unwrap();
        assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
        drop(other);
        assert!(bench.store.is_only_user().await.unwrap());
        let Bench { store, url, database: _database } = bench;
        drop(store);
        let alone = LockedStore::open_exclusive(&url).await.unwrap();
        let refused = open(&url).await.err().unwrap();
        assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
        drop(alone);
        open(&url).await.unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_refused_and_its_target_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let [database, target] = ["hsmgate.db", "target"].map(|name| directory.path().join(name));
        std::fs::write(&target, "of another").unwrap();
        std::os::unix::fs::symlink(&target, with_suffix(&database, ".lock")).unwrap();
        let refused = FileLock::acquire(&database, LockMode::Shared).err().unwrap();
        assert!(matches!(refused, StoreError::File { .. }), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "of another");
    }

    #[test]
    fn a_check_for_other_users_does_not_refuse_a_shared_lock() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("hsmgate.db");
        let lock = FileLock::acquire(&database, LockMode::Shared).unwrap();
        let is_over = AtomicBool::new(false);
        let is_never_refused = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    lock.is_only_user(&database).unwrap();
                }
            });
            let mut taken = (0..300).map(|_time| FileLock::acquire(&database, LockMode::Shared));
            let is_never_refused = taken.all(|taken| taken.is_ok());
            is_over.store(true, Ordering::Relaxed);
            is_never_refused
        });
        assert!(is_never_refused);
    }
}
