//! A random generator that fails or repeats itself is detected before an IV is used twice, and is
//! used again when it works.

use std::collections::HashSet;

use fault_token::{Fault, Rule};

use crate::setup::Setup;

const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];
const DATA_KEY: [(&str, &str); 1] = [("KeyId", "alias/demo")];
const AWAY: &str = "ServiceUnavailableTemporary";

/// Calls until the token is back; every call before that must be refused as away.
async fn recovered(setup: &Setup) {
    for _attempt in 0..10_000 {
        let reply = setup.reply("Encrypt", &ENCRYPT).await;
        if reply.status == 200 {
            return;
        }
        assert_eq!((reply.code.as_str(), reply.retry_after), (AWAY, Some(1)), "{reply:?}");
    }
    panic!("the token is not back:\n{}", setup.gateway.log());
}

#[tokio::test]
async fn nothing_random_leaves_a_generator_that_is_dead() {
    for byte in [0, 0xa5] {
        let mut setup = Setup::start();
        let number = setup.token.add(Rule::on(&["C_GenerateRandom"], Fault::StuckByte(byte)));
        for (action, params) in [
            ("GenerateDataKey", &DATA_KEY[..]),
            ("GenerateDataKeyWithoutPlaintext", &DATA_KEY),
            ("Encrypt", &ENCRYPT),
        ] {
            let reply = setup.reply(action, params).await;
            assert_eq!((reply.status, reply.code.as_str()), (503, AWAY), "{action}");
            assert_eq!(reply.retry_after, Some(1), "{action}");
        }
        assert_eq!(setup.admin("/readyz").await.0, 503);
        assert!(setup.metric("hsmgate_token_random_failures_total").await >= Some(1.0));
        let log = setup.gateway.log();
        assert!(log.contains("its random generator repeats one byte"), "{log}");
        setup.token.remove(number);
        recovered(&setup).await;
        assert_eq!(setup.reply("GenerateDataKey", &DATA_KEY).await.status, 200);
    }
}

#[tokio::test]
async fn a_generator_that_repeats_its_block_gives_no_iv_twice() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on(&["C_GenerateRandom"], Fault::StuckBlock));
    let mut encrypted = 0;
    for _call in 0..2_000 {
        let reply = setup.reply("Encrypt", &ENCRYPT).await;
        if reply.status != 200 {
            assert_eq!((reply.status, reply.code.as_str()), (503, AWAY), "{reply:?}");
            break;
        }
        encrypted += 1;
    }
    assert!(encrypted < 2_000, "nobody noticed");
    let mut seen = HashSet::new();
    let calls = setup.token.all_calls();
    for call in &calls {
        if let Some(pair) = call.key_and_iv() {
            assert!(seen.insert(pair), "{call:?}");
        }
    }
    println!("{encrypted} encryptions before it was noticed, {} pairs", seen.len());
    assert!(seen.len() >= encrypted);
    setup.token.clear();
    recovered(&setup).await;
}
