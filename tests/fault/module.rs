//! The module that fails does so as it is told.

use std::pin::pin;

use fault_token::{Fault, HANGING, KILLED, Rule, When};

use crate::rig::{ENCRYPT, Rig, count};

#[tokio::test]
async fn every_call_is_logged_and_of_an_encryption_the_key_and_the_iv() {
    let rig = Rig::start();
    rig.token.calls();
    assert_eq!(rig.reply("Encrypt", &ENCRYPT).await.status, 200);
    let calls = rig.token.calls();
    let sealed: Vec<_> = calls.iter().filter(|call| call.iv.is_some()).collect();
    assert_eq!(sealed.len(), 1, "{calls:?}");
    assert_eq!(sealed[0].function, "C_Encrypt");
    assert_eq!(sealed[0].key.as_ref().unwrap().len(), 32);
    assert_eq!(sealed[0].iv.as_ref().unwrap().len(), 24);
    assert!(count(&rig.token.all_calls(), "C_Initialize") >= 1);
}

#[tokio::test]
async fn a_process_is_killed_at_the_call_that_was_named() {
    let mut rig = Rig::start();
    rig.token.calls();
    rig.token.add(Rule::on_all(Fault::KillAfter).when(When::At(2)));
    assert!(rig.gateway.client.call("Encrypt", &ENCRYPT).await.is_err());
    let calls = rig.token.calls();
    assert_eq!(calls.last().unwrap().answer, KILLED, "{calls:?}");
    assert_eq!(calls.len(), 2);
    let rig = rig.kill_and_restart();
    assert_eq!(rig.reply("Encrypt", &ENCRYPT).await.status, 200);
}

#[tokio::test]
async fn a_call_hangs_until_its_rule_is_gone() {
    let mut rig = Rig::start();
    rig.token.calls();
    let rule = rig.token.add(Rule::on(&["C_EncryptInit"], Fault::Hang));
    let mut token = rig.token.clone();
    let mut hanging = pin!(rig.reply("Encrypt", &ENCRYPT));
    let other_calls = async {
        while !token.calls().iter().any(|call| call.answer == HANGING) {
            tokio::task::yield_now().await;
        }
        for _call in 0..5 {
            rig.gateway.describe("alias/demo").await;
        }
    };
    tokio::select! {
        () = other_calls => {}
        reply = &mut hanging => panic!("it did not hang: {reply:?}"),
    }
    token.remove(rule);
    assert_eq!(hanging.await.status, 200);
}

#[tokio::test]
async fn a_damaged_output_is_not_what_was_sealed() {
    let mut rig = Rig::start();
    let rule = rig.token.add(Rule::on(&["C_Encrypt"], Fault::FlipBit));
    let blob = rig.reply("Encrypt", &ENCRYPT).await.body["CiphertextBlob"].clone();
    rig.token.remove(rule);
    let reply = rig.reply("Decrypt", &[("CiphertextBlob", blob.as_str().unwrap())]).await;
    assert_eq!(reply.status, 400, "{reply:?}");
}
