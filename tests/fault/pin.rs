//! A refused PIN is tried once, and not again until an operator has changed it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use fault_token::{Fault, Rule, When};

use crate::setup::{Setup, count};

const REFUSED: &str = "CKR_PIN_INCORRECT";

/// Whatever callers do, and however often the service is started, nobody logs in.
async fn is_left_alone(mut setup: Setup) {
    setup.until_readiness(503).await;
    for _call in 0..50 {
        let reply = setup.encrypt().await;
        assert_eq!((reply.status, &*reply.code), (503, "ServiceUnavailableTemporary"));
    }
    setup.gateway.describe("alias/demo").await;
    assert_eq!(setup.admin("/livez").await.0, 200);
    assert_eq!(count(&setup.token.calls(), "C_Login"), 1);
    setup.token.clear();
    let Setup { gateway, token } = setup;
    let dir = gateway.stop();
    for _start in 0..3 {
        let refusal = Setup::refuses_to_start_in(&dir, &token);
        assert!(refusal.contains("the PIN was not tried"), "{refusal}");
        assert!(refusal.contains("pin-refused"), "{refusal}");
    }
    assert_eq!(count(&token.calls(), "C_Login"), 0);
    // What the operator does.
    fs::remove_file(dir.path().join("state/pin-refused")).unwrap();
    let setup = Setup::start_in(dir, token, &[]);
    assert_eq!(setup.encrypt().await.status, 200);
}

#[tokio::test]
async fn a_pin_that_is_refused_after_a_logout_is_tried_once() {
    let mut setup = Setup::start();
    setup.token.calls();
    setup.token.add(Rule::on(&["C_Login"], Fault::return_code(REFUSED)));
    setup.token.add(Rule::on(&["C_EncryptInit"], Fault::LogOut).when(When::At(1)));
    assert_eq!(setup.encrypt().await.status, 503);
    is_left_alone(setup).await;
}

#[tokio::test]
async fn a_pin_that_is_refused_in_a_recovery_is_tried_once() {
    let mut setup = Setup::start();
    setup.token.calls();
    setup.token.add(Rule::on(&["C_Login"], Fault::return_code(REFUSED)));
    setup.token.add(Rule::on(&["C_EncryptInit"], Fault::Finalize).when(When::At(1)));
    assert_eq!(setup.encrypt().await.status, 503);
    is_left_alone(setup).await;
}

#[tokio::test]
async fn a_pin_that_is_refused_at_the_start_is_tried_once() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on(&["C_Login"], Fault::return_code(REFUSED)));
    let Setup { gateway, token } = setup;
    let dir = gateway.stop();
    token.calls();
    for _start in 0..3 {
        Setup::refuses_to_start_in(&dir, &token);
    }
    assert_eq!(count(&token.calls(), "C_Login"), 1);
}

const NEW_PIN: &str = "another-pin-2071";

/// Gives the token another PIN with the command, and returns its exit code and what it says.
fn change_pin(setup: &Setup, pin: &str) -> (Option<i32>, String) {
    let state = setup.gateway.state();
    let file = state.join("new-pin");
    fs::write(&file, pin).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command
        .args(["token", "change-pin", "--reason", "the quarterly change", "--config"])
        .arg(state.join("hsmgate.toml"))
        .arg("--new-pin-file")
        .arg(file)
        .env("SOFTHSM2_CONF", state.join("softhsm2.conf"))
        .env("HSMGATE_ALLOW_ROOT", "1")
        .envs(setup.token.environment());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn pin_file(setup: &Setup) -> String {
    fs::read_to_string(setup.gateway.state().join("pin")).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn the_pin_is_changed_without_a_failed_call_and_the_next_logins_have_the_new_one() {
    let mut setup = Setup::start();
    let (code, told) = change_pin(&setup, NEW_PIN);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(pin_file(&setup), NEW_PIN);
    assert_eq!(setup.encrypt().await.status, 200);
    setup.token.calls();
    setup.token.add(Rule::on(&["C_EncryptInit"], Fault::Finalize).when(When::At(1)));
    let _lost = setup.encrypt().await;
    setup.until_readiness(200).await;
    assert_eq!(setup.until_no_longer(503).await.status, 200);
    assert!(count(&setup.token.calls(), "C_Login") > 0);
    setup.token.clear();
    let setup = setup.restart();
    assert_eq!(setup.encrypt().await.status, 200);
    let audit = fs::read_to_string(setup.gateway.state().join("audit.jsonl")).unwrap();
    let record = audit.lines().find(|line| line.contains("ChangeTokenPin")).unwrap();
    assert!(record.contains("the quarterly change") && !audit.contains(NEW_PIN), "{record}");
}

#[tokio::test]
async fn a_change_of_the_pin_that_was_killed_is_completed_by_the_next_start() {
    for (kill, is_changed) in [(Fault::KillBefore, false), (Fault::KillAfter, true)] {
        let mut setup = Setup::start();
        let old = pin_file(&setup);
        let rule = setup.token.add(Rule::on(&["C_SetPIN"], kill));
        assert_eq!(change_pin(&setup, NEW_PIN).0, None);
        setup.token.remove(rule);
        assert_eq!(pin_file(&setup), old);
        let setup = setup.restart();
        assert_eq!(setup.encrypt().await.status, 200);
        assert_eq!(pin_file(&setup), if is_changed { NEW_PIN } else { &old });
        let again = change_pin(&setup, "a-third-pin-55");
        assert_eq!(again.0, Some(0), "{}", again.1);
        assert_eq!(setup.restart().encrypt().await.status, 200);
    }
}

#[tokio::test]
async fn a_pin_that_the_token_refuses_leaves_the_old_one() {
    let setup = Setup::start();
    let old = pin_file(&setup);
    let (code, told) = change_pin(&setup, "1");
    assert!(code.is_some_and(|code| code != 0) && told.contains("CKR_PIN_LEN_RANGE"), "{told}");
    assert_eq!(pin_file(&setup), old);
    assert!(!setup.gateway.state().join("pin.next").exists());
    let (code, told) = change_pin(&setup, &old);
    assert!(code.is_some_and(|code| code != 0) && told.contains("present PIN"), "{told}");
    assert_eq!(setup.restart().encrypt().await.status, 200);
}
