//! The audit files: each change of the past is found, by `audit verify` alone if a checkpoint covers
//! it, and otherwise by a witness or by the next start of the gateway.

use std::fs;
use std::path::Path;

use hsmgate::audit::Head;
use serde_json::Value;

use crate::support::installation::run;
use crate::support::process::{signal, until};
use crate::support::recorded::{
    Recorded, fault_kinds, forged, head_of, invented, is_checkpoint, lines, rechained,
};

/// Writes lines to a file of this name beside the installation.
fn written(recorded: &Recorded, name: &str, lines: &[String]) -> std::path::PathBuf {
    let path = recorded.installation.path(name);
    fs::write(&path, lines.concat()).unwrap();
    path
}

#[tokio::test]
async fn records_rewritten_before_the_last_checkpoint_are_found_by_verify() {
    let recorded = Recorded::stopped().await;
    assert_eq!(recorded.faults(&[&recorded.file()], &[]), [""; 0]);
    let lines = recorded.lines();
    let rewritten: Vec<_> = lines.iter().map(|line| line.replace("ListKeys", "LostKeys")).collect();
    let edited = written(&recorded, "edited", &rewritten);
    assert!(recorded.faults(&[&edited], &[]).contains(&"altered".to_owned()));
    let chained = rechained(Head::START, rewritten.iter().map(String::as_str));
    let chained = written(&recorded, "chained", &chained);
    assert!(recorded.faults(&[&chained], &[]).contains(&"rewritten".to_owned()));
}

#[tokio::test]
async fn removed_checkpoints_are_found_by_verify() {
    let recorded = Recorded::stopped().await;
    let file = recorded.installation.path("forged");
    fs::write(&file, forged(&recorded.file())).unwrap();
    for options in [&[][..], &["--allow-unsigned-tail"]] {
        assert_eq!(recorded.faults(&[&file], options), ["unsigned"]);
    }
    // One of several: the next one names it.
    recorded.run(3).await;
    let lines = recorded.lines();
    let first = lines.iter().position(|line| is_checkpoint(line)).unwrap();
    let without: Vec<_> = [&lines[..first], &lines[first + 1..]].concat();
    let chained = rechained(Head::START, without.iter().map(String::as_str));
    let file = written(&recorded, "one-removed", &chained);
    let faults = recorded.faults(&[&file], &[]);
    assert!(faults.contains(&"checkpoint-missing".to_owned()), "{faults:?}");
    assert!(faults.contains(&"rewritten".to_owned()), "{faults:?}");
}

#[tokio::test]
async fn a_removed_file_is_found_by_verify_and_a_removed_last_one_by_a_witness() {
    let recorded = Recorded::stopped().await;
    let first = recorded.rotate(3, "audit.1").await;
    let second = recorded.rotate(3, "audit.2").await;
    let last = recorded.file();
    assert_eq!(recorded.faults(&[&first, &second, &last], &[]), [""; 0]);
    assert_eq!(recorded.faults(&[&first, &last], &[]), ["unlinked", "checkpoint-missing"]);
    assert_eq!(recorded.faults(&[&second, &last], &[]), ["missing"]);
    // The archive of older files is stated, not assumed.
    let begin = head_of(&lines(&second)[0]).sequence.to_string();
    assert_eq!(recorded.faults(&[&second, &last], &["--from", &begin]), [""; 0]);
    assert_eq!(recorded.faults(&[&first, &second], &[]), [""; 0], "nothing tells of the last file");
    let witness = written(&recorded, "witness", &lines(&last));
    let heads = ["--heads", witness.to_str().unwrap()];
    assert_eq!(recorded.faults(&[&first, &second], &heads), ["truncated"]);
    let outcome = recorded.verify(&[&first, &second, &last], &heads);
    let report = Recorded::report(&outcome);
    assert_eq!(report["witnessedThrough"], report["last"], "{report}");
    // An operator may move the last file away after a stop. The next file names what it continues.
    fs::remove_file(&last).unwrap();
    let server = recorded.installation.serve();
    assert!(server.has_logged("event=\"audit.previous_file_missing\""), "{}", server.log());
    recorded.record(&server, 1).await;
    assert_eq!(server.stop(), Some(0));
    let faults = recorded.faults(&[&first, &second, &last], &[]);
    assert!(faults.contains(&"unlinked".to_owned()), "{faults:?}");
}

#[tokio::test]
async fn a_truncated_file_is_found_by_a_witness_and_by_the_start() {
    let recorded = Recorded::stopped().await;
    let lines = recorded.lines();
    let checkpoint = lines.iter().position(|line| is_checkpoint(line)).unwrap();
    let head = head_of(&lines[lines.len() - 1]);
    let witness = serde_json::to_string(&head).unwrap();
    let witness = written(&recorded, "witness", &[witness]);
    let heads = ["--heads", witness.to_str().unwrap()];
    for length in [checkpoint + 1, lines.len() - 1] {
        fs::write(recorded.file(), lines[..length].concat()).unwrap();
        assert_eq!(recorded.faults(&[&recorded.file()], &heads), ["truncated"], "{length}");
        let snapshot = recorded.snapshot();
        assert!(recorded.is_found_by_start(), "{length}");
        recorded.put_back(&snapshot);
    }
}

#[tokio::test]
async fn a_tail_rewritten_after_an_orderly_stop_is_found_by_the_start() {
    let recorded = Recorded::stopped().await;
    let mut lines = recorded.lines();
    let before = head_of(&lines[lines.len() - 2]);
    let last = lines.pop().unwrap().replace("\"stop\"", "\"rotated\"");
    lines.extend(rechained(before, [&*last]));
    fs::write(recorded.file(), lines.concat()).unwrap();
    assert_eq!(recorded.faults(&[&recorded.file()], &[]), [""; 0], "no signature covers it");
    assert!(recorded.is_found_by_start());
}

#[tokio::test]
async fn a_tail_rewritten_after_a_kill_is_found_by_a_witness() {
    let recorded = Recorded::stopped().await;
    recorded.run_and_kill(3).await;
    let lines = recorded.lines();
    let witness = written(&recorded, "witness", &lines);
    let last = lines.iter().rposition(|line| is_checkpoint(line)).unwrap();
    let tail: Vec<_> =
        lines[last + 1..].iter().map(|line| line.replace("ListKeys", "LostKeys")).collect();
    let tail = rechained(head_of(&lines[last]), tail.iter().map(String::as_str));
    let forged = written(&recorded, "forged", &[&lines[..=last], &tail].concat());
    let heads = ["--heads", witness.to_str().unwrap()];
    assert!(recorded.faults(&[&forged], &heads).contains(&"rewritten".to_owned()));
}

#[tokio::test]
async fn a_start_on_a_forged_file_does_not_sign_it() {
    let recorded = Recorded::stopped().await;
    let true_file = fs::read_to_string(recorded.file()).unwrap();
    // One record more than the store knows of, so that the number alone tells nothing.
    let short = forged(&recorded.file());
    let more = true_file.lines().count() - short.lines().count() + 1;
    let extra = short.lines().nth(1).unwrap().to_owned() + "\n";
    fs::write(recorded.file(), short + &extra.repeat(more)).unwrap();
    let renumbered = forged(&recorded.file());
    fs::write(recorded.file(), &renumbered).unwrap();
    let chain_alone =
        ["audit", "verify", recorded.installation.path("state/audit.jsonl").to_str().unwrap()]
            .map(str::to_owned);
    let chain_alone: Vec<&str> = chain_alone.iter().map(String::as_str).collect();
    run(recorded.installation.command(&chain_alone), b"").done();
    let server = recorded.installation.serve();
    recorded.record(&server, 1).await;
    until(|| server.has_logged("event=\"audit.discontinued\"")).await;
    assert_eq!(server.stop(), Some(0));
    let now = fs::read_to_string(recorded.file()).unwrap();
    let rest = now.strip_prefix(&*renumbered).unwrap();
    let added: Value = serde_json::from_str(rest.lines().next().unwrap()).unwrap();
    assert_eq!(added["reason"], "discontinued");
    let last: Value = serde_json::from_str(true_file.lines().last().unwrap()).unwrap();
    assert_eq!(added["previous"]["chain"], last["chain"], "it goes on from the true records");
    assert_eq!(recorded.verify(&[&recorded.file()], &[]).code, Some(1));
    // The true file and what was added are one good chain: no signature holds the forgery up.
    let healed = recorded.installation.path("healed.jsonl");
    fs::write(&healed, true_file + rest).unwrap();
    let report = Recorded::report(&recorded.verify(&[&healed], &[]));
    assert_eq!(fault_kinds(&report), ["noticed"]);
    assert_eq!(report["signedThrough"].as_u64().unwrap() + 2, report["last"].as_u64().unwrap());
}

#[tokio::test]
async fn a_forged_continuation_is_not_signed() {
    let recorded = Recorded::stopped().await;
    let true_file = fs::read_to_string(recorded.file()).unwrap();
    let last: Value = serde_json::from_str(true_file.lines().last().unwrap()).unwrap();
    let members =
        format!("\"record\":\"event\",\"eventTime\":{},\"requestId\":\"invented\"", last["time"]);
    let (line, _head) = invented(head_of(true_file.lines().last().unwrap()), &members);
    let snapshot = recorded.snapshot();
    fs::write(recorded.file(), format!("{true_file}{line}")).unwrap();
    let server = recorded.installation.serve();
    until(|| server.has_logged("event=\"audit.discontinued\"")).await;
    signal("KILL", &server.process_id());
    server.wait();
    let outcome = recorded.verify(&[&recorded.file()], &[]);
    assert_eq!(outcome.code, Some(1), "the invented record is not signed");
    recorded.put_back(&snapshot);
    // A killed gateway has added records that follow the file.
    recorded.run_and_kill(1).await;
    let server = recorded.installation.serve();
    assert!(!server.has_logged("event=\"audit.discontinued\""), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// A copy of database, audit and token that is started twice makes two chains, both signed.
#[tokio::test]
async fn two_signed_chains_are_found_by_a_witness_of_either() {
    let recorded = Recorded::stopped().await;
    let snapshot = recorded.snapshot();
    recorded.run(3).await;
    let one = recorded.lines();
    recorded.put_back(&snapshot);
    recorded.run(5).await;
    let other = written(&recorded, "other", &recorded.lines());
    assert_eq!(recorded.faults(&[&other], &[]), [""; 0], "each chain alone is good");
    // The checkpoints of the first chain are enough, as a collector has received them.
    let checkpoints: Vec<_> = one.iter().filter(|line| is_checkpoint(line)).cloned().collect();
    let witness = written(&recorded, "witness", &checkpoints);
    let heads = ["--heads", witness.to_str().unwrap()];
    let faults = recorded.faults(&[&other], &heads);
    assert!(faults.contains(&"two-chains".to_owned()), "{faults:?}");
    // Both files together contradict each other without a witness.
    let one = written(&recorded, "one", &one);
    assert_ne!(recorded.faults(&[&one, &other], &[]), [""; 0]);
}

#[tokio::test]
async fn the_verifier_tells_what_is_proven_by_what() {
    let recorded = Recorded::stopped().await;
    recorded.run_and_kill(3).await;
    let lines = recorded.lines();
    let signed = lines.iter().rposition(|line| is_checkpoint(line)).unwrap();
    let witness = written(&recorded, "witness", &lines[..signed + 3]);
    let file = recorded.file();
    let key = ["--public-key", recorded.public_key.to_str().unwrap()];
    let verify = ["audit", "verify", file.to_str().unwrap(), "--heads", witness.to_str().unwrap()];
    let shown = run(recorded.installation.command(&[&verify[..], &key].concat()), b"").done();
    let fingerprint = recorded.key().fingerprint();
    let covered = signed;
    for wanted in [
        format!("signed      1 to {covered} by key {fingerprint}"),
        format!("witnessed   1 to {} by --heads or a manifest", signed + 3),
        format!("chain only  {} to {}", signed + 4, lines.len()),
    ] {
        assert!(shown.contains(&wanted), "{wanted}\n{shown}");
    }
}

#[tokio::test]
async fn a_witness_that_is_not_of_this_key_is_no_witness() {
    let recorded = Recorded::stopped().await;
    let lines = recorded.lines();
    let checkpoint = lines.iter().find(|line| is_checkpoint(line)).unwrap();
    let (before, rest) = checkpoint.split_once("\"signature\":\"").unwrap();
    let other = if rest.starts_with('A') { "B" } else { "A" };
    let bad = format!("{before}\"signature\":\"{other}{}", &rest[1..]);
    let witness = written(&recorded, "witness", &[bad]);
    let heads = ["--heads", witness.to_str().unwrap()];
    assert_eq!(recorded.faults(&[&recorded.file()], &heads), ["bad-signature"]);
    let empty = written(&recorded, "empty", &["nothing\n".to_owned()]);
    let heads = ["--heads", empty.to_str().unwrap()];
    let refused = recorded.verify(&[Path::new(&recorded.file())], &heads);
    assert!(refused.failed(1).contains("has no audit record and no head"));
}
