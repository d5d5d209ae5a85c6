//! The files of a client key, as the KMS instance SDKs read them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::private_files;
use crate::model::{ClientKeyPassword, random};

/// The prefix of both file names.
const PREFIX: &str = "clientKey_";
/// The suffix of the key file.
const KEY_SUFFIX: &str = ".json";
const PASSWORD_SUFFIX: &str = "_Password.txt";

/// The file of a client key and that of its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct Files {
    /// Id and PKCS#12, JSON.
    #[serde(rename = "client_key_file")]
    pub(in super::super) key: PathBuf,
    /// The password of the PKCS#12, and nothing else.
    #[serde(rename = "client_key_password_file")]
    pub(in super::super) password: PathBuf,
}

impl Files {
    /// The files of the client key with this id in a directory, whether they exist or not.
    pub(in super::super) fn of(directory: &Path, id: &str) -> Self {
        Self {
            key: directory.join(format!("{PREFIX}{id}{KEY_SUFFIX}")),
            password: directory.join(format!("{PREFIX}{id}{PASSWORD_SUFFIX}")),
        }
    }

    /// Whether both exist.
    pub(in super::super) fn are_present(&self) -> bool {
        self.key.is_file() && self.password.is_file()
    }

    /// Writes both, readable only by their owner. `private_key_data` is the Base64 of the PKCS#12.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(in super::super) fn write(
        &self,
        id: &str,
        private_key_data: &str,
        password: &str,
    ) -> anyhow::Result<()> {
        let key = json!({"KeyId": id, "PrivateKeyData": private_key_data});
        let key = Zeroizing::new(key.to_string());
        // No newline after the password: programs use the text of the file unchanged.
        for (path, text) in [(&self.password, password), (&self.key, key.as_str())] {
            private_files::write(path, text.as_bytes())?;
        }
        Ok(())
    }
}

/// The ids of the client keys with a key file in a directory; none if there is no directory.
///
/// # Errors
/// When it cannot be read.
pub(in super::super) fn ids(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(KEY_SUFFIX));
        ids.extend(id.map(str::to_owned));
    }
    Ok(ids)
}

/// 128 random bits as 32 hex digits, as the real service gives them out. They protect the key:
/// the cipher of the container is too old to.
///
/// # Errors
/// When there are no random bytes.
pub(in super::super) fn password() -> anyhow::Result<Zeroizing<String>> {
    loop {
        let random = random::secret::<16>().context("no random bytes")?;
        let text = Zeroizing::new(hex::encode(*random));
        // About one in three million has no letter.
        if text.parse::<ClientKeyPassword>().is_ok() {
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_password_is_another_and_long_enough() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
