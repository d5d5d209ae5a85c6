//! The failing module itself follows its rules.

use std::pin::pin;

use fault_token::{Fault, HANGING, KILLED, Rule, When};

use crate::setup::{ENCRYPT, Setup, count};

#[tokio::test]
async fn every_call_is_logged_and_of_an_encryption_the_key_and_the_iv() {
    let setup = Setup::start();
    setup.token.calls();
    assert_eq!(setup.reply("Encrypt", &ENCRYPT).await.status, 200);
    let calls = setup.token.calls();
    let encrypted: Vec<_> = calls.iter().filter(|call| call.iv.is_some()).collect();
    assert_eq!(encrypted.len(), 1, "{calls:?}");
    assert_eq!(encrypted[0].function, "C_Encrypt");
    assert_eq!(encrypted[0].key.as_ref().unwrap().len(), 32);
    assert_eq!(encrypted[0].iv.as_ref().unwrap().len(), 24);
    assert!(count(&setup.token.all_calls(), "C_Initialize") >= 1);
}

#[tokio::test]
async fn a_process_is_killed_at_the_call_that_was_named() {
    let mut setup = Setup::start();
    setup.token.calls();
    setup.token.add(Rule::on_all(Fault::KillAfter).when(When::At(2)));
    assert!(setup.gateway.client.call("Encrypt", &ENCRYPT).await.is_err());
    let calls = setup.token.calls();
    assert_eq!(calls.last().unwrap().return_code, KILLED, "{calls:?}");
    assert_eq!(calls.len(), 2);
    let setup = setup.kill_and_restart();
    assert_eq!(setup.reply("Encrypt", &ENCRYPT).await.status, 200);
}

#[tokio::test]
async fn a_call_hangs_until_its_rule_is_gone() {
    let mut setup = Setup::start();
    setup.token.calls();
    let rule = setup.token.add(Rule::on(&["C_EncryptInit"], Fault::Hang));
    let mut token = setup.token.clone();
    let mut hanging = pin!(setup.reply("Encrypt", &ENCRYPT));
    let other_calls = async {
        while !token.calls().iter().any(|call| call.return_code == HANGING) {
            tokio::task::yield_now().await;
        }
        for _call in 0..5 {
            setup.gateway.describe("alias/demo").await;
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
async fn a_damaged_output_is_not_what_was_encrypted() {
    let mut setup = Setup::start();
    let rule = setup.token.add(Rule::on(&["C_Encrypt"], Fault::FlipBit));
    let blob = setup.reply("Encrypt", &ENCRYPT).await.body["CiphertextBlob"].clone();
    setup.token.remove(rule);
    let reply = setup.reply("Decrypt", &[("CiphertextBlob", blob.as_str().unwrap())]).await;
    assert_eq!(reply.status, 400, "{reply:?}");
}
