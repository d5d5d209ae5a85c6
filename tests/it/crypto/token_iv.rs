//! A token that makes IVs of 16 bytes: both protocols, a restart, and what happens when the token
//! later takes the caller's IV.

use std::ffi::OsStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::instance::messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse,
};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, text};
use crate::support::installation::Installation;
use crate::support::instance_client::InstanceClient;
use crate::support::process::until_async;
use crate::support::softhsm::{self, scratch};

const PLAINTEXT: &str = "SGVsbG8=";

/// Starts a gateway whose token has this manner.
fn start_in(dir: TempDir, manner: &str) -> Gateway {
    let (fault_token, softhsm) = (fault_token::library(), softhsm::module());
    let variables = [
        ("SOFTHSM2_MODULE", fault_token.as_os_str()),
        (fault_token::MODULE_VARIABLE, softhsm.as_os_str()),
        (fault_token::MANNERS_VARIABLE, OsStr::new(manner)),
    ];
    Gateway::start_with_environment(dir, &[], &variables)
}

async fn encrypt(gateway: &Gateway) -> String {
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    text(&gateway.call("Encrypt", &params).await["CiphertextBlob"]).to_owned()
}

async fn decrypts(gateway: &Gateway, blob: &str) {
    let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    assert_eq!(decrypted["Plaintext"], PLAINTEXT);
}

fn length(blob: &str) -> usize {
    STANDARD.decode(blob).unwrap().len()
}

#[tokio::test]
async fn ivs_of_16_bytes_serve_both_protocols_and_survive_another_mode() {
    let gateway = start_in(TempDir::new_in(scratch()).unwrap(), "iv-appended-16");
    let blob = encrypt(&gateway).await;
    assert_eq!(length(&blob), 36 + 16 + PLAINTEXT.len() + 16);
    decrypts(&gateway, &blob).await;
    let data_key = gateway.call("GenerateDataKey", &[("KeyId", "alias/demo")]).await;
    let params = [("CiphertextBlob", text(&data_key["CiphertextBlob"]))];
    assert_eq!(gateway.call("Decrypt", &params).await["Plaintext"], data_key["Plaintext"]);
    serves_the_instance_protocol(&gateway).await;

    let gateway = start_in(gateway.stop(), "iv-appended-16");
    decrypts(&gateway, &blob).await;

    // The token takes the caller's IV now: the key gets a new version.
    let gateway = Gateway::start_in(gateway.stop(), &[]);
    decrypts(&gateway, &blob).await;
    let key = gateway.dev.key_id.clone();
    until_async(async || {
        let listed = gateway.call("ListKeyVersions", &[("KeyId", &key)]).await;
        listed["TotalCount"].as_u64().unwrap() == 2
    })
    .await;
    let new = encrypt(&gateway).await;
    assert_eq!(length(&new), 36 + 12 + PLAINTEXT.len() + 16);
    decrypts(&gateway, &new).await;
    decrypts(&gateway, &blob).await;
}

async fn serves_the_instance_protocol(gateway: &Gateway) {
    let client = InstanceClient::with_any_key(gateway).await;
    let request = EncryptRequest {
        key_id: gateway.dev.key_id.clone(),
        plaintext: b"hello".to_vec(),
        algorithm: String::new(),
        aad: b"aad".to_vec(),
        iv: Vec::new(),
        padding_mode: String::new(),
    };
    let (encrypted, _version): (EncryptResponse, _) = client.call("Encrypt", &request).await;
    assert_eq!((encrypted.iv.len(), encrypted.ciphertext_blob.len()), (16, 5 + 16));
    let whole = [encrypted.iv.clone(), encrypted.ciphertext_blob.clone()].concat();
    // A client that stores both in one text may divide it after 12 bytes.
    for length in [16, 12] {
        let (iv, ciphertext) = whole.split_at(length);
        let request = DecryptRequest {
            ciphertext_blob: ciphertext.to_vec(),
            key_id: encrypted.key_id.clone(),
            aad: b"aad".to_vec(),
            iv: iv.to_vec(),
            ..DecryptRequest::default()
        };
        let (decrypted, _version): (DecryptResponse, _) = client.call("Decrypt", &request).await;
        assert_eq!(decrypted.plaintext, b"hello");
    }
    let (advance, _version): (EncryptResponse, _) = client.call("AdvanceEncrypt", &request).await;
    let request = DecryptRequest {
        ciphertext_blob: advance.ciphertext_blob,
        aad: b"aad".to_vec(),
        iv: advance.iv,
        ..DecryptRequest::default()
    };
    let (decrypted, _version): (DecryptResponse, _) = client.call("AdvanceDecrypt", &request).await;
    assert_eq!(decrypted.plaintext, b"hello");
}

#[test]
fn a_caller_cannot_choose_the_iv_of_a_token_that_makes_it() {
    let (mut installation, _user) = Installation::prepared();
    installation.play_manners("iv-written-back");
    installation.configure(|text| text.push_str("[crypto]\naccept_caller_iv = true\n"));
    let output = installation.configured(&["serve"]).failed(1);
    assert!(output.contains("crypto.accept_caller_iv"), "{output}");
}
