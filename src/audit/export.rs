//! The audit state in the store, and export bundles that verify without the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::chain::Head;
use super::chain_files::{self as chain, ExportError};
use super::checkpoint::{AuditKey, Checkpoint};
use super::metadata::{GatewayHead, StoredHead};
use super::verify::Expectation;
use crate::model::clock;

/// The name of a bundle's manifest.
pub const MANIFEST: &str = "manifest.json";
/// The name of a bundle's public key.
pub const PUBLIC_KEY: &str = "public-key.pem";

/// The manifest of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// When it was created.
    pub made: String,
    /// The fingerprint of the public key.
    pub key_fingerprint: String,
    /// The last record that the store knows; the files must contain it.
    pub known: Option<Head>,
    /// The last checkpoint in the store.
    pub checkpoint: Option<Checkpoint>,
    /// The replaced keys, oldest first, as PEM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_keys: Vec<String>,
    /// The first record in the bundle. If it is not 1, earlier files are not in the bundle.
    #[serde(default)]
    pub first: Option<u64>,
    /// The other gateways of the cluster, which have audits of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_gateways: Vec<GatewayHead>,
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

/// A bundle: its files, and what they must contain.
#[derive(Debug)]
pub struct Bundle {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The keys in the bundle, the current one last. Only as trustworthy as the source of the
    /// bundle.
    pub keys: Vec<AuditKey>,
    /// What the manifest requires.
    pub expectation: Expectation,
    /// The other gateways of the cluster.
    pub other_gateways: Vec<GatewayHead>,
}

impl Bundle {
    /// Reads a bundle, and compares its files with its manifest.
    ///
    /// # Errors
    /// When something is missing, damaged, or differs.
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
        Ok(Self { files, keys, expectation, other_gateways: manifest.other_gateways })
    }
}

/// The sources of a bundle.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The audit file.
    pub file: &'a Path,
    /// The files that records are forwarded to, which are not part of the bundle.
    pub forwarded: &'a [PathBuf],
    /// The key that signs the checkpoints.
    pub key: AuditKey,
    /// The replaced keys, oldest first.
    pub retired: Vec<AuditKey>,
    /// The head in the store.
    pub known: Option<StoredHead>,
    /// The other gateways of the cluster.
    pub other_gateways: Vec<GatewayHead>,
}

/// Writes a bundle of an audit file and of all files in its directory of the same chain, whatever
/// their names. A record that is being written is left out.
///
/// # Errors
/// When the audit file does not exist, or a file cannot be read or written.
pub fn export(sources: Sources<'_>, out: &Path) -> Result<Manifest, ExportError> {
    let Sources { file, forwarded, key, retired, known, other_gateways } = sources;
    let parts = chain::files(file, forwarded)?;
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
        made: clock::now().to_string(),
        key_fingerprint: key.fingerprint(),
        known: known.as_ref().map(|known| known.head),
        checkpoint: known.and_then(|known| known.checkpoint),
        retired_keys: retired.iter().map(AuditKey::to_pem).collect(),
        first: parts.iter().filter_map(|part| part.first).min(),
        other_gateways,
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
    hex::encode(digest(&SHA256, bytes))
}
