//! A token with many keys, each of which takes time to be found.

use std::time::{Duration, Instant};

use fault_token::{Fault, HANGING, Rule};
use futures_util::future::{join, join_all};

use crate::scale::{report, scaled};
use crate::setup::{FaultToken, PLAINTEXT, Setup, count};
use crate::support::process::until;

/// What a look at one object takes.
const LOOK: Duration = Duration::from_millis(20);
/// All of them take longer than a call may.
const KEYS: usize = 400;

#[tokio::test]
async fn a_start_with_many_keys_serves_while_it_looks_at_them() {
    let mut setup = Setup::start();
    let blobs = setup.encrypt_with_new_keys(KEYS).await;
    let (dir, mut token) = (setup.gateway.stop(), setup.token);
    token.add(Rule::on(&["C_GetAttributeValue"], Fault::delay(LOOK)));
    setup = Setup::start_in(dir, token, &[]);
    for blob in blobs.iter().step_by(KEYS / 10) {
        let reply = setup.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(reply.body["Plaintext"], PLAINTEXT, "{reply:?}");
    }
    setup.gateway.create_key().await;
}

#[tokio::test]
async fn a_key_pair_that_takes_its_time_holds_up_no_other_key() {
    let setup = Setup::start();
    let blobs = setup.encrypt_with_new_keys(4).await;
    let mut setup = setup.restart();
    assert_eq!(setup.encrypt().await.status, 200);
    setup.token.calls();
    let slow = setup.token.add(Rule::on(&["C_GenerateKeyPair"], Fault::Hang));
    let mut token = setup.token.clone();
    let setup = &setup;
    let create = setup.reply("CreateKey", &[("KeySpec", "RSA_2048"), ("KeyUsage", "SIGN/VERIFY")]);
    let beside = async {
        until(|| token.calls().iter().any(|call| call.return_code == HANGING)).await;
        let open = async |blob| setup.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        // They may have to wait until they are found.
        let cold = join_all(blobs.iter().map(|blob| open(blob)));
        let warm = async {
            for _ in 0..20 {
                let reply = setup.encrypt().await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
            token.remove(slow);
        };
        join(cold, warm).await.0
    };
    let (created, cold) = join(create, beside).await;
    assert_eq!(created.status, 200, "{created:?}");
    for reply in cold {
        assert_eq!(reply.body["Plaintext"], PLAINTEXT, "{reply:?}");
    }
}

/// Opens everything, each key once, with few searches. A key that is used once is not copied.
async fn few_searches(setup: &Setup, blobs: &[String], what: &str) {
    setup.token.calls();
    let (begin, keys) = (Instant::now(), blobs.len());
    setup.decrypts_all(blobs).await;
    let calls = setup.token.calls();
    let (searches, copies) = (count(&calls, "C_FindObjectsInit"), count(&calls, "C_CopyObject"));
    report(&format!(
        "{what}: {keys} keys used in {:?}, {searches} searches, {copies} copies",
        begin.elapsed()
    ));
    assert!(searches < keys / 4 && copies < keys / 4, "{searches} searches, {copies} copies");
}

/// Waits until the token has shown so many objects one after another.
async fn until_found(token: &FaultToken, objects: usize) {
    let mut shown = 0;
    until(|| {
        shown += count(&token.calls(), "C_GetAttributeValue");
        shown >= objects
    })
    .await;
}

#[tokio::test]
async fn many_keys_are_found_at_once_at_a_start_and_after_a_loss() {
    let keys = scaled(100, 5_000);
    let setup = Setup::start();
    let blobs = setup.encrypt_with_new_keys(keys).await;
    setup.token.calls();
    let mut setup = setup.restart();
    until_found(&setup.token, keys).await;
    // Some are used before the last of them is known.
    few_searches(&setup, &blobs, "after a start").await;

    let loss = setup.token.add(Rule::on(&["C_Encrypt"], Fault::return_code("CKR_DEVICE_REMOVED")));
    assert_eq!(setup.encrypt().await.status, 503);
    setup.token.calls();
    setup.token.remove(loss);
    setup.until_no_longer(503).await;
    until_found(&setup.token, keys).await;
    few_searches(&setup, &blobs, "after a loss").await;
}
