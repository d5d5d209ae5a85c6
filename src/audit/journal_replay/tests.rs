//! Tests with files as a power failure may leave them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;
use tempfile::TempDir;

use super::super::file::AuditFile;
use super::super::line;
use super::*;

const JOURNAL_BYTES: u64 = 16 * 1024;

/// An audit log that was killed after so many records, and the content of its file.
fn killed(directory: &TempDir, records: usize) -> (PathBuf, Vec<u8>) {
    let path = directory.path().join("audit.jsonl");
    let (mut file, _) = AuditFile::open_with_journal(&path, JOURNAL_BYTES).unwrap();
    let mut head = Head::START;
    for number in 0..records {
        let mut lines = Vec::new();
        let kind = if number == 0 { Kind::Open } else { Kind::Event };
        let members =
            line::members(&json!({"requestId": "x".repeat(number % 700), "previous": head}));
        head = line::append(&mut lines, head, kind, &members);
        file.commit(&lines).unwrap();
    }
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn opened(path: &Path) -> AuditFile {
    AuditFile::open_with_journal(path, JOURNAL_BYTES).unwrap().0
}

#[test]
fn records_that_were_not_on_disk_are_restored_from_the_journal() {
    for records in [1, 2, 10, 50, 200] {
        let directory = TempDir::new().unwrap();
        let (path, whole) = killed(&directory, records);
        let halves = journal::halves(&journal::path_beside(&path)).unwrap();
        let safe = halves.iter().map(|half| half.position.offset).max().unwrap();
        let safe = usize::try_from(safe).unwrap();
        // The end was lost, or was allocated and never written.
        let torn = safe + (whole.len() - safe) / 2;
        fs::write(&path, &whole[..torn]).unwrap();
        drop(opened(&path));
        assert_eq!(fs::read(&path).unwrap(), whole, "{records} records");
        drop(killed_again(&path, &whole, safe));
    }
}

/// The journal is empty after opening, so nothing more is restored.
fn killed_again(path: &Path, whole: &[u8], safe: usize) -> AuditFile {
    fs::write(path, &whole[..safe]).unwrap();
    let file = opened(path);
    assert_eq!(fs::read(path).unwrap(), &whole[..safe]);
    file
}

#[test]
fn zeros_in_place_of_records_are_overwritten() {
    let directory = TempDir::new().unwrap();
    let (path, whole) = killed(&directory, 20);
    fs::write(&path, vec![0; whole.len()]).unwrap();
    drop(opened(&path));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_file_that_was_renamed_gets_its_records_and_the_new_one_does_not() {
    let directory = TempDir::new().unwrap();
    let (path, whole) = killed(&directory, 5);
    let rotated = path.with_file_name("audit.jsonl.1");
    fs::rename(&path, &rotated).unwrap();
    OpenOptions::new().write(true).open(&rotated).unwrap().set_len(10).unwrap();
    drop(opened(&path));
    assert_eq!(fs::read(&rotated).unwrap(), whole);
    assert_eq!(fs::metadata(&path).unwrap().size(), 0);
}

#[test]
fn records_whose_file_is_gone_are_written_to_a_new_file() {
    let directory = TempDir::new().unwrap();
    let (path, whole) = killed(&directory, 5);
    let other = directory.path().join("elsewhere");
    fs::create_dir(&other).unwrap();
    fs::rename(&path, other.join("audit.jsonl")).unwrap();
    drop(opened(&path));
    let aside = path.with_file_name("audit.jsonl.from-journal-1");
    assert_eq!(fs::read(aside).unwrap(), whole);
}

#[test]
fn records_that_do_not_follow_the_file_are_not_written_to_it() {
    let directory = TempDir::new().unwrap();
    let (path, whole) = killed(&directory, 120);
    let halves = journal::halves(&journal::path_beside(&path)).unwrap();
    assert!(halves.iter().all(|half| half.position.offset > 0), "both halves were written twice");
    // Another process has edited the records before those in the journal.
    let edited =
        String::from_utf8(whole).unwrap().replace("\"record\":\"event\"", "\"record\":\"evenT\"");
    fs::write(&path, &edited).unwrap();
    let opened = AuditFile::open_with_journal(&path, JOURNAL_BYTES);
    assert!(matches!(opened, Err(crate::audit::AuditError::Foreign(_))), "{opened:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);
}
