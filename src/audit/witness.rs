//! Witnesses: heads and checkpoints that were kept outside the gateway's host, to compare with the
//! audit files.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::checkpoint::Checkpoint;
use super::export::Manifest;
use super::line::{Kind, Line, RECORD_START};

/// What a file of witnesses contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// Records with their chain values.
    pub heads: Vec<Head>,
    /// Checkpoints. Their signatures are not verified yet.
    pub checkpoints: Vec<Checkpoint>,
}

/// Why a file of witnesses cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// It has neither a head nor a record.
    #[error("{} has no audit record and no head, such as {{\"sequence\":7,\"chain\":\"…\"}}", .0.display())]
    Nothing(PathBuf),
}

impl Witnesses {
    /// Reads a file of witnesses: forwarded records or checkpoints, a syslog file with such lines,
    /// lines of heads, or the manifest of a bundle. Other lines are skipped.
    ///
    /// # Errors
    /// When the file cannot be read, or contains no witness.
    pub fn read(path: &Path) -> Result<Self, WitnessError> {
        let failed = |source| WitnessError::File { path: path.to_owned(), source };
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(path).map_err(failed)?);
        let mut witnesses = Self::default();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            witnesses.take(line.trim_ascii_end());
            line.clear();
        }
        if witnesses.heads.is_empty() {
            let bytes = std::fs::read(path).map_err(failed)?;
            witnesses.take_manifest(&bytes);
        }
        if witnesses.heads.is_empty() {
            return Err(WitnessError::Nothing(path.to_owned()));
        }
        Ok(witnesses)
    }

    /// Takes a line, whatever a syslog daemon wrote before the record.
    fn take(&mut self, line: &[u8]) {
        let Some(at) = memchr::memmem::find(line, RECORD_START) else { return };
        let text = line.get(at..).unwrap_or_default();
        let Some(line) = Line::parse(text) else {
            return self.heads.extend(serde_json::from_slice::<Head>(text));
        };
        self.heads.push(line.head());
        if line.frame.record == Kind::Checkpoint
            && let Some(checkpoint) = line.frame.checkpoint()
        {
            self.take_checkpoint(checkpoint);
        }
    }

    fn take_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.heads.push(checkpoint.covers);
        self.checkpoints.push(checkpoint);
    }

    fn take_manifest(&mut self, bytes: &[u8]) {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
        self.heads.extend(manifest.known);
        if let Some(checkpoint) = manifest.checkpoint {
            self.take_checkpoint(checkpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::checkpoint::tests::TestSigner;
    use super::super::line;
    use super::*;

    fn read(bytes: &[u8]) -> Result<Witnesses, WitnessError> {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("heads");
        std::fs::write(&path, bytes).unwrap();
        Witnesses::read(&path)
    }

    #[test]
    fn records_are_read_from_each_kind_of_file() {
        let signer = TestSigner::new();
        let mut lines = Vec::new();
        let first = line::append(&mut lines, Head::START, Kind::Event, &line::members(&json!({})));
        let checkpoint = signer.sign(first, None);
        let second = line::append(&mut lines, first, Kind::Checkpoint, &line::members(&checkpoint));
        let plain = read(&lines).unwrap();
        assert_eq!(plain.heads, [first, second, first]);
        assert_eq!(plain.checkpoints, std::slice::from_ref(&checkpoint));
        let mut syslog = b"a line of another program {\"sequence\":\n".to_vec();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            syslog.extend_from_slice(b"2026-11-27T08:30:00Z kms hsmgate[7]: ");
            syslog.extend_from_slice(line);
        }
        assert_eq!(read(&syslog).unwrap(), plain);
        let head = serde_json::to_vec(&first).unwrap();
        assert_eq!(read(&head).unwrap().heads, [first]);
        let manifest = Manifest {
            made: String::new(),
            key_fingerprint: String::new(),
            known: Some(second),
            checkpoint: Some(checkpoint.clone()),
            retired_keys: Vec::new(),
            first: Some(1),
            other_gateways: Vec::new(),
            files: Vec::new(),
        };
        let manifest = read(&serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
        assert_eq!(manifest.heads, [second, first]);
        assert_eq!(manifest.checkpoints, [checkpoint]);
    }

    #[test]
    fn a_file_without_a_witness_is_refused() {
        for bytes in [&b""[..], b"{\"sequence\":7}\n", b"nothing\n"] {
            assert!(matches!(read(bytes), Err(WitnessError::Nothing(_))), "{bytes:?}");
        }
    }
}
