//! Secrets that arrive as files: PINs and the secret halves of AccessKeys.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

/// The most bytes that a secret file has. A longer one is some other file.
const MAX_BYTES: usize = 4096;

/// Where a PIN comes from. Never from the command line, where every process can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("{} is open to others (mode {mode:03o}): chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is empty, too long or no UTF-8 text.
    #[error("{} holds no secret: a short text is expected", .0.display())]
    Form(PathBuf),
    /// `$CREDENTIALS_DIRECTORY` is not set.
    #[error("token.pin_credential is set, but the variable CREDENTIALS_DIRECTORY is not")]
    NoCredentials,
}

impl PinSource {
    /// Reads the PIN.
    ///
    /// # Errors
    /// When the file is not there, holds no text, or is open to others.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        self.read_beside(directory.as_deref())
    }

    fn read_beside(&self, credentials: Option<&Path>) -> Result<SecretString, SecretError> {
        match self {
            Self::File(path) => read_private_file(path),
            // systemd guards the directory, and may show an access list as a group's mode bits.
            Self::Credential(name) => {
                let path = credentials.ok_or(SecretError::NoCredentials)?.join(name);
                read_from(&open(&path)?, &path, MAX_BYTES)
            }
        }
    }
}

/// Reads a secret from a file that only its owner may read. One newline at its end is no part
/// of the secret.
///
/// # Errors
/// When the file cannot be read, holds no text of 1 to 4096 bytes, or is open to others.
pub fn read_private_file(path: &Path) -> Result<SecretString, SecretError> {
    read_private_text(path, MAX_BYTES)
}

/// As [`read_private_file`], for a text of up to so many bytes.
///
/// # Errors
/// As there.
pub fn read_private_text(path: &Path, most: usize) -> Result<SecretString, SecretError> {
    let file = open(path)?;
    // The opened file is asked, not the path, which may name another file by now.
    let metadata = file.metadata().map_err(read_error(path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    read_from(&file, path, most)
}

fn open(path: &Path) -> Result<File, SecretError> {
    File::open(path).map_err(read_error(path))
}

fn read_from(file: &File, path: &Path, most: usize) -> Result<SecretString, SecretError> {
    // Made in its full size, so that no growth leaves a copy of the secret behind.
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

    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    fn file(directory: &TempDir, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_newline_at_the_end_is_no_part_of_the_pin() {
        let directory = TempDir::new().unwrap();
        for (content, pin) in [("1234", "1234"), ("1234\n", "1234"), (" 12 \n\n", " 12 \n")] {
            let path = file(&directory, content.as_bytes(), 0o600);
            assert_eq!(PinSource::File(path).read().unwrap().expose_secret(), pin);
        }
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
