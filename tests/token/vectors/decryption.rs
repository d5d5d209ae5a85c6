//! RSAES-OAEP, and RSAES-PKCS1-v1_5 where it unwraps.

use aws_lc_rs::hmac;
use hsmgate::model::{KeySpec, WrappingAlgorithm};
use hsmgate::token::{KeyIdentity, MacAlgorithm, OaepHash, Token, TokenError, Worker};
use serde_json::Value;

use super::keys::put_rsa_pair;
use super::{Outcome, Vectors, bytes, tests};
use crate::harness::{change, direct_session, name, run, secret, with_token};

pub(super) const FILES: [(&str, OaepHash); 4] = [
    ("wycheproof_rsa_oaep_2048_sha1_mgf1sha1.json", OaepHash::Sha1),
    ("wycheproof_rsa_oaep_2048_sha256_mgf1sha256.json", OaepHash::Sha256),
    ("wycheproof_rsa_oaep_3072_sha256_mgf1sha256.json", OaepHash::Sha256),
    ("wycheproof_rsa_oaep_4096_sha256_mgf1sha256.json", OaepHash::Sha256),
];
pub(super) const MISCELLANEOUS: &str = "wycheproof_rsa_oaep_misc.json";
pub(super) const MIXED: &str = "wycheproof_rsa_oaep_2048_sha256_mgf1sha1.json";
pub(super) const PKCS1: &str = "wycheproof_rsa_pkcs1_2048.json";

/// Whether the ciphertext opens. To what, is checked here too.
async fn decrypts(token: &Token, key: KeyIdentity, hash: OaepHash, test: &Value) -> bool {
    let ciphertext = bytes(&test["ct"]);
    let job = move |worker: &mut Worker<'_>| worker.rsa_decrypt(key, hash, &ciphertext);
    match run(token, job).await {
        Ok(plaintext) => {
            assert_eq!(*plaintext, bytes(&test["msg"]), "test {}", test["tcId"]);
            true
        }
        Err(TokenError::BadCiphertext) => false,
        Err(error) => panic!("test {}: {error}", test["tcId"]),
    }
}

#[test]
fn oaep_decrypts_what_is_good_and_nothing_else() {
    let name = "vectors::decryption::oaep_decrypts_what_is_good_and_nothing_else";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        for (file, hash) in FILES {
            let mut vectors = Vectors::read(file);
            for group in vectors.groups() {
                let key = put_rsa_pair(&session, &group["privateKey"]);
                for test in tests(&group) {
                    let is_good = decrypts(&token, key, hash, test).await;
                    let outcome = if test["label"] == "" {
                        Outcome::of(is_good)
                    } else {
                        assert!(!is_good, "{file}, test {}: any label will do", test["tcId"]);
                        Outcome::NotOurs("a label, and so refused")
                    };
                    vectors.count(test, outcome);
                }
            }
            vectors.finish();
        }
    });
}

#[test]
fn oaep_decrypts_with_every_size_and_hash() {
    let name = "vectors::decryption::oaep_decrypts_with_every_size_and_hash";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        let mut vectors = Vectors::read(MISCELLANEOUS);
        for group in vectors.groups() {
            assert_eq!(group["sha"], group["mgfSha"]);
            let hash = if group["sha"] == "SHA-1" { OaepHash::Sha1 } else { OaepHash::Sha256 };
            let key = put_rsa_pair(&session, &group["privateKey"]);
            for test in tests(&group) {
                let is_good = decrypts(&token, key, hash, test).await;
                vectors.count(test, Outcome::of(is_good));
            }
        }
        vectors.finish();
    });
}

#[test]
fn oaep_of_mixed_hashes_does_not_decrypt() {
    let name = "vectors::decryption::oaep_of_mixed_hashes_does_not_decrypt";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        let mut vectors = Vectors::read(MIXED);
        for group in vectors.groups() {
            let key = put_rsa_pair(&session, &group["privateKey"]);
            for test in tests(&group) {
                for hash in [OaepHash::Sha1, OaepHash::Sha256] {
                    assert!(!decrypts(&token, key, hash, test).await, "test {}", test["tcId"]);
                }
                vectors.count(test, Outcome::NotOurs("mixed hashes, and so refused"));
            }
        }
        vectors.finish();
    });
}

/// The shortest key that can be imported for a MAC.
const SHORTEST: usize = 28;

#[test]
fn pkcs1_unwraps_what_is_good_and_refuses_the_rest_alike() {
    let name = "vectors::decryption::pkcs1_unwraps_what_is_good_and_refuses_the_rest_alike";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        let mut vectors = Vectors::read(PKCS1);
        for group in vectors.groups() {
            let key = put_rsa_pair(&session, &group["privateKey"]);
            for test in tests(&group) {
                let is_cipher_key = unwraps(&token, key, KeySpec::Aes256, test).await.is_some();
                let material = bytes(&test["msg"]);
                assert_eq!(is_cipher_key, test["result"] == "valid" && material.len() == 32);
                let mac_key = unwraps(&token, key, KeySpec::HmacSha224, test).await;
                let is_good = mac_key.is_some();
                if let Some(mac_key) = mac_key {
                    check_mac(&token, mac_key, &material).await;
                }
                let is_too_short = test["result"] == "valid" && material.len() < SHORTEST;
                let outcome = if is_too_short {
                    assert!(!is_good, "test {}", test["tcId"]);
                    Outcome::NotOurs("a message too short for any key, and so refused")
                } else {
                    Outcome::of(is_good)
                };
                vectors.count(test, outcome);
            }
        }
        vectors.finish();
        token.ready().unwrap();
    });
}

/// The key that the message becomes, if it becomes one; there is one refusal for all that do not,
/// and it leaves nothing behind.
async fn unwraps(
    token: &Token,
    wrapping: KeyIdentity,
    spec: KeySpec,
    test: &Value,
) -> Option<KeyIdentity> {
    let (wrapped, target) = (bytes(&test["ct"]), name());
    let job = move |worker: &mut Worker<'_>| {
        worker.unwrap_secret(wrapping, WrappingAlgorithm::RsaesPkcs1, &wrapped, &target, spec)
    };
    match change(token, job).await {
        Ok(_check_value) => Some(secret(target)),
        Err(TokenError::BadKeyMaterial) => {
            let exists = run(token, move |worker| worker.exists(secret(target))).await;
            assert!(!exists.unwrap(), "test {}", test["tcId"]);
            None
        }
        Err(error) => panic!("test {}: {error}", test["tcId"]),
    }
}

/// The unwrapped key is the message: it makes the message's MACs.
async fn check_mac(token: &Token, key: KeyIdentity, material: &[u8]) {
    let job = move |worker: &mut Worker<'_>| worker.mac(key, MacAlgorithm::HmacSha224, b"message");
    let elsewhere = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA224, material), b"message");
    assert_eq!(run(token, job).await.unwrap(), elsewhere.as_ref());
}
