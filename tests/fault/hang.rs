//! A module that blocks the threads inside it: correct answers, bounded resources, a shutdown in
//! time, and a new process where it helps.

use std::fs;
use std::time::{Duration, Instant};

use fault_token::{Fault, Rule, When};
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

use crate::scale::allowed;
use crate::setup::{FaultToken, Setup, count};
use crate::support::gateway::text;
use crate::support::process::{is_alive, until};
use crate::support::softhsm::scratch;

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

/// The deadline of a call to the token in `hsmgate dev`.
const DEADLINE: Duration = Duration::from_secs(5);
/// What is promised beyond it.
const BEYOND: Duration = Duration::from_millis(100);
/// What is promised once it is known that the module hangs.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Threads that the runtime may start for blocking work of its jobs meanwhile; a thread for each call
/// would be 84.
const BLOCKING: usize = 4;
/// What is promised for a stop.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_module_that_hangs_keeps_neither_a_request_nor_the_stop() {
    let mut setup = Setup::start();
    assert_eq!(setup.reply("Encrypt", ENCRYPT).await.status, 200);
    let (before, token_before) = threads(setup.gateway.process_id());
    setup.token.add(Rule::on(&["C_Encrypt"], Fault::Hang));

    let replies = join_all((0..64).map(|_call| setup.reply("Encrypt", ENCRYPT))).await;
    let longest = replies.iter().map(|reply| reply.took).max().unwrap_or_default();
    println!("longest wait {} ms", longest.as_millis());
    for reply in &replies {
        assert_eq!((reply.status, reply.retry_after.is_some()), (503, true), "{reply:?}");
        assert!(reply.took <= DEADLINE + allowed(BEYOND), "{reply:?}");
    }

    for _call in 0..20 {
        let reply = setup.reply("Encrypt", ENCRYPT).await;
        assert_eq!((reply.status, reply.retry_after.is_some()), (503, true), "{reply:?}");
        assert!(reply.took < allowed(AT_ONCE), "{reply:?}");
    }
    let key = [("KeyId", setup.gateway.dev.key_id.as_str())];
    assert_eq!(setup.reply("DescribeKey", &key).await.status, 200);
    assert_eq!(setup.admin("/readyz").await.0, 503);
    assert_eq!(setup.admin("/livez").await.0, 200);
    let (after, token_after) = threads(setup.gateway.process_id());
    assert_eq!(token_after, token_before, "no thread of the token for a call");
    assert!(after <= before + BLOCKING, "{before} threads before, {after} after 84 calls");
    let told = setup.gateway.log().matches("the PKCS#11 module hangs").count();
    assert_eq!(told, 1, "loud, and once");

    let begin = Instant::now();
    setup.gateway.terminate();
    let id = setup.gateway.process_id();
    until(|| !is_alive(&id)).await;
    println!("stopped after {} ms", begin.elapsed().as_millis());
    assert!(begin.elapsed() < STOP, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn calls_go_on_when_the_module_lets_go() {
    let mut setup = Setup::start();
    setup.token.calls();
    let hang = setup.token.add(Rule::on(&["C_Encrypt"], Fault::Hang));
    let replies = join_all((0..64).map(|_call| setup.reply("Encrypt", ENCRYPT))).await;
    assert!(replies.iter().all(|reply| reply.status == 503));
    assert_eq!(setup.admin("/readyz").await.0, 503);
    setup.token.remove(hang);
    let begin = Instant::now();
    while setup.reply("Encrypt", ENCRYPT).await.status != 200 {
        tokio::task::yield_now().await;
    }
    println!("first success {} ms after the end", begin.elapsed().as_millis());
    assert!(begin.elapsed() < allowed(Duration::from_secs(1)), "{:?}", begin.elapsed());
    assert_eq!(count(&setup.token.calls(), "C_Finalize"), 0, "it was never lost");
}

#[tokio::test]
async fn a_new_process_takes_over_when_the_module_hangs_in_the_old_one_only() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(dir.path());
    let limits = "[token]\ntimeout_ms = 1000\nhang_timeout_ms = 1000\n";
    let (installation, user) = token.installation(|text| *text = text.replace("[token]\n", limits));
    let server = installation.serve_with(&["--supervise"]);
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let encrypt: &[(&str, &str)] = &[("KeyId", &key), ("Plaintext", "SGVsbG8=")];
    client.call("Encrypt", encrypt).await.unwrap();
    let before = server.supervised();

    // Each process counts its own calls: a new one gets by until its hundredth.
    let encrypted = count(&token.calls(), "C_Encrypt");
    token.add(Rule::on(&["C_Encrypt"], Fault::Hang).when(When::From(100)));
    assert!(encrypted < 100);
    let begin = Instant::now();
    while join_all((0..16).map(|_call| client.call("Encrypt", encrypt)))
        .await
        .iter()
        .all(Result::is_ok)
    {}
    let hangs = Instant::now();
    until(|| server.supervised() != before).await;
    client.call("Encrypt", encrypt).await.unwrap();
    println!(
        "hung after {} ms, first success {} ms later",
        (hangs - begin).as_millis(),
        hangs.elapsed().as_millis()
    );
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_new_process_takes_over_when_the_module_refuses_to_begin_in_the_old_one_only() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(dir.path());
    let limits = "[token]\ntimeout_ms = 1000\nhang_timeout_ms = 1000\n";
    let (installation, user) = token.installation(|text| *text = text.replace("[token]\n", limits));
    let server = installation.serve_with(&["--supervise"]);
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let encrypt: &[(&str, &str)] = &[("KeyId", &key), ("Plaintext", "SGVsbG8=")];
    let before = server.supervised();

    // Each process counts its own calls: one that is new has a good C_Initialize, and gets by until
    // its hundredth C_Encrypt.
    assert!(count(&token.calls(), "C_Encrypt") < 100);
    token.add(
        Rule::on(&["C_Initialize"], Fault::return_code("CKR_GENERAL_ERROR")).when(When::From(2)),
    );
    token.add(
        Rule::on(&["C_Encrypt"], Fault::return_code("CKR_DEVICE_REMOVED")).when(When::From(100)),
    );
    while client.call("Encrypt", encrypt).await.is_ok() {}
    until(|| server.supervised() != before).await;
    client.call("Encrypt", encrypt).await.unwrap();
    until(|| server.has_logged("token.process_restart_needed")).await;
    assert_eq!(server.stop(), Some(0));
}

/// The doctor comes to an end, with one thing that failed, and the rest looked at or `left`.
fn examine_while_it_hangs(function: &str, left: &str) {
    let dir = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(dir.path());
    let (installation, _user) = token.installation(|_text| {});
    token.add(Rule::on(&[function], Fault::Hang));
    let looked = installation.configured(&["doctor", "--json"]);
    assert_eq!(looked.code, Some(7), "{looked:?}");
    let told: Value = serde_json::from_slice(&looked.stdout).unwrap();
    let checks = |verdict: &str| {
        let checks = told["checks"].as_array().unwrap().iter();
        let checks = checks.filter(|check| check["verdict"] == verdict);
        checks.map(|check| text(&check["name"])).collect::<Vec<_>>()
    };
    assert_eq!(checks("failed").len(), 1, "{told}");
    assert!(checks("ok").contains(&"database"), "{told}");
    assert!(checks("not-checked").contains(&left), "{told}");
}

#[test]
fn the_doctor_tells_of_a_module_that_hangs_when_it_is_opened() {
    examine_while_it_hangs("C_Initialize", "keys");
}

#[test]
fn the_doctor_tells_of_a_module_that_hangs_when_a_key_is_made() {
    examine_while_it_hangs("C_GenerateKeyPair", "keys");
}

/// The threads of `process`: all, and those of the token. Those of SQLite connections, which come and
/// go, do not count.
fn threads(process: u32) -> (usize, usize) {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let names: Vec<_> = names.filter(|name| !name.starts_with("sqlx-sqlite")).collect();
    (names.len(), names.iter().filter(|name| name.starts_with("token-")).count())
}

#[test]
fn the_doctor_tells_of_a_module_that_hangs_when_it_is_searched() {
    // Each start searches for test keys that an earlier one has left.
    examine_while_it_hangs("C_FindObjectsInit", "keys");
}
