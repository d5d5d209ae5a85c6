//! A key version that the token does not encrypt with any more is replaced by a rotation.

use fault_token::{Fault, Rule, When};

use crate::setup::Setup;
use crate::support::gateway::text;
use crate::support::process::until_async;

const UNUSABLE: &str = "hsmgate_unusable_key_versions_total";

/// Encrypts until a new version does, and gives the statuses before.
async fn until_rotated(setup: &Setup, first: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    until_async(async || {
        let reply = setup.encrypt().await;
        statuses.push(reply.status);
        reply.status == 200 && text(&reply.body["KeyVersionId"]) != first
    })
    .await;
    statuses
}

#[tokio::test]
async fn a_key_that_the_token_calls_exhausted_is_rotated_at_once() {
    let mut setup = Setup::start();
    let before = setup.encrypt().await;
    let first = text(&before.body["KeyVersionId"]).to_owned();
    // KEY_EXHAUSTED of PKCS#11 3.0.
    let fault = Fault::return_code("0x203");
    setup.token.add(Rule::on(&["C_Encrypt"], fault).when(When::At(1)));
    let refused = setup.encrypt().await;
    assert_eq!((refused.status, refused.retry_after), (503, Some(1)), "{refused:?}");
    until_rotated(&setup, &first).await;
    assert_eq!(setup.metric(UNUSABLE).await, Some(1.0), "{}", setup.gateway.log());
    setup.decrypts_all(&[text(&before.body["CiphertextBlob"]).to_owned()]).await;
}

#[tokio::test]
async fn a_version_that_alone_fails_again_and_again_is_rotated() {
    let mut setup = Setup::start();
    let first = text(&setup.encrypt().await.body["KeyVersionId"]).to_owned();
    // Four tries of each request fail, and the health check of the token after them succeeds, with a
    // call for the length and one for the ciphertext.
    for at in (1..=60).filter(|at| (1..=4).contains(&(at % 6))) {
        let fault = Fault::return_code("CKR_GENERAL_ERROR");
        setup.token.add(Rule::on(&["C_Encrypt"], fault).when(When::At(at)));
    }
    let statuses = until_rotated(&setup, &first).await;
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 10, "{statuses:?}");
    assert_eq!(setup.metric(UNUSABLE).await, Some(1.0), "{}", setup.gateway.log());
    assert_eq!(setup.metric("hsmgate_token_disconnects_total").await, Some(0.0));
}
