//! Transient return codes are retried, and the token stays in use.

use fault_token::{Fault, Rule, When};

use crate::scale::{report, scaled};
use crate::setup::{ENCRYPT, Setup};
use crate::support::gateway::text;
use crate::support::process::until;

/// What was shown to callers at once before, and a vendor's code.
const CODES: [&str; 5] = [
    "CKR_HOST_MEMORY",
    "CKR_DEVICE_MEMORY",
    "CKR_FUNCTION_CANCELED",
    "CKR_CANT_LOCK",
    "0x80000001",
];
const FUNCTIONS: [&str; 4] = ["C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"];
const OBJECTS: &str = "hsmgate_token_objects";
const LOSSES: &str = "hsmgate_token_disconnects_total";

/// Encrypts and decrypts while so many calls in a hundred fail with this code; how many calls the
/// callers saw fail.
async fn failures(setup: &Setup, calls: usize) -> usize {
    let mut failed = 0;
    let mut blob = String::new();
    for call in 0..calls {
        let reply = if call % 2 == 0 || blob.is_empty() {
            let reply = setup.reply("Encrypt", &ENCRYPT).await;
            if reply.status == 200 {
                text(&reply.body["CiphertextBlob"]).clone_into(&mut blob);
            }
            reply
        } else {
            setup.reply("Decrypt", &[("CiphertextBlob", &blob)]).await
        };
        assert_ne!(reply.status, 500, "{reply:?}");
        assert_ne!(reply.status, 400, "a good ciphertext is not called bad: {reply:?}");
        failed += usize::from(reply.status != 200);
    }
    failed
}

fn rule(code: &str, per_cent: u64) -> Rule {
    let when = When::Random { per_million: per_cent * 10_000, seed: 7 };
    Rule::on(&FUNCTIONS, Fault::return_code(code)).when(when)
}

#[tokio::test]
async fn passing_codes_in_one_call_of_a_hundred_are_never_seen() {
    let calls = scaled(300, 1_200);
    for code in CODES {
        let mut setup = Setup::start();
        setup.token.add(rule(code, 1));
        let failed = failures(&setup, calls).await;
        report(&format!("{code} in 1 % of the token's calls: {failed} of {calls} calls failed"));
        assert_eq!(failed, 0, "{code}\n{}", setup.gateway.log());
        assert_eq!(setup.metric(LOSSES).await, Some(0.0), "{code}");
    }
}

#[tokio::test]
async fn a_token_that_errs_in_one_call_of_ten_is_not_taken_for_lost() {
    let calls = scaled(200, 1_200);
    for code in CODES.into_iter().chain(["CKR_GENERAL_ERROR", "CKR_DEVICE_ERROR"]) {
        let mut setup = Setup::start();
        setup.token.add(rule(code, 10));
        let mut failed = 0;
        for call in 0..calls {
            let reply = setup.reply("Encrypt", &ENCRYPT).await;
            // A machine with too many processes may also make a call wait too long.
            assert!([200, 429, 503].contains(&reply.status), "{call}: {reply:?}");
            failed += usize::from(reply.status != 200);
        }
        report(&format!("{code} in 10 % of the token's calls: {failed} of {calls} calls failed"));
        let log = setup.gateway.log();
        assert_eq!(setup.metric(LOSSES).await, Some(0.0), "{code}\n{log}");
        // One try has two calls that may fail; four tries all fail once in a thousand times.
        assert!(failed * 50 <= calls, "{code}: {failed} of {calls}\n{log}");
    }
}

#[tokio::test]
async fn a_full_token_refuses_new_keys_at_once_and_uses_those_that_it_has() {
    let mut setup = Setup::start();
    let before = setup.gateway.token_objects();
    setup.token.add(Rule::on(&["C_GenerateKey"], Fault::return_code("CKR_DEVICE_MEMORY")));
    for _try in 0..3 {
        let refused = setup.reply("CreateKey", &[]).await;
        assert_eq!(
            (refused.status, &*refused.code),
            (400, "Rejected.LimitExceeded"),
            "{refused:?}"
        );
        assert_eq!(refused.retry_after, None);
        assert!(refused.took.as_secs() < 3, "{refused:?}");
    }
    until(|| setup.gateway.log().contains("Rejected.LimitExceeded")).await;
    let log = setup.gateway.log();
    assert_eq!(log.matches("token.full").count(), 1, "{log}");
    assert_eq!(setup.reply("Encrypt", &ENCRYPT).await.status, 200);
    assert_eq!(setup.metric(LOSSES).await, Some(0.0));
    assert_eq!(setup.gateway.token_objects(), before);
    let objects = setup.metric(OBJECTS).await.unwrap();
    setup.token.clear();
    setup.gateway.create_key().await;
    assert_eq!(setup.metric(OBJECTS).await, Some(objects + 1.0));
}

#[tokio::test]
async fn a_key_whose_generation_ran_out_of_memory_is_made_once() {
    for code in ["CKR_DEVICE_MEMORY", "CKR_CANT_LOCK", "0x80000001"] {
        let mut setup = Setup::start();
        let before = setup.gateway.token_objects();
        let rule = Rule::on(&["C_GenerateKey"], Fault::return_code_after(code)).when(When::At(1));
        setup.token.add(rule);
        let key = setup.gateway.create_key().await;
        setup.gateway.call("Encrypt", &[("KeyId", &key), ENCRYPT[1]]).await;
        assert_eq!(setup.gateway.token_objects(), before + 1, "{code}");
    }
}
