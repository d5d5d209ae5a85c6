//! Verification of files that were tampered with.

use std::fs;

use fault_token::Prng;
use serde_json::json;
use tempfile::TempDir;

use super::super::checkpoint::tests::TestSigner;
use super::super::line;
use super::*;
use crate::model::clock;

/// Two files of records with checkpoints. The second continues the first.
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
        let mut follows = None;
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
                    let checkpoint = signer.sign(covers, follows.take());
                    put(Kind::Checkpoint, serde_json::to_value(&checkpoint).unwrap());
                    follows = Some(checkpoint.link());
                }
            }
            let covers = put(Kind::Event, json!({"eventTime": time, "requestId": "last"}));
            let checkpoint = signer.sign(covers, follows.take());
            put(Kind::Checkpoint, serde_json::to_value(&checkpoint).unwrap());
            follows = Some(checkpoint.link());
            put(Kind::Close, json!({"time": time, "reason": "stop"}));
            files.push(lines);
        }
        Self { signer, files, last: head.sequence }
    }

    /// Verifies these files with the public key and the last number.
    fn verify(&self, files: &[Vec<Vec<u8>>]) -> Report {
        let directory = TempDir::new().unwrap();
        let mut paths = Vec::new();
        for (number, lines) in files.iter().enumerate() {
            let path = directory.path().join(format!("audit.{number}"));
            fs::write(&path, lines.concat()).unwrap();
            paths.push(path);
        }
        let expectation = Expectation { sequence: Some(self.last), ..Expectation::default() };
        Verifier::new(Some(self.signer.key()), expectation).files(&paths).unwrap()
    }

    /// Recomputes the chain from a line on, as an attacker with write access would.
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
fn unmodified_files_have_no_fault() {
    let written = Written::new();
    let report = written.verify(&written.files);
    assert_eq!(report.faults, []);
    assert_eq!(report.checkpoints, 4);
    assert_eq!((report.first, report.last), (Some(1), Some(written.last)));
    assert!(report.is_closed);
    let mut turned = written.files.clone();
    turned.reverse();
    assert_eq!(written.verify(&turned).faults, [], "the order of the files does not matter");
}

#[test]
fn a_thousand_tampered_files_are_all_found() {
    let written = Written::new();
    let dice = Prng::new(7);
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
fn a_fault_is_reported_once_with_its_location() {
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
fn a_recomputed_chain_is_found_by_the_checkpoints() {
    let written = Written::new();
    for line in [2, 11] {
        let mut files = written.files.clone();
        let text = String::from_utf8(files[0][line].clone()).unwrap();
        files[0][line] = text.replace("\"userAgent\":\"a\"", "\"userAgent\":\"b\"").into_bytes();
        Written::rechain(&mut files);
        let kinds: Vec<_> = written.verify(&files).faults.iter().map(|fault| fault.kind).collect();
        assert!(kinds.contains(&FaultKind::Rewritten), "line {line}: {kinds:?}");
    }
    // After the last checkpoint, only a chain value known from another source helps.
    let known = head_of(&written.files);
    let mut files = written.files.clone();
    let text = String::from_utf8(files[1][20].clone()).unwrap();
    files[1][20] = text.replace("\"userAgent\":\"a\"", "\"userAgent\":\"b\"").into_bytes();
    Written::rechain(&mut files);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, files.concat().concat()).unwrap();
    let expectation = Expectation { heads: vec![known], ..Expectation::default() };
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
    let kinds: Vec<_> = report.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::BadSignature, FaultKind::BadSignature, FaultKind::Unsigned]);
    assert_eq!(report.signed_through, None);
}

#[test]
fn an_intent_without_its_outcome_is_reported() {
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

/// The records of one file by their content, with a new chain.
fn lines(records: &[(Kind, serde_json::Value)]) -> Vec<Vec<u8>> {
    let mut head = Head::START;
    let append = |(kind, value): &(Kind, serde_json::Value)| {
        let mut line = Vec::new();
        head = line::append(&mut line, head, *kind, &line::members(value));
        line
    };
    records.iter().map(append).collect()
}

fn kinds(report: &Report) -> Vec<FaultKind> {
    report.faults.iter().map(|fault| fault.kind).collect()
}

fn verified(lines: &[Vec<u8>], keys: &[&AuditKey], allows_unsigned_tail: bool) -> Report {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("audit");
    fs::write(&path, lines.concat()).unwrap();
    let expectation = Expectation { allows_unsigned_tail, ..Expectation::default() };
    Verifier::new(keys.iter().copied().cloned(), expectation).files(&[path]).unwrap()
}

/// The records of a file without number and chain.
fn taken_apart(file: &[Vec<u8>]) -> Vec<(Kind, serde_json::Value)> {
    let read = |line: &Vec<u8>| {
        let mut value: serde_json::Value = serde_json::from_slice(line).unwrap();
        let kind = serde_json::from_value(value["record"].clone()).unwrap();
        for name in ["sequence", "record", "chain"] {
            value.as_object_mut().unwrap().remove(name);
        }
        (kind, value)
    };
    file.iter().map(read).collect()
}

#[test]
fn a_file_without_its_checkpoints_does_not_verify_with_a_key() {
    let written = Written::new();
    let key = written.signer.key();
    let mut records = taken_apart(&written.files[0]);
    records.retain(|(kind, _)| *kind != Kind::Checkpoint);
    let stripped = lines(&records);
    assert_eq!(kinds(&verified(&stripped, &[], false)), [], "the chain alone finds nothing");
    assert_eq!(kinds(&verified(&stripped, &[&key], false)), [FaultKind::Unsigned]);
    assert_eq!(kinds(&verified(&stripped, &[&key], true)), [FaultKind::Unsigned], "it is closed");
    records.pop();
    let open = lines(&records);
    assert_eq!(kinds(&verified(&open, &[&key], false)), [FaultKind::Unsigned]);
    assert_eq!(kinds(&verified(&open, &[&key], true)), [FaultKind::Unsigned], "none is signed");
}

#[test]
fn a_closed_file_is_signed_to_its_end() {
    let written = Written::new();
    let key = written.signer.key();
    let mut records = taken_apart(&written.files[0]);
    let last = records.iter().rposition(|(kind, _)| *kind == Kind::Checkpoint).unwrap();
    records.remove(last);
    let mut report = verified(&lines(&records), &[&key], true);
    assert_eq!(kinds(&report), [FaultKind::Unsigned]);
    report.keep_faults(Some(Bound::Sequence(20)), None);
    assert_eq!(kinds(&report), [FaultKind::Unsigned], "it continues to the end");
}

#[test]
fn an_open_file_is_signed_up_to_the_last_hour() {
    let written = Written::new();
    let key = written.signer.key();
    let mut records = taken_apart(&written.files[0]);
    records.pop();
    let at = |seconds: i64| Time::from_unix(clock::now().unix() - seconds).to_string();
    for seconds in [7300, 7200, 7100] {
        records.push((Kind::Event, json!({"eventTime": at(seconds)})));
    }
    assert_eq!(kinds(&verified(&lines(&records), &[&key], false)), [FaultKind::Unsigned]);
    assert_eq!(kinds(&verified(&lines(&records), &[&key], true)), []);
    records.truncate(records.len() - 3);
    for seconds in [7300, 7250, 30, 0] {
        records.push((Kind::Event, json!({"eventTime": at(seconds)})));
    }
    assert_eq!(kinds(&verified(&lines(&records), &[&key], false)), [], "one interval, and now");
}

#[test]
fn many_records_after_the_last_checkpoint_are_found_whatever_their_times() {
    let written = Written::new();
    let key = written.signer.key();
    let mut signed = taken_apart(&written.files[0]);
    signed.pop();
    let opening = |records: u64, seconds: u64| {
        let said = json!({
            "time": clock::now(),
            "reason": "start",
            "previous": Head::START,
            "checkpointRecords": records,
            "checkpointSeconds": seconds,
        });
        (Kind::Open, said)
    };
    let event = |time: Option<String>| {
        let mut event = json!({"requestId": "r"});
        if let Some(time) = time {
            event["eventTime"] = time.into();
        }
        (Kind::Event, event)
    };
    let ahead = Time::from_unix(clock::now().unix() + 3600).to_string();
    for (case, time) in [
        ("now", Some(clock::now().to_string())),
        ("ahead", Some(ahead.clone())),
        ("far ahead", Some("2099-01-01T00:00:00Z".to_owned())),
        ("old", Some("2024-03-01T08:30:00Z".to_owned())),
        ("none", None),
    ] {
        let mut forged = signed.clone();
        forged.push(opening(1 << 62, 1 << 62));
        forged.extend(std::iter::repeat_n(event(time), 50_000));
        let report = verified(&lines(&forged), &[&key], false);
        assert_eq!(kinds(&report), [FaultKind::Unsigned], "{case}");
    }
    // A checkpoint is near its records, whatever their times.
    let mut forged = signed.clone();
    forged.extend([event(Some(clock::now().to_string())), event(Some(ahead))]);
    forged.push(event(Some("2024-03-01T08:30:00Z".to_owned())));
    assert_eq!(kinds(&verified(&lines(&forged), &[&key], false)), [FaultKind::Unsigned]);
    // As many as a gateway with default settings leaves unsigned.
    let mut live = signed;
    live.extend(std::iter::repeat_n(event(Some(clock::now().to_string())), 15_000));
    assert_eq!(kinds(&verified(&lines(&live), &[&key], false)), []);
}

#[test]
fn a_checkpoint_in_front_of_the_records_that_it_covers_is_found() {
    let written = Written::new();
    let key = written.signer.key();
    let records = taken_apart(&written.files[0]);
    let is_checkpoint = |(kind, _): &(Kind, serde_json::Value)| *kind == Kind::Checkpoint;
    let (first, second) = (
        records.iter().position(is_checkpoint).unwrap(),
        records.iter().rposition(is_checkpoint).unwrap(),
    );
    // The second directly follows the first, with invented records up to the one that it covers.
    let mut forged = records[..=first].to_vec();
    forged.push(records[second].clone());
    let invented = json!({"eventTime": clock::now(), "requestId": "invented"});
    forged.extend(std::iter::repeat_n((Kind::Event, invented), second - first - 1));
    assert_eq!(kinds(&verified(&lines(&forged), &[&key], false)), [FaultKind::Rewritten]);
}

#[test]
fn an_opening_record_counts_once_it_is_signed() {
    let signer = TestSigner::new();
    let opening = json!({
        "reason": "start",
        "previous": Head::START,
        "checkpointRecords": 1,
        "checkpointSeconds": 86_400,
    });
    let mut records = vec![(Kind::Open, opening)];
    let line = lines(&records).pop().unwrap();
    let head = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().head();
    records.push((Kind::Checkpoint, serde_json::to_value(signer.sign(head, None)).unwrap()));
    let at = |seconds: i64| Time::from_unix(clock::now().unix() - seconds).to_string();
    for seconds in [90_000, 7200] {
        records.push((Kind::Event, json!({"eventTime": at(seconds)})));
    }
    assert_eq!(kinds(&verified(&lines(&records), &[&signer.key()], false)), []);
    records.push((Kind::Event, json!({"eventTime": at(7100)})));
    assert_eq!(kinds(&verified(&lines(&records), &[&signer.key()], false)), [FaultKind::Unsigned]);
}

#[test]
fn a_removed_checkpoint_is_missed_by_the_next() {
    let written = Written::new();
    let key = written.signer.key();
    // Cut at the start, so that no missing record shows it.
    let signer = &written.signer;
    let mut records = vec![(Kind::Open, json!({"previous": Head::START, "reason": "start"}))];
    let first = signer.sign(Head::START.followed_by(b"another"), None);
    for _ in 0..3 {
        records.push((Kind::Event, json!({"requestId": "r"})));
    }
    let mut head = Head::START;
    for line in lines(&records) {
        head = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().head();
    }
    let second = signer.sign(head, Some(first.link()));
    records.push((Kind::Checkpoint, serde_json::to_value(&second).unwrap()));
    let report = verified(&lines(&records), &[&key], false);
    assert_eq!(kinds(&report), [FaultKind::CheckpointMissing]);
}

#[test]
fn files_of_the_first_format_verify_as_before() {
    let signer = TestSigner::new();
    let mut records = vec![(Kind::Open, json!({"previous": Head::START, "reason": "start"}))];
    records.push((Kind::Event, json!({"requestId": "r"})));
    let mut head = Head::START;
    for line in lines(&records) {
        head = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().head();
    }
    let mut old = serde_json::to_value(signer.sign_as_before(head)).unwrap();
    for name in ["format", "follows"] {
        old.as_object_mut().unwrap().remove(name);
    }
    records.push((Kind::Checkpoint, old));
    records.push((Kind::Close, json!({"reason": "stop"})));
    let report = verified(&lines(&records), &[&signer.key()], false);
    assert_eq!(kinds(&report), []);
    assert_eq!(report.signed_through, Some(2));
}

#[test]
fn a_first_record_with_number_zero_is_a_fault() {
    let written = Written::new();
    let mut files = written.files.clone();
    let chain = "0".repeat(64);
    let zero = format!(
        "{{\"sequence\":0,\"record\":\"event\",\"requestId\":\"zero\",\"chain\":\"{chain}\"}}\n"
    );
    files[0].insert(0, zero.into_bytes());
    let report = written.verify(&files);
    assert_eq!(report.first, Some(0));
    assert_ne!(report.faults, []);
}

#[test]
fn a_new_key_is_trusted_only_if_it_is_given() {
    let (old, new) = (TestSigner::new(), TestSigner::new());
    let named = |key: AuditKey| json!({"keyId": "k", "publicKey": key.to_pem()});
    let mut records = vec![(Kind::Open, json!({"previous": Head::START, "reason": "start"}))];
    let mut follows = None;
    for signer in [&old, &new] {
        if follows.is_some() {
            let change = json!({"oldKey": named(old.key()), "newKey": named(new.key())});
            records.push((Kind::Key, change));
        }
        let line = lines(&records).pop().unwrap();
        let head = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().head();
        let checkpoint = signer.sign(head, follows.take());
        follows = Some(checkpoint.link());
        records.push((Kind::Checkpoint, serde_json::to_value(&checkpoint).unwrap()));
    }
    let lines = lines(&records);
    let report = verified(&lines, &[&old.key()], false);
    assert_eq!(kinds(&report), [FaultKind::UnprovenKey]);
    assert!(report.faults[0].text.contains(&new.key().fingerprint()));
    let report = verified(&lines, &[&old.key(), &new.key()], false);
    assert_eq!(kinds(&report), []);
    let parts: Vec<_> = report.signed_by.iter().map(|part| (part.first, part.last)).collect();
    assert_eq!(parts, [(1, 1), (2, 3)]);
    let report = verified(&lines, &[&new.key()], false);
    assert_eq!(
        kinds(&report),
        [FaultKind::BadSignature],
        "signatures of the old key are not proven"
    );
    // Only the old key can prove the key that it announces.
    let thief = TestSigner::new();
    let mut forged = records.clone();
    forged[2].1["newKey"] = named(thief.key());
    let forged = self::lines(&forged[..3]);
    let report = verified(&forged, &[&old.key(), &new.key()], false);
    assert_eq!(kinds(&report), [FaultKind::UnprovenKey]);
}
