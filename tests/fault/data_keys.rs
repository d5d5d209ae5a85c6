//! Data keys whose ciphertext does not decrypt are never returned.

use fault_token::{Fault, Rule, When};

use crate::setup::Setup;

const DATA_KEY: [(&str, &str); 1] = [("KeyId", "alias/demo")];
const METRIC: &str = "hsmgate_token_unverified_ciphertexts_total";

#[tokio::test]
async fn a_data_key_that_would_not_decrypt_again_is_never_handed_out() {
    for action in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
        let mut setup = Setup::start();
        setup.token.add(Rule::on(&["C_Encrypt"], Fault::FlipBit));
        let reply = setup.reply(action, &DATA_KEY).await;
        assert_eq!((reply.status, reply.retry_after), (503, Some(1)), "{action}: {reply:?}");
        assert!(reply.body["CiphertextBlob"].is_null() && reply.body["Plaintext"].is_null());
        assert!(setup.metric(METRIC).await >= Some(2.0), "a try and at least one more");
        let log = setup.gateway.log();
        assert!(log.contains("token.ciphertext_discarded"), "{log}");
    }
}

#[tokio::test]
async fn one_bad_ciphertext_is_made_again_and_the_data_key_decrypts() {
    let mut setup = Setup::start();
    for round in 1..=3 {
        // The first call asks for the length.
        let flip = setup.token.add(Rule::on(&["C_Encrypt"], Fault::FlipBit).when(When::At(2)));
        let made = setup.reply("GenerateDataKey", &DATA_KEY).await;
        setup.token.remove(flip);
        assert_eq!(made.status, 200, "{made:?}");
        let blob = made.body["CiphertextBlob"].as_str().unwrap();
        let decrypted = setup.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(decrypted.body["Plaintext"], made.body["Plaintext"]);
        assert_eq!(setup.metric(METRIC).await, Some(f64::from(round)));
    }
}
