//! A token with many keys, each of which takes its time to be looked at.

use std::time::Instant;

use fault_token::{Fault, HANGING, Rule};
use futures_util::future::{join, join_all};

use crate::gateway::until;
use crate::rig::{FaultToken, PLAINTEXT, Rig, count};
use crate::scale::{report, scaled};

/// What a look at one object takes, in milliseconds.
const LOOK: u64 = 20;
/// All of them take longer than a call may.
const KEYS: usize = 400;

#[tokio::test]
async fn a_start_with_many_keys_serves_while_it_looks_at_them() {
    let mut rig = Rig::start();
    let blobs = rig.sealed(KEYS).await;
    let (dir, mut token) = (rig.gateway.process.stop(), rig.token);
    token.add(Rule::on(&["C_GetAttributeValue"], Fault::Delay(LOOK)));
    rig = Rig::start_in(dir, token, &[]);
    for blob in blobs.iter().step_by(KEYS / 10) {
        let reply = rig.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(reply.body["Plaintext"], PLAINTEXT, "{reply:?}");
    }
    rig.gateway.create_key().await;
}

#[tokio::test]
async fn a_key_pair_that_takes_its_time_holds_up_no_other_key() {
    let rig = Rig::start();
    let blobs = rig.sealed(4).await;
    let mut rig = rig.restart();
    assert_eq!(rig.encrypt().await.status, 200);
    rig.token.calls();
    let slow = rig.token.add(Rule::on(&["C_GenerateKeyPair"], Fault::Hang));
    let mut token = rig.token.clone();
    let rig = &rig;
    let create = rig.reply("CreateKey", &[("KeySpec", "RSA_2048"), ("KeyUsage", "SIGN/VERIFY")]);
    let beside = async {
        until(|| token.calls().iter().any(|call| call.answer == HANGING)).await;
        let open = async |blob| rig.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        // They may have to wait until they are found.
        let cold = join_all(blobs.iter().map(|blob| open(blob)));
        let warm = async {
            for _ in 0..20 {
                let reply = rig.encrypt().await;
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

/// Opens everything, and counts the searches that it took.
async fn searches(rig: &Rig, blobs: &[String], what: &str) -> usize {
    rig.token.calls();
    let begin = Instant::now();
    rig.opens_all(blobs).await;
    let searches = count(&rig.token.calls(), "C_FindObjectsInit");
    report(&format!(
        "{what}: {} keys used in {:?}, {searches} searches",
        blobs.len(),
        begin.elapsed()
    ));
    searches
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
    let rig = Rig::start();
    let blobs = rig.sealed(keys).await;
    rig.token.calls();
    let mut rig = rig.restart();
    until_found(&rig.token, keys).await;
    // Some are used before the last of them is known.
    assert!(searches(&rig, &blobs, "after a start").await < keys / 4);

    let loss = rig.token.add(Rule::on(&["C_Encrypt"], Fault::answer("CKR_DEVICE_REMOVED")));
    assert_eq!(rig.encrypt().await.status, 503);
    rig.token.calls();
    rig.token.remove(loss);
    rig.until_no_longer(503).await;
    until_found(&rig.token, keys).await;
    assert!(searches(&rig, &blobs, "after a loss").await < keys / 4);
}
