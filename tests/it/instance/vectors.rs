//! Published vectors of AES-256-GCM: their keys are imported, and the instance protocol, in which
//! the caller chooses IV and AAD, decrypts their ciphertexts.

use std::collections::{BTreeMap, BTreeSet};

use hsmgate::api::instance::messages::{DecryptRequest, DecryptResponse};
use serde_json::Value;

use crate::material::key_of;
use crate::support::gateway::{Gateway, text};
use crate::support::instance_client::InstanceClient;

/// The files, and every how many of their keys are imported: each costs a wrapping pair, and CAVP
/// has a key for every test.
const FILES: [(&str, usize); 3] = [
    ("wycheproof_aes_256_gcm.json", 1),
    ("cavp_aes_256_gcm_decrypt.json", 10),
    ("cavp_aes_256_gcm_encrypt.json", 25),
];

#[tokio::test]
async fn published_ciphertexts_decrypt_when_they_are_good_and_only_then() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    for (file, step) in FILES {
        let mut counts = Counts::default();
        for (material, tests) in by_key(file).into_iter().step_by(step) {
            let key = key_of(&gateway, &hex(&material)).await;
            for test in tests {
                check(&instance_client, &key, &test, &mut counts).await;
            }
        }
        assert!(counts.decrypted > 0, "{file}");
        // Whatever is wrong with a ciphertext, it is refused in the same words.
        assert!(counts.messages.len() <= 1, "{file}: {:?}", counts.messages);
        println!(
            "vectors: {file}: {} decrypted, {} refused, {} with an IV of another length refused",
            counts.decrypted, counts.refused, counts.without_an_iv
        );
    }
}

#[derive(Default)]
struct Counts {
    decrypted: usize,
    refused: usize,
    without_an_iv: usize,
    /// With what texts ciphertexts were refused.
    messages: BTreeSet<String>,
}

async fn check(instance_client: &InstanceClient, key: &str, test: &Value, counts: &mut Counts) {
    let field = |name: &str| hex(text(&test[name]));
    let request = DecryptRequest {
        ciphertext_blob: [field("ct"), field("tag")].concat(),
        key_id: key.to_owned(),
        aad: field("aad"),
        iv: field("iv"),
        ..DecryptRequest::default()
    };
    let outcome = instance_client.outcome::<DecryptResponse>("Decrypt", &request).await;
    match (outcome, text(&test["result"])) {
        (Ok(decrypted), "valid") if request.iv.len() == 12 => {
            assert_eq!(decrypted.plaintext, field("msg"), "{test}");
            counts.decrypted += 1;
        }
        (Err(error), _) if request.iv.len() != 12 => {
            assert_eq!((error.status_code, &*error.error_code), (400, "InvalidParameter"));
            counts.without_an_iv += 1;
        }
        (Err(error), "invalid") => {
            assert_eq!((error.status_code, &*error.error_code), (400, "InvalidParameter"));
            counts.messages.insert(error.error_message.clone());
            counts.refused += 1;
        }
        (outcome, _) => panic!("{test}: {}", outcome.is_ok()),
    }
}

/// The tests of a file by their keys.
fn by_key(file: &str) -> BTreeMap<String, Vec<Value>> {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let content: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut tests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for group in content["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            tests.entry(text(&test["key"]).to_owned()).or_default().push(test.clone());
        }
    }
    tests
}

#[tokio::test]
async fn the_ciphertexts_of_the_protocols_own_vector_decrypt() {
    const PLAINTEXT: &[u8] = b"attack at dawn";
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let material = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let key = key_of(&gateway, &material).await;
    let version = gateway.describe(&key).await["PrimaryKeyVersion"].clone();
    // Of the context {"a":"1","b":"2"}.
    let context = hex("8e85be58c1c372ac29fe7bfa80d8ddcbd04a4032c7b51c1c026d67c55b1ab23f");
    let iv = hex("101112131415161718191a1b");
    for (aad, ciphertext) in [
        (&context, "1c8aec772aa21ad2be556c7c7817511fc959189bd1d5d8ba46c1c00c0db2"),
        (&Vec::new(), "1c8aec772aa21ad2be556c7c7817c6568cd4e1dfa4c3678dd6b7de189bb0"),
    ] {
        let raw = DecryptRequest {
            ciphertext_blob: hex(ciphertext),
            key_id: key.clone(),
            aad: aad.clone(),
            iv: iv.clone(),
            ..DecryptRequest::default()
        };
        let framed = DecryptRequest {
            ciphertext_blob: [b"$\x00\x02", text(&version).as_bytes(), &iv, &hex(ciphertext)]
                .concat(),
            aad: aad.clone(),
            ..DecryptRequest::default()
        };
        for (name, request) in
            [("Decrypt", &raw), ("AdvanceDecrypt", &raw), ("AdvanceDecrypt", &framed)]
        {
            let (decrypted, _): (DecryptResponse, _) = instance_client.call(name, request).await;
            assert_eq!(&*decrypted.plaintext, PLAINTEXT, "{name}");
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
