//! Files that were tampered with: all found.

use std::fs;

use fault_token::Chance;
use serde_json::json;
use tempfile::TempDir;

use super::super::checkpoint::tests::TestSigner;
use super::super::line;
use super::*;

/// Two files of records with checkpoints, the second one going on where the first one ends.
struct Written {
    signer: TestSigner,
    files: Vec<Vec<Vec<u8>>>,
    last: u64,
}

impl Written {
    fn new() -> Self {
        let signer = TestSigner::new();
        let mut head = Head::START;
        let mut files = Vec::new();
        for reason in ["start", "rotated"] {
            let mut lines = Vec::new();
            let before = head;
            let mut put = |kind, value: serde_json::Value| {
                let mut line = Vec::new();
                head = line::append(&mut line, head, kind, &line::members(&value));
                lines.push(line);
                head
            };
            let time = "2024-03-01T08:30:00Z";
            put(Kind::Open, json!({"time": time, "reason": reason, "previous": before}));
            for number in 0..24 {
                let id = format!("request-{reason}-{number}");
                let event = json!({"eventTime": time, "requestId": id, "userAgent": "a"});
                let covers = put(Kind::Event, event);
                if number == 11 {
                    let checkpoint = signer.sign(covers);
                    put(Kind::Checkpoint, serde_json::to_value(&checkpoint).unwrap());
                }
            }
            put(Kind::Close, json!({"time": time, "reason": "stop"}));
            files.push(lines);
        }
        Self { signer, files, last: head.sequence }
    }

    /// What a verifier says of these files, with the public key and the last number.
    fn verify(&self, files: &[Vec<Vec<u8>>]) -> Report {
        let directory = TempDir::new().unwrap();
        let mut paths = Vec::new();
        for (number, lines) in files.iter().enumerate() {
            let path = directory.path().join(format!("audit.{number}"));
            fs::write(&path, lines.concat()).unwrap();
            paths.push(path);
        }
        let expectation = Expectation { sequence: Some(self.last), heads: Vec::new() };
        Verifier::new(Some(self.signer.key()), expectation).files(&paths).unwrap()
    }

    /// The chain computed anew from a line on, as somebody would who may write the file.
    fn rechain(files: &mut [Vec<Vec<u8>>]) {
        let mut head = Head::START;
        for line in files.iter_mut().flatten() {
            let parsed = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            head = head.followed_by(parsed.covered);
            let covered = parsed.covered.to_vec();
            *line = [&*covered, format!(",\"chain\":\"{}\"}}\n", head.chain).as_bytes()].concat();
        }
    }
}

fn head_of(files: &[Vec<Vec<u8>>]) -> Head {
    let line = files.last().unwrap().last().unwrap();
    Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().head()
}

#[test]
fn files_that_nobody_touched_are_without_fault() {
    let written = Written::new();
    let report = written.verify(&written.files);
    assert_eq!(report.faults, []);
    assert_eq!(report.checkpoints, 2);
    assert_eq!((report.first, report.last), (Some(1), Some(written.last)));
    assert!(report.is_closed);
    let mut turned = written.files.clone();
    turned.reverse();
    assert_eq!(written.verify(&turned).faults, [], "the order of the files does not matter");
}

#[test]
fn a_thousand_tampered_files_are_all_found() {
    let written = Written::new();
    let dice = Chance::new(7);
    for round in 0..1000 {
        let mut files = written.files.clone();
        let file = dice.below(2);
        let lines = files[file].len();
        let line = dice.below(lines);
        let what = match round % 8 {
            0 => {
                let length = files[file][line].len() - 1;
                let byte = dice.below(length);
                files[file][line][byte] ^= 1 << dice.below(7);
                "edit"
            }
            1 => {
                files[file].remove(line);
                "drop"
            }
            2 => {
                let other = dice.below(lines - 1);
                let other = if other == line { lines - 1 } else { other };
                files[file].swap(line, other);
                "swap"
            }
            3 => {
                let copy = files[file][line].clone();
                files[file].insert(dice.below(lines), copy);
                "double"
            }
            4 => {
                files[file].truncate(line);
                "truncate"
            }
            5 => {
                let to = dice.below(lines);
                let to = if to == line { (line + 1) % lines } else { to };
                let moved = files[file].remove(line);
                files[file].insert(to, moved);
                "move"
            }
            6 => {
                let moved = files[file].remove(line);
                files[1 - file].insert(dice.below(20), moved);
                "move to the other file"
            }
            _ => {
                let length = files[file][line].len();
                let cut = 1 + dice.below(length - 1);
                files[file][line].truncate(length - cut);
                "cut a line"
            }
        };
        if files == written.files {
            continue;
        }
        let report = written.verify(&files);
        assert!(!report.faults.is_empty(), "round {round}: {what} in file {file}, line {line}");
    }
}

#[test]
fn a_fault_is_told_where_it_is_and_once() {
    let written = Written::new();
    let mut files = written.files.clone();
    let text = String::from_utf8(files[1][5].clone()).unwrap();
    files[1][5] = text.replace("\"userAgent\":\"a\"", "\"userAgent\":\"b\"").into_bytes();
    let report = written.verify(&files);
    assert_eq!(report.faults.len(), 1);
    let fault = &report.faults[0];
    assert_eq!((fault.kind, fault.line), (FaultKind::Altered, 6));
    assert!(fault.file.ends_with("audit.1"));

    let mut files = written.files.clone();
    files[0].drain(3..6);
    let report = written.verify(&files);
    let kinds: Vec<_> = report.faults.iter().map(|fault| (fault.kind, fault.line)).collect();
    assert_eq!(kinds, [(FaultKind::Missing, 4)]);
    assert_eq!(report.faults[0].text, "records 4 to 6 are missing before this one");

    let mut report = written.verify(&files);
    report.keep_faults(Some(Bound::Sequence(5)), None);
    assert_eq!(report.faults, []);
}

#[test]
fn who_computes_the_chain_anew_is_found_by_the_checkpoints() {
    let written = Written::new();
    for line in [2, 11] {
        let mut files = written.files.clone();
        let text = String::from_utf8(files[0][line].clone()).unwrap();
        files[0][line] = text.replace("\"userAgent\":\"a\"", "\"userAgent\":\"b\"").into_bytes();
        Written::rechain(&mut files);
        let kinds: Vec<_> = written.verify(&files).faults.iter().map(|fault| fault.kind).collect();
        assert!(kinds.contains(&FaultKind::Rewritten), "line {line}: {kinds:?}");
    }
    // Behind the last checkpoint only a chain value that is known from elsewhere helps.
    let known = head_of(&written.files);
    let mut files = written.files.clone();
    let text = String::from_utf8(files[1][20].clone()).unwrap();
    files[1][20] = text.replace("\"userAgent\":\"a\"", "\"userAgent\":\"b\"").into_bytes();
    Written::rechain(&mut files);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, files.concat().concat()).unwrap();
    let expectation = Expectation { sequence: None, heads: vec![known] };
    let report = Verifier::new(None, expectation).files(&[path]).unwrap();
    assert!(report.faults.iter().any(|fault| fault.kind == FaultKind::Rewritten));
}

#[test]
fn a_checkpoint_of_another_key_is_found() {
    let written = Written::new();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, written.files[0].concat()).unwrap();
    let other = TestSigner::new().key();
    let report = Verifier::new(Some(other), Expectation::default()).files(&[path]).unwrap();
    assert_eq!(report.faults.len(), 1);
    assert_eq!(report.faults[0].kind, FaultKind::BadSignature);
    assert_eq!(report.signed_through, None);
}

#[test]
fn an_intent_without_its_outcome_is_told() {
    let mut lines = Vec::new();
    let open = json!({"previous": Head::START, "reason": "start"});
    let mut head = line::append(&mut lines, Head::START, Kind::Open, &line::members(&open));
    for (kind, id) in [(Kind::Intent, "one"), (Kind::Event, "one"), (Kind::Intent, "two")] {
        head = line::append(&mut lines, head, kind, &line::members(&json!({"requestId": id})));
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, lines).unwrap();
    let report = Verifier::new(None, Expectation::default()).files(&[path]).unwrap();
    assert_eq!(report.unfinished, ["two"]);
    assert_eq!(report.faults, []);
    assert!(!report.is_closed);
}
