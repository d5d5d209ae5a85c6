//! Reads secrets from files: PINs and AccessKey secrets.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Maximum size of a secret file in bytes. A longer file is not a secret file.
const MAX_BYTES: usize = 4096;

/// The source of a PIN. Never the command line, which every process can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: std::io::Error,
    },
    /// Other users may read or write the file.
    #[error(
        "{} is accessible to other users (mode {mode:03o}): run chmod 600 on it", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is empty, too long or not UTF-8.
    #[error("{} does not contain a secret: write a short text to it", .0.display())]
    Form(PathBuf),
    /// The file contains something that cannot be part of a PIN. The token would count it as a
    /// failed attempt.
    #[error(
        "{} contains {what}, which cannot be part of a PIN: write the PIN as plain text in one line",
        path.display()
    )]
    NotAPin {
        /// The file.
        path: PathBuf,
        /// The invalid content.
        what: &'static str,
    },
    /// `$CREDENTIALS_DIRECTORY` is not set.
    #[error("a credential is configured, but the variable CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
}

impl PinSource {
    /// The file, if the configuration names it.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Credential(_) => None,
        }
    }

    /// Reads the PIN.
    ///
    /// # Errors
    /// When the file does not exist, has no text, or is accessible to other users.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        self.read_beside(directory.as_deref())
    }

    fn read_beside(&self, credentials: Option<&Path>) -> Result<SecretString, SecretError> {
        match self {
            Self::File(path) => read_pin_file(path),
            // systemd protects the directory, and may show an access list as group mode bits.
            Self::Credential(name) => {
                let path = credentials.ok_or(SecretError::NoCredentials)?.join(name);
                parse_pin(&read_from(&open(&path)?, &path, MAX_BYTES)?, &path)
            }
        }
    }
}

/// Reads a PIN from a file that only its owner may read. One line end, LF or CR LF, is removed.
/// Invalid content is refused, because the token would count it as a failed attempt.
///
/// # Errors
/// As [`read_private_file`], and for control characters, a byte order mark, and leading or trailing
/// blanks.
pub fn read_pin_file(path: &Path) -> Result<SecretString, SecretError> {
    parse_pin(&read_private_file(path)?, path)
}

fn parse_pin(text: &SecretString, path: &Path) -> Result<SecretString, SecretError> {
    // Its LF is already removed.
    let text = text.expose_secret();
    let pin = text.strip_suffix('\r').unwrap_or(text);
    let not_a_pin = |what| Err(SecretError::NotAPin { path: path.to_owned(), what });
    if pin.is_empty() {
        Err(SecretError::Form(path.to_owned()))
    } else if pin.starts_with('\u{feff}') {
        not_a_pin("a byte order mark")
    } else if pin.contains(['\n', '\r']) {
        not_a_pin("more than one line")
    } else if pin.contains('\0') {
        not_a_pin("a NUL")
    } else if pin.contains(char::is_control) {
        not_a_pin("a control character")
    } else if pin.trim() != pin {
        not_a_pin("a leading or trailing blank")
    } else {
        Ok(SecretString::from(pin))
    }
}

/// Reads a secret from a file that only its owner may read. One newline at the end is removed.
///
/// # Errors
/// When the file cannot be read, does not have a text of 1 to 4096 bytes, or is accessible to other
/// users.
pub fn read_private_file(path: &Path) -> Result<SecretString, SecretError> {
    read_private_text(path, MAX_BYTES)
}

/// As [`read_private_file`], for a text of at most `most` bytes.
///
/// # Errors
/// As there.
pub fn read_private_text(path: &Path, most: usize) -> Result<SecretString, SecretError> {
    read_from(&open_private(path)?, path, most)
}

fn open_private(path: &Path) -> Result<File, SecretError> {
    let file = open(path)?;
    // Checks the opened file, because the path may lead to another file by now.
    let metadata = file.metadata().map_err(read_error(path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    Ok(file)
}

fn open(path: &Path) -> Result<File, SecretError> {
    File::open(path).map_err(read_error(path))
}

fn read_from(file: &File, path: &Path, most: usize) -> Result<SecretString, SecretError> {
    // Allocated at full size, so that no reallocation leaves a copy of the secret.
    let mut text = Zeroizing::new(String::with_capacity(most + 1));
    let limit = u64::try_from(most + 1).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_string(&mut text);
    let form = || SecretError::Form(path.to_owned());
    match read {
        Ok(length) if length <= most => {}
        Ok(_) => return Err(form()),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(form()),
        Err(error) => return Err(read_error(path)(error)),
    }
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err(form()),
        secret => Ok(SecretString::from(secret)),
    }
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> SecretError {
    let path = path.to_owned();
    move |source| SecretError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn file(directory: &TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_line_end_is_removed_from_the_pin() {
        let directory = TempDir::new().unwrap();
        for content in ["12 34", "12 34\n", "12 34\r\n"] {
            let path = file(&directory, content.as_bytes(), 0o600);
            assert_eq!(PinSource::File(path).read().unwrap().expose_secret(), "12 34");
        }
        let path = file(&directory, b"a text \n\n", 0o600);
        assert_eq!(read_private_file(&path).unwrap().expose_secret(), "a text \n");
    }

    #[test]
    fn invalid_pin_content_is_refused_and_reported() {
        let directory = TempDir::new().unwrap();
        for (content, what) in [
            ("1234\n\n", "more than one line"),
            ("1234\r\n\r\n", "more than one line"),
            ("12\r34", "more than one line"),
            ("12\u{0}34\n", "a NUL"),
            ("12\t34", "a control character"),
            ("12\u{85}34", "a control character"),
            ("\u{feff}1234\r\n", "a byte order mark"),
            ("1234 \n", "a leading or trailing blank"),
            (" 1234", "a leading or trailing blank"),
        ] {
            let path = file(&directory, content.as_bytes(), 0o600);
            let told = PinSource::File(path).read().unwrap_err().to_string();
            assert!(told.contains(what) && !told.contains("1234"), "{content:?}: {told}");
        }
        let path = file(&directory, b"\r\n", 0o600);
        assert!(matches!(PinSource::File(path).read(), Err(SecretError::Form(_))));
    }

    #[test]
    fn a_pin_file_that_others_may_read_is_refused() {
        let directory = TempDir::new().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let path = file(&directory, b"1234", mode);
            let error = PinSource::File(path).read().unwrap_err();
            assert!(matches!(error, SecretError::Open { .. }), "{mode:o}: {error}");
            assert!(!error.to_string().contains("1234"));
        }
    }

    #[test]
    fn a_file_without_a_line_of_text_is_refused() {
        let directory = TempDir::new().unwrap();
        for content in [&b""[..], b"\n", b"\xff\xfe", &[b'1'; MAX_BYTES + 1]] {
            let path = file(&directory, content, 0o400);
            assert!(matches!(PinSource::File(path).read(), Err(SecretError::Form(_))));
        }
    }

    #[test]
    fn a_credential_is_read_from_its_directory() {
        let directory = TempDir::new().unwrap();
        file(&directory, b"1234\n", 0o440);
        let source = PinSource::Credential("pin".to_owned());
        let pin = source.read_beside(Some(directory.path())).unwrap();
        assert_eq!(pin.expose_secret(), "1234");
        assert!(matches!(source.read_beside(None), Err(SecretError::NoCredentials)));
    }
}
