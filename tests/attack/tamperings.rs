//! Random changes of audit files, each found by the finder that is wanted. `HSMGATE_TORTURE` makes
//! 1,000 of them.

use std::fs;
use std::path::PathBuf;

use fault_token::Prng;
use hsmgate::audit::{AuditKey, Expectation, Head, Report, Verifier, Witnesses};

use crate::support::recorded::{Recorded, head_of, invented, is_checkpoint, lines, rechained};

/// Number of changes in a test run, and in `make torture`.
const CHANGES: usize = 60;
const MANY_CHANGES: usize = 1000;

/// The least that finds a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finder {
    /// The chain alone.
    Chain,
    /// The public key.
    Key,
    /// The records that were forwarded.
    Heads,
    /// The next start of the gateway.
    Start,
}

/// The lines of the files of one chain, in order.
type Files = Vec<Vec<String>>;

/// A change by its number, with its name and its finder. `None` if it would change nothing.
fn changed(original: &Files, number: usize) -> Option<(Files, &'static str, Finder)> {
    let random = Prng::new(u64::try_from(number).unwrap());
    let mut files = original.clone();
    let last = files.len() - 1;
    let file = random.below(files.len());
    let length = files[file].len();
    let line = random.below(length);
    let is_end = file == last && line + 1 == length;
    let made = match number % 14 {
        0 => {
            let mut bytes = std::mem::take(&mut files[file][line]).into_bytes();
            let at = random.below(bytes.len() - 1);
            // Digits and letters stay printable.
            bytes[at] ^= 1;
            files[file][line] = String::from_utf8(bytes).unwrap();
            ("a bit of a record is flipped", Finder::Chain)
        }
        1 => {
            files[file].remove(line);
            ("a record is removed", if is_end { Finder::Heads } else { Finder::Chain })
        }
        2 => {
            files[file].swap(line, (line + 1) % length);
            ("two records are swapped", Finder::Chain)
        }
        3 => {
            let copy = files[file][line].clone();
            files[file].insert(random.below(length + 1), copy);
            ("a record is repeated", Finder::Chain)
        }
        4 => {
            let moved = files[file].remove(line);
            let other = (file + 1) % files.len();
            let at = random.below(files[other].len());
            files[other].insert(at, moved);
            ("a record is moved to another file", Finder::Chain)
        }
        5 => {
            let cut = 1 + random.below(files[file][line].len() - 1);
            files[file][line].truncate(cut);
            ("the end of a record is cut off", Finder::Chain)
        }
        6 => {
            let before = random.below(last);
            let length = 1 + random.below(files[before].len() - 1);
            files[before].truncate(length);
            ("a rotated file is truncated", Finder::Chain)
        }
        7 => {
            files.remove(random.below(last));
            ("a rotated file is removed", Finder::Chain)
        }
        8 => {
            let length = 1 + random.below(files[last].len() - 1);
            files[last].truncate(length);
            (
                "the last file is truncated",
                if number.is_multiple_of(4) { Finder::Start } else { Finder::Heads },
            )
        }
        9 => {
            let line = random.below(signed_lines(&files[file]));
            edit(&mut files, file, line);
            ("a signed record is rewritten with its chain", Finder::Key)
        }
        10 => {
            for lines in &mut files {
                lines.retain(|line| !is_checkpoint(line));
            }
            rechain(&mut files);
            ("all checkpoints are removed", Finder::Key)
        }
        11 => {
            let is_other = |line: &String| !is_checkpoint(line);
            let file = random.below(files.len());
            let at = files[file].iter().position(|line| !is_other(line)).unwrap();
            files[file].remove(at);
            rechain(&mut files);
            ("a checkpoint is removed", Finder::Key)
        }
        12 => {
            let mut head = head_of(files[last].last().unwrap());
            for _ in 0..=random.below(3) {
                let id = random.number();
                let members = format!("\"record\":\"event\",\"requestId\":\"{id}\"");
                let (line, next) = invented(head, &members);
                files[last].push(line);
                head = next;
            }
            ("records are invented after the last one", Finder::Start)
        }
        _ => {
            let end = files[last].len() - 1;
            edit(&mut files, last, end);
            (
                "the last record is rewritten with its chain",
                if number % 4 == 1 { Finder::Start } else { Finder::Heads },
            )
        }
    };
    (files != *original).then_some((files, made.0, made.1))
}

/// The number of lines that a checkpoint in the file covers.
fn signed_lines(lines: &[String]) -> usize {
    lines.iter().rposition(|line| is_checkpoint(line)).unwrap()
}

/// Changes a text in a record, and computes the chain again.
fn edit(files: &mut Files, file: usize, line: usize) {
    let changed = files[file][line].replacen("\":\"", "\":\"x", 2);
    files[file][line] = changed.replacen("\"record\":\"x", "\"record\":\"", 1);
    rechain(files);
}

fn rechain(files: &mut Files) {
    let mut head = Head::START;
    for lines in files {
        *lines = rechained(head, lines.iter().map(String::as_str));
        head = head_of(lines.last().unwrap());
    }
}

/// The files, the key and the witness of a gateway that was stopped in order.
struct Target {
    recorded: Recorded,
    paths: Vec<PathBuf>,
    files: Files,
    key: AuditKey,
    witness: PathBuf,
}

impl Target {
    async fn new() -> Self {
        let recorded = Recorded::stopped().await;
        let first = recorded.rotate(6, "audit.1").await;
        let second = recorded.rotate(6, "audit.2").await;
        let paths = vec![first, second, recorded.file()];
        let files: Files = paths.iter().map(|path| lines(path)).collect();
        let witness = recorded.installation.path("forwarded");
        fs::write(&witness, files.concat().concat()).unwrap();
        Self { key: recorded.key(), recorded, paths, files, witness }
    }

    fn verify(&self, files: &Files, keys: Option<AuditKey>, heads: bool) -> Report {
        let directory = tempfile::TempDir::new().unwrap();
        let mut paths = Vec::new();
        for (number, lines) in files.iter().enumerate() {
            let path = directory.path().join(number.to_string());
            fs::write(&path, lines.concat()).unwrap();
            paths.push(path);
        }
        let mut expectation = Expectation::default();
        if heads {
            let witnesses = Witnesses::read(&self.witness).unwrap();
            expectation.heads = witnesses.heads;
            expectation.checkpoints = witnesses.checkpoints;
        }
        Verifier::new(keys, expectation).files(&paths).unwrap()
    }

    fn is_found(&self, files: &Files, finder: Finder) -> bool {
        let has_faults = |report: Report| !report.faults.is_empty();
        match finder {
            Finder::Chain => has_faults(self.verify(files, None, false)),
            Finder::Key => has_faults(self.verify(files, Some(self.key.clone()), false)),
            Finder::Heads => has_faults(self.verify(files, Some(self.key.clone()), true)),
            Finder::Start => {
                let snapshot = self.recorded.snapshot();
                for (path, lines) in self.paths.iter().zip(files) {
                    fs::write(path, lines.concat()).unwrap();
                }
                let is_found = self.recorded.is_found_by_start();
                self.recorded.put_back(&snapshot);
                is_found
            }
        }
    }
}

#[tokio::test]
async fn every_random_change_of_audit_files_is_found_by_its_finder() {
    let changes =
        if std::env::var_os("HSMGATE_TORTURE").is_some() { MANY_CHANGES } else { CHANGES };
    let target = Target::new().await;
    for finder in [Finder::Chain, Finder::Key, Finder::Heads] {
        assert!(!target.is_found(&target.files, finder), "{finder:?}: the files are good");
    }
    let mut counts = [0; 4];
    let mut number = 0;
    while counts.iter().sum::<usize>() < changes {
        number += 1;
        let Some((files, what, finder)) = changed(&target.files, number) else { continue };
        assert!(target.is_found(&files, finder), "change {number}: {what}, {finder:?}");
        counts[finder as usize] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let [chain, key, heads, start] = counts;
    println!(
        "{changes} changes found: {chain} by the chain, {key} by the key, {heads} by a witness, {start} by the start"
    );
}
