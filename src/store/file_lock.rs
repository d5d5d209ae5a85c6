//! Who uses a SQLite store: a lock on a file beside it, shared by all processes that have it open,
//! and held alone by the one that replaces it. The system frees it with the process.
//!
//! It is a file of its own, since SQLite's locks on the database end with any other handle that
//! the process closes.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;

/// How long somebody who shares a store may wait for one who only looks.
const WAIT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);

/// How a store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockMode {
    /// Beside others.
    Shared,
    /// With nobody else.
    Exclusive,
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock of a database file. To share it, it waits a moment: another user may be finding
    /// out whether it is alone, which it can only by having the lock alone. Blocking.
    pub(super) fn acquire(database: &Path, mode: LockMode) -> Result<Self, StoreError> {
        let path = lock_path(database);
        let failed = |source| StoreError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        let directory = File::open(path.parent().unwrap_or(&path)).map_err(failed)?;
        change_owner_to_that_of(&file, &directory).map_err(failed)?;
        let end = Instant::now() + WAIT;
        let locked = loop {
            let locked = match mode {
                LockMode::Shared => file.try_lock_shared(),
                LockMode::Exclusive => file.try_lock(),
            };
            let is_taken = matches!(locked, Err(TryLockError::WouldBlock));
            if !is_taken || mode == LockMode::Exclusive || Instant::now() >= end {
                break locked;
            }
            thread::sleep(POLL);
        };
        match locked {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUseElsewhere(database.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Whether nobody else holds it now; it is shared afterwards.
    pub(super) fn is_only_user(&self, database: &Path) -> Result<bool, StoreError> {
        let failed = |source| StoreError::File { path: lock_path(database), source };
        let is_only_user = match self.file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        };
        match self.file.try_lock_shared() {
            Ok(()) => Ok(is_only_user),
            // Somebody began to replace the store in the moment between the two.
            Err(TryLockError::WouldBlock) => Err(StoreError::InUseElsewhere(database.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Gives a file that root has made to the owner of its directory: the gateway must be able to use
/// what an operator has repaired as root. SQLite does the same with its own files.
pub(super) fn change_owner_to_that_of(file: &File, directory: &File) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, directory.metadata()?);
    let is_root = rustix::process::geteuid().is_root();
    if is_root && (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        fchown(file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    Ok(())
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::Store;
    use crate::store::tests::Bench;

    #[tokio::test]
    async fn a_store_is_shared_until_somebody_wants_it_alone() {
        let bench = Bench::new().await;
        assert!(bench.store.is_only_user().await.unwrap());
        let other = Store::open(&bench.url).await.unwrap();
        assert!(!bench.store.is_only_user().await.unwrap());
        let refused = Store::open_exclusive(&bench.url).await.err().unwrap();
        assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
        drop(other);
        assert!(bench.store.is_only_user().await.unwrap());
        let Bench { store, url, _directory } = bench;
        drop(store);
        let alone = Store::open_exclusive(&url).await.unwrap();
        let refused = Store::open(&url).await.err().unwrap();
        assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
        drop(alone);
        Store::open(&url).await.unwrap();
    }

    #[test]
    fn nobody_is_refused_because_another_one_looks_whether_it_is_alone() {
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
