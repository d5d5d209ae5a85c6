//! A PIN that is refused: tried once, and never again until an operator has acted.

use std::fs;

use fault_token::{Fault, Rule, When};

use crate::rig::{Rig, count};

const REFUSED: &str = "CKR_PIN_INCORRECT";

/// Whatever callers do, and however often the service is started, nobody logs in.
async fn is_left_alone(mut rig: Rig) {
    rig.until_readiness(503).await;
    for _call in 0..50 {
        let reply = rig.encrypt().await;
        assert_eq!((reply.status, &*reply.code), (503, "ServiceUnavailableTemporary"));
    }
    rig.gateway.describe("alias/demo").await;
    assert_eq!(rig.admin("/livez").await.0, 200);
    assert_eq!(count(&rig.token.calls(), "C_Login"), 1);
    rig.token.clear();
    let Rig { gateway, token } = rig;
    let dir = gateway.process.stop();
    for _start in 0..3 {
        let refusal = Rig::refuses_to_start_in(&dir, &token);
        assert!(refusal.contains("the PIN is not tried"), "{refusal}");
        assert!(refusal.contains("pin-refused"), "{refusal}");
    }
    assert_eq!(count(&token.calls(), "C_Login"), 0);
    // What the operator does.
    fs::remove_file(dir.path().join("state/pin-refused")).unwrap();
    let rig = Rig::start_in(dir, token, &[]);
    assert_eq!(rig.encrypt().await.status, 200);
}

#[tokio::test]
async fn a_pin_that_is_refused_after_a_logout_is_tried_once() {
    let mut rig = Rig::start();
    rig.token.calls();
    rig.token.add(Rule::on(&["C_Login"], Fault::answer(REFUSED)));
    rig.token.add(Rule::on(&["C_EncryptInit"], Fault::LogOut).when(When::At(1)));
    assert_eq!(rig.encrypt().await.status, 503);
    is_left_alone(rig).await;
}

#[tokio::test]
async fn a_pin_that_is_refused_in_a_recovery_is_tried_once() {
    let mut rig = Rig::start();
    rig.token.calls();
    rig.token.add(Rule::on(&["C_Login"], Fault::answer(REFUSED)));
    rig.token.add(Rule::on(&["C_EncryptInit"], Fault::Finalize).when(When::At(1)));
    assert_eq!(rig.encrypt().await.status, 503);
    is_left_alone(rig).await;
}

#[tokio::test]
async fn a_pin_that_is_refused_at_the_start_is_tried_once() {
    let mut rig = Rig::start();
    rig.token.add(Rule::on(&["C_Login"], Fault::answer(REFUSED)));
    let Rig { gateway, token } = rig;
    let dir = gateway.process.stop();
    token.calls();
    for _start in 0..3 {
        Rig::refuses_to_start_in(&dir, &token);
    }
    assert_eq!(count(&token.calls(), "C_Login"), 1);
}
