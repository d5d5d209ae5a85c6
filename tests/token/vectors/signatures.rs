//! ECDSA, RSASSA-PSS, RSASSA-PKCS1-v1_5.

use aws_lc_rs::digest;
use hsmgate::keyring::{signature_from_der, signature_to_der};
use hsmgate::token::{Curve, KeyIdentity, SignAlgorithm, Token, Worker};
use serde_json::Value;

use super::keys::{put_ec_public, put_rsa_jwk, put_rsa_public};
use super::{Outcome, Vectors, bytes, tests};
use crate::harness::{direct_session, run, with_token};

/// How a file spells ECDSA signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the API does.
    Der,
    /// As tokens do: both numbers side by side (IEEE P1363).
    Fixed,
}

pub(super) const ECDSA: [(&str, Curve, Form); 4] = [
    ("wycheproof_ecdsa_secp256r1_sha256.json", Curve::P256, Form::Der),
    ("wycheproof_ecdsa_secp256r1_sha256_p1363.json", Curve::P256, Form::Fixed),
    ("wycheproof_ecdsa_secp256k1_sha256.json", Curve::Secp256k1, Form::Der),
    ("wycheproof_ecdsa_secp256k1_sha256_p1363.json", Curve::Secp256k1, Form::Fixed),
];

pub(super) const RSA: [(&str, SignAlgorithm); 6] = [
    ("wycheproof_rsa_pss_2048_sha256_mgf1_32.json", SignAlgorithm::RsaPssSha256),
    ("wycheproof_rsa_pss_3072_sha256_mgf1_32.json", SignAlgorithm::RsaPssSha256),
    ("wycheproof_rsa_pss_4096_sha256_mgf1_32.json", SignAlgorithm::RsaPssSha256),
    ("wycheproof_rsa_signature_2048_sha256.json", SignAlgorithm::RsaPkcs1Sha256),
    ("wycheproof_rsa_signature_3072_sha256.json", SignAlgorithm::RsaPkcs1Sha256),
    ("wycheproof_rsa_signature_4096_sha256.json", SignAlgorithm::RsaPkcs1Sha256),
];

pub(super) const MADE: [&str; 3] = [
    "wycheproof_rsa_pkcs1_2048_sha256_sig_gen.json",
    "wycheproof_rsa_pkcs1_3072_sha256_sig_gen.json",
    "wycheproof_rsa_pkcs1_4096_sha256_sig_gen.json",
];

fn digest_of(test: &Value) -> Vec<u8> {
    digest::digest(&digest::SHA256, &bytes(&test["msg"])).as_ref().to_vec()
}

async fn verify(
    token: &Token,
    key: KeyIdentity,
    how: SignAlgorithm,
    test: &Value,
    signature: Vec<u8>,
) -> bool {
    let digest = digest_of(test);
    let job = move |worker: &mut Worker<'_>| worker.verify(key, how, &digest, &signature);
    run(token, job).await.unwrap()
}

#[test]
fn ecdsa_takes_good_signatures_and_no_others() {
    let name = "vectors::signatures::ecdsa_takes_good_signatures_and_no_others";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        for (file, curve, form) in ECDSA {
            let mut vectors = Vectors::read(file);
            for group in vectors.groups() {
                let point = bytes(&group["publicKey"]["uncompressed"]);
                let key = put_ec_public(&session, curve, &point);
                for test in tests(&group) {
                    let sent = bytes(&test["sig"]);
                    let raw =
                        if form == Form::Der { signature_from_der(&sent) } else { Some(sent) };
                    let is_good = match raw {
                        Some(raw) => {
                            verify(&token, key, SignAlgorithm::EcdsaSha256, test, raw).await
                        }
                        None => false,
                    };
                    vectors.count(test, Outcome::of(is_good));
                }
            }
            vectors.finish();
        }
    });
}

#[test]
fn both_forms_of_a_good_signature_are_made_of_each_other() {
    for (file, _curve, form) in ECDSA {
        let groups = Vectors::read(file).groups();
        let good = groups.iter().flat_map(tests).filter(|test| test["result"] == "valid");
        for test in good {
            let signature = bytes(&test["sig"]);
            let again = match form {
                Form::Der => signature_to_der(&signature_from_der(&signature).unwrap()).unwrap(),
                Form::Fixed => signature_from_der(&signature_to_der(&signature).unwrap()).unwrap(),
            };
            assert_eq!(again, signature, "{file}, test {}", test["tcId"]);
        }
    }
}

#[test]
fn rsa_takes_good_signatures_and_no_others() {
    let name = "vectors::signatures::rsa_takes_good_signatures_and_no_others";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        for (file, how) in RSA {
            let mut vectors = Vectors::read(file);
            for group in vectors.groups() {
                let key = put_rsa_public(&session, &group["publicKey"]);
                for test in tests(&group) {
                    let is_good = verify(&token, key, how, test, bytes(&test["sig"])).await;
                    vectors.count(test, Outcome::of(is_good));
                }
            }
            vectors.finish();
        }
    });
}

#[test]
fn rsa_makes_the_one_right_signature() {
    let name = "vectors::signatures::rsa_makes_the_one_right_signature";
    with_token(name, async |token| {
        let (_pkcs11, session) = direct_session();
        for file in MADE {
            let mut vectors = Vectors::read(file);
            for group in vectors.groups() {
                let key = put_rsa_jwk(&session, &group);
                for test in tests(&group) {
                    let digest = digest_of(test);
                    let job = move |worker: &mut Worker<'_>| {
                        worker.sign(key, SignAlgorithm::RsaPkcs1Sha256, &digest)
                    };
                    let is_right = run(&token, job).await.unwrap() == bytes(&test["sig"]);
                    vectors.count(test, Outcome::of(is_right));
                }
            }
            vectors.finish();
        }
    });
}
