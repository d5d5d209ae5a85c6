//! Changes the user PIN of the token and its file. A kill at any instant leaves a file with the PIN that
//! the token accepts: the new PIN is in a second file before the token has it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::{ErrorClass, TokenError};
use crate::config::{SecretError, read_pin_file};

/// The end of the name of the second file.
const NEXT: &str = ".next";

/// A change of the user PIN.
#[derive(Debug)]
pub struct PinChange {
    file: PathBuf,
    old: SecretString,
    new: SecretString,
}

/// Why the PIN was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PinChangeError {
    /// A PIN cannot be read.
    #[error("cannot read a PIN")]
    Read(#[from] SecretError),
    /// The new PIN is the present one.
    #[error("the new PIN is the present PIN")]
    Same,
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
}

impl PinChange {
    /// Writes the new PIN beside the file of the present one.
    ///
    /// # Errors
    /// When a PIN cannot be read, both are equal, or the file cannot be written.
    pub fn prepare(file: &Path, new: SecretString) -> Result<Self, PinChangeError> {
        let old = read_pin_file(file)?;
        if old.expose_secret() == new.expose_secret() {
            return Err(PinChangeError::Same);
        }
        let next = next_file(file);
        write_like(&next, file, &new)
            .map_err(|source| PinChangeError::File { path: next, source })?;
        Ok(Self { file: file.to_owned(), old, new })
    }

    /// Replaces the file of the PIN, after the token has accepted the new one.
    ///
    /// # Errors
    /// When the file cannot be replaced. The next login completes it.
    pub fn complete(self) -> Result<(), PinChangeError> {
        complete(&self.file)
            .map_err(|source| PinChangeError::File { path: self.file.clone(), source })
    }

    /// Removes the new PIN, after the token has refused it. If the answer of the token is not known, both
    /// files stay, and the next login finds out which is right.
    pub fn abandon(&self, error: &TokenError) {
        if matches!(
            error.class(),
            ErrorClass::Pin | ErrorClass::BadInput | ErrorClass::Configuration
        ) {
            self.cancel();
        }
    }

    /// Removes the new PIN, before the token has it.
    pub fn cancel(&self) {
        // It stays if it cannot be removed, which does no harm: the present PIN is tried first.
        let _ = fs::remove_file(next_file(&self.file));
    }

    /// The present PIN and the new one.
    pub fn pins(&self) -> (SecretString, SecretString) {
        (self.old.clone(), self.new.clone())
    }
}

/// Logs in with the PIN in the file, or with the one that was read at the start if the file cannot be
/// read. If the token refuses it, and a change of the PIN was interrupted, the new PIN is tried once.
pub(super) fn log_in(
    at_start: &SecretString,
    file: Option<&Path>,
    try_pin: impl Fn(&SecretString) -> Result<(), TokenError>,
) -> Result<(), TokenError> {
    let Some(file) = file else { return try_pin(at_start) };
    let present = read_pin_file(file).unwrap_or_else(|_unreadable| at_start.clone());
    let refused = match try_pin(&present) {
        Err(error) if error.class() == ErrorClass::Pin => error,
        done => return done,
    };
    let Ok(next) = read_pin_file(&next_file(file)) else { return Err(refused) };
    if next.expose_secret() == present.expose_secret() || try_pin(&next).is_err() {
        return Err(refused);
    }
    match complete(file) {
        Ok(()) => tracing::info!(
            event = "token.pin_change_completed",
            "the token has the new PIN of an interrupted change; its file was replaced"
        ),
        Err(error) => tracing::error!(
            event = "token.pin_file_not_replaced",
            %error,
            "the token has the new PIN of an interrupted change, and its file cannot be replaced"
        ),
    }
    Ok(())
}

fn next_file(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(NEXT);
    name.into()
}

fn complete(file: &Path) -> io::Result<()> {
    fs::rename(next_file(file), file)?;
    sync_directory_of(file)
}

fn sync_directory_of(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a PIN to a file with the owner of another one, which only that owner may read.
fn write_like(path: &Path, like: &Path, pin: &SecretString) -> io::Result<()> {
    let owner = fs::metadata(like)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(pin.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    sync_directory_of(path)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Directory {
        directory: tempfile::TempDir,
    }

    impl Directory {
        fn new() -> Self {
            let directory = tempfile::TempDir::new().unwrap();
            let new = Self { directory };
            fs::write(new.file(), "1111\n").unwrap();
            fs::set_permissions(new.file(), fs::Permissions::from_mode(0o600)).unwrap();
            new
        }

        fn file(&self) -> PathBuf {
            self.directory.path().join("pin")
        }

        /// The PINs that a login tries at a token with this one, and whether it succeeds.
        fn log_in(&self, right: &str) -> (Vec<String>, bool) {
            let tried = RefCell::new(Vec::new());
            let done = log_in(&SecretString::from("0000"), Some(&self.file()), |pin| {
                tried.borrow_mut().push(pin.expose_secret().to_owned());
                if pin.expose_secret() == right {
                    Ok(())
                } else {
                    Err(TokenError::PinNotTried(String::new()))
                }
            });
            (tried.into_inner(), done.is_ok())
        }

        fn content(&self) -> String {
            fs::read_to_string(self.file()).unwrap()
        }
    }

    #[test]
    fn a_login_uses_the_present_content_of_the_file() {
        let directory = Directory::new();
        assert_eq!(directory.log_in("1111"), (vec!["1111".to_owned()], true));
        fs::write(directory.file(), "2222\n").unwrap();
        assert_eq!(directory.log_in("2222"), (vec!["2222".to_owned()], true));
        fs::remove_file(directory.file()).unwrap();
        assert_eq!(directory.log_in("0000"), (vec!["0000".to_owned()], true));
    }

    #[test]
    fn an_interrupted_change_is_completed_by_the_next_login_or_has_no_effect() {
        let directory = Directory::new();
        let change = PinChange::prepare(&directory.file(), SecretString::from("2222")).unwrap();
        let mode = fs::metadata(next_file(&directory.file())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(change);
        // Killed before the token had the new PIN.
        assert_eq!(directory.log_in("1111"), (vec!["1111".to_owned()], true));
        assert_eq!(directory.content(), "1111\n");
        // Killed after the token had it.
        let both = vec!["1111".to_owned(), "2222".to_owned()];
        assert_eq!(directory.log_in("2222"), (both, true));
        assert_eq!(directory.content(), "2222\n");
        assert_eq!(directory.log_in("3333"), (vec!["2222".to_owned()], false));
    }

    #[test]
    fn only_a_clear_refusal_removes_the_new_pin() {
        let directory = Directory::new();
        let change = PinChange::prepare(&directory.file(), SecretString::from("2222")).unwrap();
        change.abandon(&TokenError::Deadline);
        assert!(next_file(&directory.file()).exists());
        change.abandon(&TokenError::PinNotTried(String::new()));
        assert!(!next_file(&directory.file()).exists());
        let same = PinChange::prepare(&directory.file(), SecretString::from("1111"));
        assert!(matches!(same, Err(PinChangeError::Same)));
    }
}
