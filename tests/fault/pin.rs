//! A refused PIN is tried once, and not again until an operator has changed it.

use std::fs;

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
