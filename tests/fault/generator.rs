//! A random generator that dies or gets stuck: noticed before an IV comes twice, and well again by
//! itself.

use std::collections::HashSet;

use fault_token::{Fault, Rule};

use crate::rig::Rig;

const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];
const DATA_KEY: [(&str, &str); 1] = [("KeyId", "alias/demo")];
const AWAY: &str = "ServiceUnavailableTemporary";

/// Calls until the token is back; every call before that must be refused as away.
async fn recovered(rig: &Rig) {
    for _attempt in 0..10_000 {
        let reply = rig.reply("Encrypt", &ENCRYPT).await;
        if reply.status == 200 {
            return;
        }
        assert_eq!((reply.code.as_str(), reply.retry_after), (AWAY, Some(1)), "{reply:?}");
    }
    panic!("the token is not back:\n{}", rig.gateway.process.log());
}

#[tokio::test]
async fn nothing_random_leaves_a_generator_that_is_dead() {
    for byte in [0, 0xa5] {
        let mut rig = Rig::start();
        let number = rig.token.add(Rule::on(&["C_GenerateRandom"], Fault::StuckByte(byte)));
        for (action, params) in [
            ("GenerateDataKey", &DATA_KEY[..]),
            ("GenerateDataKeyWithoutPlaintext", &DATA_KEY),
            ("Encrypt", &ENCRYPT),
        ] {
            let reply = rig.reply(action, params).await;
            assert_eq!((reply.status, reply.code.as_str()), (503, AWAY), "{action}");
            assert_eq!(reply.retry_after, Some(1), "{action}");
        }
        assert_eq!(rig.admin("/readyz").await.0, 503);
        assert!(rig.metric("hsmgate_token_random_failures_total").await >= Some(1.0));
        let log = rig.gateway.process.log();
        assert!(log.contains("its random generator repeats one byte"), "{log}");
        rig.token.remove(number);
        recovered(&rig).await;
        assert_eq!(rig.reply("GenerateDataKey", &DATA_KEY).await.status, 200);
    }
}

#[tokio::test]
async fn a_generator_that_repeats_its_block_gives_no_iv_twice() {
    let mut rig = Rig::start();
    rig.token.add(Rule::on(&["C_GenerateRandom"], Fault::StuckBlock));
    let mut sealed = 0;
    for _call in 0..2_000 {
        let reply = rig.reply("Encrypt", &ENCRYPT).await;
        if reply.status != 200 {
            assert_eq!((reply.status, reply.code.as_str()), (503, AWAY), "{reply:?}");
            break;
        }
        sealed += 1;
    }
    assert!(sealed < 2_000, "nobody noticed");
    let mut seen = HashSet::new();
    for call in rig.token.all_calls() {
        // Session keys of the self-test die with it, and their IVs may come again.
        if let Some((key, iv)) = call.key.clone().zip(call.iv.clone())
            && !key.is_empty()
        {
            assert!(seen.insert((key, iv)), "{call:?}");
        }
    }
    println!("{sealed} encryptions before it was noticed, {} pairs", seen.len());
    assert!(seen.len() >= sealed);
    rig.token.clear();
    recovered(&rig).await;
}
