//! The file with endpoint and AccessKey that `hsmgate dev` writes for the client commands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::private_files;
use crate::config::SecretError;
use crate::config::secret::read_private_file;

/// Endpoint, region, account and AccessKey of a gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ClientFile {
    /// Its URL, such as `http://127.0.0.1:8200`.
    pub(super) endpoint: String,
    /// Its region.
    pub(super) region: String,
    /// Its account.
    pub(super) account: String,
    /// The AccessKey's public half.
    pub(super) access_key_id: String,
    /// The AccessKey's secret half.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub(super) access_key_secret: SecretString,
    /// The CA of its certificate; `None` over plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
    /// The URL of health and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<String>,
}

impl ClientFile {
    /// Reads the file; `None` if it does not exist.
    ///
    /// # Errors
    /// When other users can read it, or it is malformed.
    pub(super) fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match read_private_file(path) {
            Ok(text) => text,
            Err(SecretError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let file = serde_json::from_str(text.expose_secret())
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Some(file))
    }

    /// Writes the file for its owner alone, as a whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        private_files::write(path, format!("{text}\n").as_bytes())
    }
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_file_comes_back_as_written_and_is_private() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("client.json");
        assert!(ClientFile::load(&path).unwrap().is_none());
        let file = ClientFile {
            endpoint: "http://127.0.0.1:8200".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: "1234567890123456".to_owned(),
            access_key_id: "LTAIx".to_owned(),
            access_key_secret: "s3cret".into(),
            ca_file: None,
            admin: None,
        };
        for _ in 0..2 {
            file.save(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        let again = ClientFile::load(&path).unwrap().unwrap();
        assert_eq!(again.endpoint, file.endpoint);
        assert_eq!(again.access_key_secret.expose_secret(), "s3cret");
        assert!(!format!("{again:?}").contains("s3cret"));
    }
}
