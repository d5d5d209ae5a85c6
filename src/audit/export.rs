//! What the store knows about the audit, and the bundle that verifies without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::chain::Head;
use super::chain_files as chain;
use super::checkpoint::{AuditKey, Checkpoint};
use super::verify::Expectation;
use crate::model::Time;
use crate::store::{MetadataValue, Store};
use crate::token::ServiceKey;

/// The name of a bundle's manifest.
pub const MANIFEST: &str = "manifest.json";
/// The name of a bundle's public key.
pub const PUBLIC_KEY: &str = "public-key.pem";

/// The fact of the store with what it knows of the chain.
pub const HEAD_METADATA: &str = "audit-head";
pub(super) const PUBLIC_KEY_METADATA: &str = "audit-public-key";
/// The public keys that were replaced, oldest first: PEM texts as JSON.
pub(super) const RETIRED_KEYS_METADATA: &str = "audit-retired-keys";

/// What a store that is put back takes over from the one in its place, which is newer: what it knows of
/// the audit, so that the audit file goes on. Nothing where the one in place is not newer, or cannot be
/// read. `old` gives a fact of the one in place, `new_head` is [`HEAD_METADATA`] of the other.
pub fn metadata_to_keep<'a>(
    old: impl Fn(&str) -> Option<&'a str>,
    new_head: Option<&str>,
) -> Vec<(&'static str, &'a str)> {
    let number = |head: Option<&str>| {
        head.and_then(|text| serde_json::from_str(text).ok())
            .map(|known: StoredHead| known.head.sequence)
    };
    if number(old(HEAD_METADATA)).is_none_or(|old| number(new_head).is_some_and(|new| new > old)) {
        return Vec::new();
    }
    let entries = [
        HEAD_METADATA,
        PUBLIC_KEY_METADATA,
        RETIRED_KEYS_METADATA,
        ServiceKey::CHECKPOINT_KEY,
        super::key_change::CHANGE_METADATA,
        super::key_change::NEXT_METADATA,
    ];
    entries.into_iter().filter_map(|name| Some((name, old(name)?))).collect()
}

/// What the store knows of the chain: it cannot go back behind this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredHead {
    /// A record that is on disk.
    pub head: Head,
    /// Whether it was the last one of a gateway that ended in order.
    pub is_closed: bool,
    /// Whether a gateway has begun since then to write behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_opening: bool,
    /// The last checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

impl StoredHead {
    /// What the store knows; absent before the first checkpoint.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &Store) -> Result<MetadataValue<Self>, AuditError> {
        Ok(store.read_metadata(HEAD_METADATA, |text| serde_json::from_str(text).ok()).await?)
    }

    pub(super) async fn save(&self, store: &Store) -> Result<(), AuditError> {
        let text = serde_json::to_string(self).map_err(|_form| AuditError::Damaged)?;
        Ok(store.set_metadata(HEAD_METADATA, &text).await?)
    }

    /// The key that signs the checkpoints; absent before the first start with an audit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn public_key(store: &Store) -> Result<MetadataValue<AuditKey>, AuditError> {
        Ok(store.read_metadata(PUBLIC_KEY_METADATA, |pem| AuditKey::from_pem(pem).ok()).await?)
    }

    /// The keys that signed checkpoints before, oldest first; none where the store does not tell them any
    /// more. What they signed then counts as signed by nobody.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retired_keys(store: &Store) -> Result<Vec<AuditKey>, AuditError> {
        let read = |text: &str| {
            let pems: Vec<String> = serde_json::from_str(text).ok()?;
            pems.iter().map(|pem| AuditKey::from_pem(pem).ok()).collect::<Option<Vec<_>>>()
        };
        Ok(store.read_metadata(RETIRED_KEYS_METADATA, read).await?.value().unwrap_or_default())
    }

    pub(super) async fn save_public_key(store: &Store, key: &AuditKey) -> Result<(), AuditError> {
        Ok(store.set_metadata(PUBLIC_KEY_METADATA, &key.to_pem()).await?)
    }
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// When it was made.
    pub made: String,
    /// The fingerprint of the public key.
    pub key_fingerprint: String,
    /// The record that the files reach at least, by the store.
    pub known: Option<Head>,
    /// The last checkpoint, by the store.
    pub checkpoint: Option<Checkpoint>,
    /// The keys that signed before this one, oldest first, as PEM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_keys: Vec<String>,
    /// The first record in it. Where that is not 1, the files before it are not in the bundle.
    #[serde(default)]
    pub first: Option<u64>,
    /// The files, by name.
    pub files: Vec<ManifestFile>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name in the bundle.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Why there is no bundle, or why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no audit file.
    #[error("there is no audit file at {}", .0.display())]
    Nothing(PathBuf),
    /// The manifest or the key has another form.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// A file is not what the manifest says.
    #[error("{} is not the file that was exported", .0.display())]
    Changed(PathBuf),
}

/// A bundle, read: its files, and what they must reach.
#[derive(Debug)]
pub struct Bundle {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The keys in the bundle, the one in use last. They are as good as the way that it came by.
    pub keys: Vec<AuditKey>,
    /// What the manifest promises.
    pub expectation: Expectation,
}

impl Bundle {
    /// Reads a bundle, and compares its files with its manifest.
    ///
    /// # Errors
    /// When something is missing, damaged, or another file.
    pub fn open(directory: &Path) -> Result<Self, ExportError> {
        let path = directory.join(MANIFEST);
        let manifest: Manifest = serde_json::from_slice(&read(&path)?)
            .map_err(|_form| ExportError::Damaged(path.clone()))?;
        let key_path = directory.join(PUBLIC_KEY);
        let pem = String::from_utf8(read(&key_path)?);
        let key = pem.ok().and_then(|pem| AuditKey::from_pem(&pem).ok());
        let key = key.ok_or(ExportError::Damaged(key_path))?;
        let mut files = Vec::new();
        for file in manifest.files {
            let is_plain =
                Path::new(&file.name).file_name().is_some_and(|name| *name == *file.name);
            if !is_plain {
                return Err(ExportError::Damaged(path));
            }
            let path = directory.join(&file.name);
            if sha256(&read(&path)?) != file.sha256 {
                return Err(ExportError::Changed(path));
            }
            files.push(path);
        }
        let retired = manifest.retired_keys.iter().map(|pem| AuditKey::from_pem(pem));
        let mut keys: Vec<_> = retired
            .collect::<Result<_, _>>()
            .map_err(|_form| ExportError::Damaged(path.clone()))?;
        keys.push(key);
        let is_signed = |last: &Checkpoint| keys.iter().any(|key| key.has_signed(last));
        if !manifest.checkpoint.as_ref().is_none_or(is_signed) {
            return Err(ExportError::Damaged(path));
        }
        let known = manifest.known.into_iter().chain(manifest.checkpoint.map(|last| last.covers));
        let expectation = Expectation { heads: known.collect(), ..Expectation::default() };
        Ok(Self { files, keys, expectation })
    }
}

/// What a bundle is made of.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The audit file.
    pub file: &'a Path,
    /// The second place of the audit, which is no part of the bundle.
    pub forward_to: Option<&'a Path>,
    /// The key that signs the checkpoints.
    pub key: AuditKey,
    /// Those that signed before, oldest first.
    pub retired: Vec<AuditKey>,
    /// What the store knows of the chain.
    pub known: Option<StoredHead>,
}

/// Writes a bundle of an audit file and of all files beside it that are of the same chain, whatever
/// their names. A record that is just being written is left out.
///
/// # Errors
/// When there is no such file, or something cannot be read or written.
pub fn export(sources: Sources<'_>, out: &Path) -> Result<Manifest, ExportError> {
    let Sources { file, forward_to, key, retired, known } = sources;
    let parts = chain::files(file, forward_to)?;
    if parts.is_empty() {
        return Err(ExportError::Nothing(file.to_owned()));
    }
    fs::create_dir_all(out).map_err(|source| fault(out, source))?;
    let mut files = Vec::new();
    for part in &parts {
        let Some(name) = part.path.file_name().and_then(|name| name.to_str()) else { continue };
        let mut bytes = read(&part.path)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        bytes.truncate(whole);
        write(&out.join(name), &bytes)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        files.push(ManifestFile { name: name.to_owned(), bytes: size, sha256: sha256(&bytes) });
    }
    write(&out.join(PUBLIC_KEY), key.to_pem().as_bytes())?;
    let manifest = Manifest {
        made: Time::now().to_string(),
        key_fingerprint: key.fingerprint(),
        known: known.as_ref().map(|known| known.head),
        checkpoint: known.and_then(|known| known.checkpoint),
        retired_keys: retired.iter().map(AuditKey::to_pem).collect(),
        first: parts.iter().filter_map(|part| part.first).min(),
        files,
    };
    let mut text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    text.push(b'\n');
    write(&out.join(MANIFEST), &text)?;
    Ok(manifest)
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    fs::read(path).map_err(|source| fault(path, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    fs::write(path, bytes).map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: io::Error) -> ExportError {
    ExportError::File { path: path.to_owned(), source }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_store_hands_on_what_it_knows_of_the_audit_and_an_older_one_does_not() {
        let head = |sequence: u64| {
            let head = Head { sequence, chain: Head::START.chain };
            let known = StoredHead { head, is_closed: true, is_opening: false, checkpoint: None };
            serde_json::to_string(&known).unwrap()
        };
        let (older, newer) = (head(5), head(9));
        let entries = [(HEAD_METADATA, &*newer), (PUBLIC_KEY_METADATA, "pem"), ("other", "x")];
        let old =
            |name: &str| entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value);
        let kept = [(HEAD_METADATA, &*newer), (PUBLIC_KEY_METADATA, "pem")];
        assert_eq!(metadata_to_keep(old, Some(&older)), kept);
        assert_eq!(metadata_to_keep(old, None), kept);
        assert_eq!(metadata_to_keep(old, Some("damaged")), kept);
        assert_eq!(metadata_to_keep(old, Some(&head(10))), []);
        assert_eq!(metadata_to_keep(|_| None, Some(&older)), []);
        let is_damaged = |name: &str| (name == HEAD_METADATA).then_some("damaged");
        assert_eq!(metadata_to_keep(is_damaged, Some(&older)), []);
    }
}
