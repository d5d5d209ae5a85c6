//! Losses in the token that are repaired before a caller notices.

use fault_token::{Fault, Rule, When};

use crate::scale::{report, scaled};
use crate::setup::{ENCRYPT, Setup, count};
use crate::support::gateway::text;

/// Every call goes well while something is lost at every twentieth C_Encrypt or C_DecryptInit.
async fn is_made_good(fault: Fault) {
    let losses = scaled(4, 20);
    let mut setup = Setup::start();
    let key = setup.gateway.create_key().await;
    let functions = ["C_Encrypt", "C_DecryptInit"];
    let rule = setup.token.add(Rule::on(&functions, fault.clone()).when(When::Every(20)));
    setup.token.calls();
    let mut calls = 0;
    let mut met = 0;
    while met < losses {
        for params in [ENCRYPT, [("KeyId", &key), ENCRYPT[1]]] {
            let encrypted = setup.reply("Encrypt", &params).await;
            assert_eq!(encrypted.status, 200, "{encrypted:?}\n{}", setup.gateway.log());
            let blob = text(&encrypted.body["CiphertextBlob"]);
            let decrypted = setup.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
            assert_eq!(decrypted.status, 200, "{decrypted:?}\n{}", setup.gateway.log());
            calls += 2;
        }
        met += setup.token.calls().iter().filter(|call| call.rules.contains(&rule)).count();
    }
    let everything = setup.token.all_calls();
    assert_eq!(setup.metric("hsmgate_token_disconnects_total").await, Some(0.0));
    report(&format!(
        "{fault:?}: {met} losses in {calls} calls, none noticed; {} C_Login, {} C_OpenSession",
        count(&everything, "C_Login"),
        count(&everything, "C_OpenSession")
    ));
}

#[tokio::test]
async fn sessions_that_are_lost_under_traffic_are_opened_again() {
    is_made_good(Fault::CloseSessions).await;
}

#[tokio::test]
async fn a_login_that_is_lost_under_traffic_is_made_once() {
    is_made_good(Fault::LogOut).await;
}

#[tokio::test]
async fn handles_that_die_under_traffic_are_found_again() {
    is_made_good(Fault::LogInAgain).await;
}

#[tokio::test]
async fn a_device_that_fails_once_is_not_taken_for_lost() {
    is_made_good(Fault::return_code("CKR_DEVICE_ERROR")).await;
}

#[tokio::test]
async fn a_good_ciphertext_is_not_called_bad_because_of_a_transient_fault() {
    let mut setup = Setup::start();
    let encrypted = setup.encrypt_with_new_keys(1).await;
    for code in ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_DEVICE_ERROR"] {
        // The first call asks for the length.
        let rule = Rule::on(&["C_Decrypt"], Fault::return_code_after(code));
        setup.token.add(rule.when(When::At(2)));
        setup.decrypts_all(&encrypted).await;
    }
}

#[tokio::test]
async fn a_key_whose_generation_was_not_confirmed_is_made_once() {
    let mut setup = Setup::start();
    let before = setup.gateway.token_objects();
    let rule = Rule::on(&["C_GenerateKey"], Fault::return_code_after("CKR_SESSION_HANDLE_INVALID"));
    setup.token.add(rule.when(When::At(1)));
    // What was generated cannot be removed immediately.
    setup.token.add(Rule::on(&["C_FindObjectsInit"], Fault::CloseSessions).when(When::At(1)));
    // And later the token says that it is not there.
    let rule = Rule::on(&["C_DestroyObject"], Fault::return_code("CKR_OBJECT_HANDLE_INVALID"));
    setup.token.add(rule.when(When::At(1)));
    let key = setup.gateway.create_key().await;
    setup.gateway.call("Encrypt", &[("KeyId", &key), ENCRYPT[1]]).await;
    assert_eq!(setup.gateway.token_objects(), before + 1);
}
