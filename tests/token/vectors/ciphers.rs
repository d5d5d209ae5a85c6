//! AES-GCM and HMAC.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cryptoki::object::KeyType;
use hsmgate::model::Iv;
use hsmgate::token::{Encrypted, MacAlgorithm, Token, TokenError, Worker};
use serde_json::Value;

use super::keys::put_secret;
use super::{Outcome, Vectors, bytes, tests};
use crate::harness::{direct_session, run, with_token};

pub(super) const FILES: [&str; 3] =
    [WYCHEPROOF, "cavp_aes_256_gcm_decrypt.json", "cavp_aes_256_gcm_encrypt.json"];
const WYCHEPROOF: &str = "wycheproof_aes_256_gcm.json";

#[test]
fn wycheproof_gcm_decrypts_when_it_is_good() {
    with_token("vectors::ciphers::wycheproof_gcm_decrypts_when_it_is_good", async |token| {
        check_gcm(&token, FILES[0]).await;
    });
}

#[test]
fn cavp_gcm_decrypts_when_it_is_good() {
    with_token("vectors::ciphers::cavp_gcm_decrypts_when_it_is_good", async |token| {
        check_gcm(&token, FILES[1]).await;
    });
}

#[test]
fn cavp_gcm_encrypts_as_published() {
    with_token("vectors::ciphers::cavp_gcm_encrypts_as_published", async |token| {
        check_gcm(&token, FILES[2]).await;
    });
}

async fn check_gcm(token: &Token, file: &'static str) {
    let (_pkcs11, session) = direct_session();
    let mut vectors = Vectors::read(file);
    for group in vectors.groups() {
        assert_eq!(group["tagSize"], 128, "a tag of another length would be another ciphertext");
        for test in tests(&group) {
            let Ok(iv) = <[u8; 12]>::try_from(bytes(&test["iv"])).map(Iv::from) else {
                vectors.count(test, Outcome::NotOurs("an IV that does not have 96 bits"));
                continue;
            };
            let key = put_secret(&session, KeyType::AES, bytes(&test["key"]));
            let ciphertext = [bytes(&test["ct"]), bytes(&test["tag"])].concat();
            let aad = bytes(&test["aad"]);
            let job =
                move |worker: &mut Worker<'_>| worker.decrypt(key, &iv, Some(&aad), &ciphertext);
            let outcome = match run(token, job).await {
                Ok(plaintext) => {
                    assert_eq!(*plaintext, bytes(&test["msg"]), "{file}, test {}", test["tcId"]);
                    check_encryption(token, key, test).await;
                    Outcome::Accepted
                }
                Err(TokenError::BadCiphertext) => Outcome::Refused,
                Err(error) => panic!("{file}, test {}: {error}", test["tcId"]),
            };
            vectors.count(test, outcome);
        }
    }
    vectors.finish();
}

/// The way there. The IV is the worker's own, so other software opens what it encrypts.
async fn check_encryption(token: &Token, key: hsmgate::token::KeyIdentity, test: &Value) {
    let (aad, message) = (bytes(&test["aad"]), bytes(&test["msg"]));
    let job = move |worker: &mut Worker<'_>| worker.encrypt(key, Some(&aad), &message);
    let Encrypted { iv, mut ciphertext, .. } = run(token, job).await.unwrap();
    let elsewhere = UnboundKey::new(&AES_256_GCM, &bytes(&test["key"])).unwrap();
    let nonce = Nonce::try_assume_unique_for_key(iv.as_slice()).unwrap();
    let decrypted = LessSafeKey::new(elsewhere)
        .open_in_place(nonce, Aad::from(bytes(&test["aad"])), &mut ciphertext)
        .unwrap();
    assert_eq!(decrypted, bytes(&test["msg"]), "test {}", test["tcId"]);
}

#[test]
fn hmac_makes_the_good_tags() {
    with_token("vectors::ciphers::hmac_makes_the_good_tags", async |token| {
        let (_pkcs11, session) = direct_session();
        let mut vectors = Vectors::read("wycheproof_hmac_sha256.json");
        for group in vectors.groups() {
            for test in tests(&group) {
                if group["keySize"] == 128 {
                    let what = "a key shorter than the hash, which SoftHSM does not take";
                    vectors.count(test, Outcome::NotOurs(what));
                    continue;
                }
                let key = put_secret(&session, KeyType::GENERIC_SECRET, bytes(&test["key"]));
                let message = bytes(&test["msg"]);
                let job = move |worker: &mut Worker<'_>| {
                    worker.mac(key, MacAlgorithm::HmacSha256, &message)
                };
                let (mac, tag) = (run(&token, job).await.unwrap(), bytes(&test["tag"]));
                let is_complete = group["tagSize"] == 256;
                assert_eq!(mac.starts_with(&tag), test["result"] == "valid");
                let outcome = match (is_complete, mac == tag) {
                    (false, _) => Outcome::NotOurs("a shortened MAC"),
                    (true, is_good) => Outcome::of(is_good),
                };
                vectors.count(test, outcome);
            }
        }
        vectors.finish();
    });
}
