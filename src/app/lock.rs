//! The locks that prevent a second gateway on a store or on a state directory.
//!
//! A lock file has a separate name, which is never renamed or removed: two processes that open the
//! name lock the same file, even after the database or the audit file was renamed. Commands that
//! run next to a gateway do not take these locks.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::store::{NO_LINK, Store};

/// The lock file in a state directory.
const STATE_LOCK: &str = "gateway.lock";
/// The suffix of a SQLite store's lock file, after the name of the database file.
const STORE_LOCK: &str = ".gateway.lock";
/// The maximum number of times that a lock file may be replaced while it is being locked.
const MAX_TRIES: usize = 10;
/// The maximum bytes of a process id and a newline.
const PROCESS_BYTES: u64 = 20;

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another gateway{} is using {}", named(*.process), .what.display())]
    Taken {
        /// The database file or the directory of the lock.
        what: PathBuf,
        /// The process id of the holder, as written in the file.
        process: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock file {}", .path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A locked file, until the value is dropped or the process ends.
#[derive(Debug)]
pub struct ProcessLock {
    _file: File,
}

impl ProcessLock {
    /// Locks the file at `path`, which is created if missing, and writes the id of this process
    /// into it. `what` is the resource of the lock, for the error.
    ///
    /// # Errors
    /// [`LockError::Taken`] at once, when another process holds it; [`LockError::File`] when the
    /// file cannot be created, locked or written.
    pub fn take(path: &Path, what: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::File { path: path.to_owned(), source };
        for _try in 0..MAX_TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.custom_flags(NO_LINK).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let process = holder(&mut file);
                    return Err(LockError::Taken { what: what.to_owned(), process });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Another process may have removed the name meanwhile: the next one would lock another
            // file.
            if is_same_file(&file, path).map_err(failed)? {
                write_process(&mut file, path).map_err(failed)?;
                return Ok(Self { _file: file });
            }
        }
        Err(failed(io::ErrorKind::NotFound.into()))
    }
}

/// The locks of the only gateway on a store and a state directory.
#[derive(Debug)]
pub(super) struct GatewayLocks {
    _state: ProcessLock,
    _store: Option<ProcessLock>,
}

impl GatewayLocks {
    /// Takes both locks. The state directory is created if missing. A store that is not a SQLite
    /// file has no lock.
    ///
    /// # Errors
    /// As [`ProcessLock::take`].
    pub(super) fn take(state_directory: &Path, store_url: &str) -> Result<Self, LockError> {
        let failed = |path: &Path, source| LockError::File { path: path.to_owned(), source };
        create_private(state_directory).map_err(|source| failed(state_directory, source))?;
        let state = ProcessLock::take(&state_directory.join(STATE_LOCK), state_directory)?;
        let store = match Store::file(store_url) {
            Some(database) => {
                let database = real_path(&database).map_err(|source| failed(&database, source))?;
                let mut lock = OsString::from(&database);
                lock.push(STORE_LOCK);
                Some(ProcessLock::take(Path::new(&lock), &database)?)
            }
            None => None,
        };
        Ok(Self { _state: state, _store: store })
    }

    /// Checks that the state directory can be used once it is free.
    ///
    /// # Errors
    /// [`LockError::File`] when it cannot be created or written.
    pub(super) fn check(state_directory: &Path) -> Result<(), LockError> {
        let path = state_directory.join(STATE_LOCK);
        let failed = |source| LockError::File { path: path.clone(), source };
        create_private(state_directory).map_err(failed)?;
        check_writable(state_directory).map_err(failed)?;
        match OpenOptions::new().read(true).write(true).open(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(source)),
            _ => Ok(()),
        }
    }
}

fn create_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Checks that files can be created in a directory.
fn check_writable(directory: &Path) -> io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(CWD, directory, access, AtFlags::EACCESS)?)
}

/// The canonical path of a database, which may not exist yet.
fn real_path(database: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(database), database.parent(), database.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (path, _, _) => path,
    }
}

fn named(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PROCESS_BYTES).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file created by root gets the owner of its directory: the gateway must be able to use it later
/// under its own account.
fn write_process(file: &mut File, path: &Path) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, fs::metadata(path.parent().unwrap_or(path))?);
    let is_root = rustix::process::geteuid().is_root();
    if is_root && (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        fchown(&*file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = ProcessLock::take(&path, directory.path()).unwrap();
        let told = ProcessLock::take(&path, directory.path()).unwrap_err().to_string();
        let id = std::process::id();
        let place = directory.path().display();
        assert_eq!(told, format!("another gateway (process {id}) is using {place}"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(lock);
        ProcessLock::take(&path, directory.path()).unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_refused_and_its_target_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("lock"), directory.path().join("target"));
        fs::write(&target, "of another").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let refused = ProcessLock::take(&path, directory.path()).unwrap_err();
        assert!(matches!(refused, LockError::File { .. }), "{refused:?}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "of another");
    }

    #[test]
    fn a_state_directory_is_checked_without_taking_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        GatewayLocks::check(&state).unwrap();
        let url = format!("sqlite://{}", directory.path().join("a.db").display());
        fs::write(directory.path().join("a.db"), "").unwrap();
        let _locks = GatewayLocks::take(&state, &url).unwrap();
        GatewayLocks::check(&state).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(GatewayLocks::check(&file), Err(LockError::File { .. })));
    }

    #[test]
    fn two_names_of_one_database_have_one_lock_even_before_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (database, link) = (directory.join("a.db"), directory.join("b.db"));
        let other_way = directory.join("way");
        std::os::unix::fs::symlink(directory, &other_way).unwrap();
        let url = |path: &Path| format!("sqlite://{}", path.display());
        let take = |state, path: &Path| GatewayLocks::take(&directory.join(state), &url(path));
        let refused = |path: &Path| matches!(take("other", path), Err(LockError::Taken { .. }));
        let locks = take("one", &database).unwrap();
        assert!(refused(&database) && refused(&other_way.join("a.db")));
        fs::write(&database, "").unwrap();
        std::os::unix::fs::symlink(&database, &link).unwrap();
        assert!(refused(&database) && refused(&link));
        drop(locks);
        take("other", &link).unwrap();
    }
}
