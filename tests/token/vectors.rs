//! Published test vectors (`tests/vectors`), through the token: each key is put into it in
//! clear by the test's own session.

use aws_lc_rs::digest;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;
use hsmgate::model::KeyVersionId;
use hsmgate::token::{Curve, MacAlgorithm, OaepHash, SignAlgorithm, Token, TokenError, Worker};
use serde_json::Value;

use super::harness::{back_door, run, with_token};

fn groups(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut vectors: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(vectors["testGroups"].take()).unwrap()
}

fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A number as PKCS#11 takes it: vectors put a zero before numbers with the high bit.
fn number(value: &Value) -> Vec<u8> {
    let bytes = bytes(value);
    bytes.strip_prefix(&[0]).map_or(bytes.clone(), <[u8]>::to_vec)
}

fn is_valid(test: &Value) -> bool {
    test["result"] == "valid"
}

fn put(session: &Session, key: KeyVersionId, attributes: &[Attribute]) {
    let home = [Attribute::Token(true), Attribute::Id(key.as_bytes().to_vec())];
    session.create_object(&[&home, attributes].concat()).unwrap();
}

fn put_secret(session: &Session, key_type: KeyType, value: Vec<u8>) -> KeyVersionId {
    let key = KeyVersionId::random();
    let mut attributes = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Value(value),
    ];
    attributes.extend(match key_type {
        KeyType::AES => [Attribute::Encrypt(true), Attribute::Decrypt(true)],
        _ => [Attribute::Sign(true), Attribute::Verify(true)],
    });
    put(session, key, &attributes);
    key
}

/// An RSA pair; where the vectors have no private key, it is one that is never used.
fn put_rsa(session: &Session, public: &Value, private: Option<&Value>) -> KeyVersionId {
    let key = KeyVersionId::random();
    let modulus = Attribute::Modulus(number(&public["modulus"]));
    let exponent = Attribute::PublicExponent(number(&public["publicExponent"]));
    let rsa = Attribute::KeyType(KeyType::RSA);
    let class = Attribute::Class(ObjectClass::PUBLIC_KEY);
    let uses = [Attribute::Encrypt(true), Attribute::Verify(true)];
    let common = [rsa, modulus, exponent];
    put(session, key, &[&[class][..], &common, &uses].concat());
    let part = |name: &str| private.map_or(vec![1], |private| number(&private[name]));
    let secret = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Sensitive(true),
        Attribute::Decrypt(true),
        Attribute::PrivateExponent(part("privateExponent")),
        Attribute::Prime1(part("prime1")),
        Attribute::Prime2(part("prime2")),
        Attribute::Exponent1(part("exponent1")),
        Attribute::Exponent2(part("exponent2")),
        Attribute::Coefficient(part("coefficient")),
    ];
    put(session, key, &[&secret[..], &common].concat());
    key
}

fn put_ec(session: &Session, curve: Curve, point: &[u8]) -> KeyVersionId {
    let key = KeyVersionId::random();
    let common = [Attribute::KeyType(KeyType::EC), Attribute::EcParams(curve.oid().to_vec())];
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Verify(true),
        Attribute::EcPoint([&[0x04, 0x41][..], point].concat()),
    ];
    put(session, key, &[&public[..], &common].concat());
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Value(vec![1; 32])];
    put(session, key, &[&private[..], &common].concat());
    key
}

async fn verify(token: &Token, key: KeyVersionId, how: SignAlgorithm, test: &Value) {
    let digest = digest::digest(&digest::SHA256, &bytes(&test["msg"]));
    let signature = bytes(&test["sig"]);
    let job = move |worker: &mut Worker<'_>| worker.verify(key, how, digest.as_ref(), &signature);
    let is_good = run(token, job).await.unwrap();
    // "Acceptable" signatures lack the NULL of DigestInfo; either verdict is right.
    if test["result"] != "acceptable" {
        assert_eq!(is_good, is_valid(test), "{how:?}, test {}", test["tcId"]);
    }
}

#[test]
fn aes_gcm_opens_what_is_good_and_nothing_else() {
    with_token("vectors::aes_gcm_opens_what_is_good_and_nothing_else", async |token| {
        let (_pkcs11, session) = back_door();
        let mut opened = 0;
        for group in groups("wycheproof_aes_256_gcm.json") {
            for test in tests(&group) {
                let Ok(iv) = <[u8; 12]>::try_from(bytes(&test["iv"])) else { continue };
                let key = put_secret(&session, KeyType::AES, bytes(&test["key"]));
                let sealed = [bytes(&test["ct"]), bytes(&test["tag"])].concat();
                let aad = bytes(&test["aad"]);
                let job =
                    move |worker: &mut Worker<'_>| worker.decrypt(key, &iv, Some(&aad), &sealed);
                match run(&token, job).await {
                    Ok(plaintext) => {
                        assert!(is_valid(test), "test {}", test["tcId"]);
                        assert_eq!(*plaintext, bytes(&test["msg"]));
                        opened += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error, TokenError::BadCiphertext), "{error}");
                        assert!(!is_valid(test), "test {}", test["tcId"]);
                    }
                }
            }
        }
        assert!(opened > 10);
    });
}

#[test]
fn oaep_opens_what_is_good_and_nothing_else() {
    with_token("vectors::oaep_opens_what_is_good_and_nothing_else", async |token| {
        let (_pkcs11, session) = back_door();
        for (file, hash) in [
            ("wycheproof_rsa_oaep_2048_sha1_mgf1sha1.json", OaepHash::Sha1),
            ("wycheproof_rsa_oaep_2048_sha256_mgf1sha256.json", OaepHash::Sha256),
            ("wycheproof_rsa_oaep_4096_sha256_mgf1sha256.json", OaepHash::Sha256),
        ] {
            for group in groups(file) {
                let private = &group["privateKey"];
                let key = put_rsa(&session, private, Some(private));
                for test in tests(&group) {
                    let sealed = bytes(&test["ct"]);
                    let job = move |worker: &mut Worker<'_>| worker.rsa_decrypt(key, hash, &sealed);
                    // A label is not ours: such a ciphertext is as bad as any other.
                    let is_good = is_valid(test) && test["label"] == "";
                    match run(&token, job).await {
                        Ok(plaintext) => {
                            assert!(is_good, "{file}, test {}", test["tcId"]);
                            assert_eq!(*plaintext, bytes(&test["msg"]));
                        }
                        Err(error) => {
                            assert!(matches!(error, TokenError::BadCiphertext), "{error}");
                            assert!(!is_good, "{file}, test {}", test["tcId"]);
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn ecdsa_takes_good_signatures_and_no_others() {
    with_token("vectors::ecdsa_takes_good_signatures_and_no_others", async |token| {
        let (_pkcs11, session) = back_door();
        for (file, curve) in [
            ("wycheproof_ecdsa_secp256r1_sha256_p1363.json", Curve::P256),
            ("wycheproof_ecdsa_secp256k1_sha256_p1363.json", Curve::Secp256k1),
        ] {
            for group in groups(file) {
                let key = put_ec(&session, curve, &bytes(&group["publicKey"]["uncompressed"]));
                for test in tests(&group) {
                    verify(&token, key, SignAlgorithm::EcdsaSha256, test).await;
                }
            }
        }
    });
}

#[test]
fn rsa_takes_good_signatures_and_no_others() {
    with_token("vectors::rsa_takes_good_signatures_and_no_others", async |token| {
        let (_pkcs11, session) = back_door();
        for (file, how) in [
            ("wycheproof_rsa_pss_2048_sha256_mgf1_32.json", SignAlgorithm::RsaPssSha256),
            ("wycheproof_rsa_signature_2048_sha256.json", SignAlgorithm::RsaPkcs1Sha256),
        ] {
            for group in groups(file) {
                let key = put_rsa(&session, &group["publicKey"], None);
                for test in tests(&group) {
                    verify(&token, key, how, test).await;
                }
            }
        }
    });
}

#[test]
fn hmac_makes_the_good_tags() {
    with_token("vectors::hmac_makes_the_good_tags", async |token| {
        let (_pkcs11, session) = back_door();
        for group in groups("wycheproof_hmac_sha256.json") {
            if group["keySize"] != 256 {
                continue;
            }
            for test in tests(&group) {
                let key = put_secret(&session, KeyType::GENERIC_SECRET, bytes(&test["key"]));
                let message = bytes(&test["msg"]);
                let job = move |worker: &mut Worker<'_>| {
                    worker.mac(key, MacAlgorithm::HmacSha256, &message)
                };
                let mac = run(&token, job).await.unwrap();
                let tag = bytes(&test["tag"]);
                assert_eq!(mac.starts_with(&tag), is_valid(test), "test {}", test["tcId"]);
            }
        }
    });
}
