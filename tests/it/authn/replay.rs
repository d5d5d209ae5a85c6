//! A replayed request is refused by the process that answered it and by the next one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsmgate::model::clock;
use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::process::until;
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, SigningVariant};

/// `HSMGATE_REPLAYS` raises the number of requests; the guard itself is tried with 10,000 in
/// `src/authn/replay.rs`.
fn count() -> usize {
    let text = std::env::var("HSMGATE_REPLAYS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(500)
}

/// The statuses of these requests, over one connection.
async fn sent(gateway: &Gateway, requests: &[Vec<u8>]) -> Vec<(u16, String)> {
    let mut connection = Connection::open(gateway.address()).await;
    let mut answers = Vec::new();
    for request in requests {
        connection.send(request).await;
        let answer = connection.answer().await.expect("the connection is kept");
        let code = answer.json()["Code"].as_str().unwrap_or_default().to_owned();
        answers.push((answer.status, code));
    }
    answers
}

#[tokio::test]
async fn every_replay_is_refused_also_after_a_kill() {
    let free = ["--calls-per-second", "0", "--authentication-failures-per-second", "0"];
    let gateway = Gateway::start_with(&free);
    let ways: Vec<SigningVariant> = SigningVariant::all().collect();
    let requests: Vec<Vec<u8>> = (0..count())
        .map(|number| {
            let variant = ways[number % ways.len()];
            Call::new(&gateway, variant, "DescribeKey", &[("KeyId", "alias/demo")]).signed().bytes()
        })
        .collect();
    let first = sent(&gateway, &requests).await;
    assert!(
        first.iter().all(|answer| answer.0 == 200),
        "{:?}",
        first.iter().find(|it| it.0 != 200)
    );
    let used = (400, "SignatureNonceUsed".to_owned());
    assert!(sent(&gateway, &requests).await.iter().all(|answer| *answer == used));
    let address = gateway.address().to_owned();
    let directory = gateway.kill();
    // The address is signed, so the next process must have the same one.
    let next = Gateway::start_at(directory, &address, &free);
    let again = sent(&next, &requests).await;
    assert!(
        again.iter().all(|answer| *answer == used),
        "{:?}",
        again.iter().find(|it| **it != used)
    );
}

/// Requests signed now, answered with 200 by this gateway.
async fn answered(gateway: &Gateway) -> Vec<Vec<u8>> {
    let requests: Vec<Vec<u8>> = SigningVariant::all()
        .map(|variant| {
            Call::new(gateway, variant, "DescribeKey", &[("KeyId", "alias/demo")]).signed().bytes()
        })
        .collect();
    all_are(&sent(gateway, &requests).await, 200, "");
    requests
}

#[track_caller]
fn all_are(answers: &[(u16, String)], status: u16, code: &str) {
    let other = answers.iter().find(|(other, text)| (*other, text.as_str()) != (status, code));
    assert!(other.is_none(), "{other:?} in place of {status} {code}");
}

/// The next gateway on the address of the last one, which the requests are signed for.
fn next_at(directory: TempDir, address: &str) -> Gateway {
    Gateway::start_at(directory, address, &[])
}

fn journal(directory: &Path) -> std::path::PathBuf {
    directory.join("state/replay")
}

#[tokio::test]
async fn after_a_power_cut_no_start_of_that_boot_accepts_a_request_from_before_it() {
    let gateway = Gateway::start();
    let requests = answered(&gateway).await;
    let address = gateway.address().to_owned();
    let mut directory = gateway.kill();
    // What a power cut leaves: nonces that never reached the disk, and the record of another boot.
    let replay = journal(directory.path());
    for file in fs::read_dir(&replay).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|is| is == "nonces") {
            fs::write(path, "").unwrap();
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let other = boot.trim().chars().rev().collect::<String>();
            assert!(text.contains(boot.trim()), "{text}");
            fs::write(path, text.replace(boot.trim(), &other)).unwrap();
        }
    }
    for _start in 0..3 {
        let gateway = next_at(directory, &address);
        all_are(&sent(&gateway, &requests).await, 400, "InvalidTimeStamp.Expired");
        // What is signed now is good at once.
        answered(&gateway).await;
        directory = gateway.stop();
    }
}

#[tokio::test]
async fn a_start_without_the_journal_of_its_store_accepts_no_request_from_before_it() {
    let gateway = Gateway::start();
    let first = answered(&gateway).await;
    let address = gateway.address().to_owned();
    let directory = gateway.stop();
    fs::remove_dir_all(journal(directory.path())).unwrap();
    let gateway = next_at(directory, &address);
    all_are(&sent(&gateway, &first).await, 400, "InvalidTimeStamp.Expired");
    let second = answered(&gateway).await;
    until(|| gateway.log().contains("event=\"replay.older_requests_refused\"")).await;
    // A journal of this boot that belongs to another store.
    let directory = gateway.stop();
    let other = Gateway::start();
    answered(&other).await;
    let other = other.stop();
    fs::remove_dir_all(journal(directory.path())).unwrap();
    fs::rename(journal(other.path()), journal(directory.path())).unwrap();
    let gateway = next_at(directory, &address);
    all_are(&sent(&gateway, &second).await, 400, "InvalidTimeStamp.Expired");
    answered(&gateway).await;
}

#[tokio::test]
async fn a_store_that_was_never_served_trusts_the_whole_window() {
    let gateway = Gateway::start();
    let date = clock::now().plus_seconds(-14 * 60).to_string();
    let requests: Vec<Vec<u8>> = SigningVariant::all()
        .map(|variant| {
            let call = Call::new(&gateway, variant, "DescribeKey", &[("KeyId", "alias/demo")]);
            call.at(&date).signed().bytes()
        })
        .collect();
    all_are(&sent(&gateway, &requests).await, 200, "");
    all_are(&sent(&gateway, &requests).await, 400, "SignatureNonceUsed");
}

#[tokio::test]
async fn only_its_owner_can_read_the_journal_of_nonces() {
    let gateway = Gateway::start();
    answered(&gateway).await;
    let replay = gateway.state().join("replay");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&replay), 0o700);
    let files: Vec<_> = fs::read_dir(&replay).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}
