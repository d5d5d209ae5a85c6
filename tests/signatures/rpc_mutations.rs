//! 10,000 changes of a signed request for each scheme: whatever is let in says what was signed.
//!
//! Some changes make another spelling of the same request: parameters in another order, a space as
//! `+`. Those are let in, and do not count; every other one is refused.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::rpc::canonical::{ACS3, ACS4, BODY_DIGEST, sha256_hex, string_to_sign};
use hsmgate::api::rpc::percent;
use hsmgate::api::rpc::sign::{claim, rpc1_string_to_sign};
use hsmgate::authn::claim::{Scheme, SignedWith};
use hsmgate::authn::{is_rsa_signature_valid, signature};
use http::Method;

use crate::mutations::{Prng, with_every_bit_flipped};
use crate::parts::{Parts, SECRET};

const MUTATIONS: usize = 10_000;
const ACCESS_KEY_ID: &str = "LTAIexample";
const PARAMS: &str = "KeyId=alias%2Fdemo%20key&Plaintext=SGVsbG8gd29ybGQ%3D&DryRun=false\
                      &EncryptionContext=%7B%22Purpose%22%3A%22%E6%B5%8B%22%7D";
const SIGNED_HEADERS: &str = "content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;\
                              x-acs-signature-nonce;x-acs-version";
const FORM: &str = "application/x-www-form-urlencoded";

fn rpc1() -> Parts {
    let query = format!(
        "{PARAMS}&AccessKeyId={ACCESS_KEY_ID}&Action=Encrypt&Format=JSON&SignatureMethod=HMAC-SHA1\
         &SignatureNonce=c0ffee&SignatureVersion=1.0&Timestamp=2024-03-01T08%3A30%3A00Z\
         &Version=2016-01-20"
    );
    let mut parts = Parts { method: Method::POST, query, headers: Vec::new(), body: String::new() };
    let signature = signature::sign(Scheme::Rpc1, &SECRET.into(), &rpc1_text(&parts));
    parts.query.push_str("&Signature=");
    percent::encode_into(&mut parts.query, &STANDARD.encode(signature));
    parts
}

/// A request signed with a client key, and the public key.
fn rpc1_with_client_key() -> (Parts, Vec<u8>) {
    let query = format!(
        "{PARAMS}&AccessKeyId={ACCESS_KEY_ID}&Action=Encrypt&Format=JSON\
         &SignatureMethod=SHA256withRSA&SignatureNonce=c0ffee&SignatureType=PRIVATEKEY\
         &SignatureVersion=1.0&Timestamp=2024-03-01T08%3A30%3A00Z&Version=2016-01-20"
    );
    let mut parts = Parts { method: Method::POST, query, headers: Vec::new(), body: String::new() };
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    let text = rpc1_text(&parts);
    let random = SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
    parts.query.push_str("&Signature=");
    percent::encode_into(&mut parts.query, &STANDARD.encode(signature));
    (parts, pair.public_key().as_ref().to_vec())
}

/// Whether a request is let in by this public key, that of the client key that it names.
fn is_let_in_by(parts: &Parts, public_key: &[u8]) -> bool {
    let proven = parts.receive(|signed_request| {
        let claim = claim(signed_request)?;
        let text = claim.string_to_sign.as_bytes();
        Ok(claim.signed_with == SignedWith::ClientKey
            && claim.access_key_id == ACCESS_KEY_ID
            && is_rsa_signature_valid(public_key, text, &claim.signature))
    });
    proven.unwrap_or(false)
}

fn rpc1_text(parts: &Parts) -> String {
    parts
        .receive(|signed_request| {
            Ok(rpc1_string_to_sign(signed_request.method, signed_request.params))
        })
        .unwrap()
}

fn acs(algorithm: &str, scheme: Scheme<'_>, scope: &str) -> Parts {
    let body = "Format=JSON&Description=a+b%2Bc".to_owned();
    let headers = [
        ("content-type", FORM),
        ("host", "127.0.0.1:8200"),
        ("x-acs-action", "Encrypt"),
        (BODY_DIGEST, &sha256_hex(body.as_bytes())),
        ("x-acs-date", "2024-03-01T08:30:00Z"),
        ("x-acs-signature-nonce", "c0ffee"),
        ("x-acs-version", "2016-01-20"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).into();
    let mut parts = Parts { method: Method::POST, query: PARAMS.to_owned(), headers, body };
    let digest = sha256_hex(parts.body.as_bytes());
    let text = parts
        .receive(|signed_request| {
            string_to_sign(algorithm, signed_request, SIGNED_HEADERS, &digest)
        })
        .unwrap();
    let signature = hex::encode(signature::sign(scheme, &SECRET.into(), &text));
    let authorization = format!(
        "{algorithm} Credential={ACCESS_KEY_ID}{scope},SignedHeaders={SIGNED_HEADERS},\
         Signature={signature}"
    );
    parts.set("authorization", &authorization);
    parts
}

fn acs3() -> Parts {
    acs(ACS3, Scheme::Acs3, "")
}

fn acs4() -> Parts {
    let scheme = Scheme::Acs4 { day: *b"20240301", region: "cn-hangzhou", product: "Kms" };
    acs(ACS4, scheme, "/20240301/cn-hangzhou/Kms/aliyun_v4_request")
}

/// What a request says: its method, its parameters, the headers that count and its signer.
type Meaning = (Method, BTreeMap<String, String>, Vec<(&'static str, String)>, String);

fn meaning(parts: &Parts) -> Meaning {
    parts
        .receive(|signed_request| {
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let params =
                signed_request.params.iter().filter(|(name, _)| *name != "Signature").map(owned);
            let signer = claim(signed_request)?.access_key_id.to_owned();
            let mut headers = parts.headers.clone();
            headers.retain(|(name, _)| *name != "authorization");
            for (_, value) in &mut headers {
                *value = value.trim().to_owned();
            }
            headers.sort();
            Ok((signed_request.method.clone(), params.collect(), headers, signer))
        })
        .unwrap()
}

fn mutated(parts: &Parts, prng: &mut Prng) -> Parts {
    let mut parts = parts.clone();
    let header = |prng: &mut Prng, parts: &Parts| match parts.headers.len() {
        0 => None,
        count => Some(prng.below(count)),
    };
    match prng.below(9) {
        0 => parts.method = if parts.method == Method::GET { Method::POST } else { Method::GET },
        1..=2 => prng.change_pieces(&mut parts.query, "&"),
        3 if !parts.body.is_empty() => prng.change_pieces(&mut parts.body, "&"),
        4 if !parts.body.is_empty() => prng.change_text(&mut parts.body),
        5 => {
            // A parameter of the query moves into the form.
            let mut pieces: Vec<&str> = parts.query.split('&').collect();
            let moved = pieces.remove(prng.below(pieces.len())).to_owned();
            let query = pieces.join("&");
            if !parts.body.is_empty() {
                parts.body.push('&');
            }
            parts.body.push_str(&moved);
            parts.query = query;
            parts.set("content-type", FORM);
        }
        6 => {
            let Some(at) = header(prng, &parts) else { return mutated(&parts, prng) };
            match prng.below(3) {
                0 => {
                    parts.headers.remove(at);
                }
                1 => parts.headers.push(parts.headers[at].clone()),
                _ => prng.change_text(&mut parts.headers[at].1),
            }
        }
        7 => {
            let Some(at) = header(prng, &parts) else { return mutated(&parts, prng) };
            prng.change_text(&mut parts.headers[at].1);
        }
        _ => prng.change_text(&mut parts.query),
    }
    parts
}

/// Whether a request is let in, which it is by the secret of the AccessKey that it names: there is
/// but one.
fn is_let_in(parts: &Parts) -> bool {
    let signer =
        parts.receive(|signed_request| Ok(claim(signed_request)?.access_key_id.to_owned()));
    signer.is_ok_and(|signer| signer == ACCESS_KEY_ID) && parts.check(SECRET).is_ok()
}

/// Headers that RPC 1.0 does not sign do not count for it.
fn refuses_mutations(original: &Parts, signs_headers: bool, seed: u64) {
    refuses_mutations_by(&is_let_in, original, signs_headers, seed);
}

fn refuses_mutations_by(
    is_let_in: &dyn Fn(&Parts) -> bool,
    original: &Parts,
    signs_headers: bool,
    seed: u64,
) {
    assert!(is_let_in(original));
    let signed = meaning(original);
    let mut prng = Prng::new(seed);
    let (mut refused, mut same) = (0, 0);
    while refused < MUTATIONS {
        let other = mutated(original, &mut prng);
        if !is_let_in(&other) {
            refused += 1;
            continue;
        }
        let mut means = meaning(&other);
        if !signs_headers {
            means.2.clone_from(&signed.2);
        }
        assert_eq!(means, signed, "let in: {} {:?} {}", other.query, other.headers, other.body);
        same += 1;
        assert!(same < MUTATIONS, "hardly anything is refused");
    }
    println!("{refused} refused, {same} were the same request in another spelling");
}

#[test]
fn ten_thousand_changes_of_a_request_signed_by_rpc_1_are_refused() {
    refuses_mutations(&rpc1(), false, 1);
}

#[test]
fn ten_thousand_changes_of_a_request_signed_by_rpc_1_with_a_client_key_are_refused() {
    let (original, key) = rpc1_with_client_key();
    refuses_mutations_by(&|parts| is_let_in_by(parts, &key), &original, false, 5);
}

#[test]
fn ten_thousand_changes_of_a_request_signed_by_acs3_are_refused() {
    refuses_mutations(&acs3(), true, 2);
}

#[test]
fn ten_thousand_changes_of_a_request_signed_by_acs4_are_refused() {
    refuses_mutations(&acs4(), true, 3);
}

#[test]
fn every_bit_of_a_signature_counts() {
    let rpc1 = rpc1();
    let (before, text) = rpc1.query.rsplit_once("Signature=").unwrap();
    let signature = STANDARD.decode(percent::decode(text.as_bytes()).unwrap().as_bytes()).unwrap();
    assert_eq!(signature.len(), 20);
    for other in with_every_bit_flipped(&signature) {
        let mut parts = rpc1.clone();
        parts.query = format!("{before}Signature=");
        percent::encode_into(&mut parts.query, &STANDARD.encode(other));
        assert!(parts.check(SECRET).is_err());
    }
    let (signed, key) = rpc1_with_client_key();
    let (before, text) = signed.query.rsplit_once("Signature=").unwrap();
    let signature = STANDARD.decode(percent::decode(text.as_bytes()).unwrap().as_bytes()).unwrap();
    assert_eq!(signature.len(), 256);
    for other in with_every_bit_flipped(&signature) {
        let mut parts = signed.clone();
        parts.query = format!("{before}Signature=");
        percent::encode_into(&mut parts.query, &STANDARD.encode(other));
        assert!(!is_let_in_by(&parts, &key));
    }
    for signed in [acs3(), acs4()] {
        let (_, text) = signed.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        let (before, digits) = text.rsplit_once('=').unwrap();
        let signature = hex::decode(digits).unwrap();
        assert_eq!(signature.len(), 32);
        for other in with_every_bit_flipped(&signature) {
            let mut parts = signed.clone();
            parts.set("authorization", &format!("{before}={}", hex::encode(&other)));
            assert!(parts.check(SECRET).is_err());
        }
    }
}

/// One by one, so that none is left to chance.
#[test]
fn every_dropped_doubled_or_changed_parameter_is_refused() {
    for original in [rpc1(), acs3(), acs4()] {
        let pieces: Vec<&str> = original.query.split('&').collect();
        for at in 0..pieces.len() {
            let mut dropped = pieces.clone();
            dropped.remove(at);
            let mut doubled = pieces.clone();
            doubled.push(pieces[at]);
            let changed = format!("{}1", pieces[at]);
            let mut longer = pieces.clone();
            longer[at] = &changed;
            for pieces in [dropped, doubled, longer] {
                let mut parts = original.clone();
                parts.query = pieces.join("&");
                assert!(parts.check(SECRET).is_err(), "{}", parts.query);
            }
        }
    }
}

/// The canonical form sorts: another order is the same request, with the same nonce, good once.
#[test]
fn the_order_of_parameters_is_not_signed() {
    for original in [rpc1(), acs3(), acs4()] {
        let mut parts = original.clone();
        let reversed: Vec<&str> = original.query.rsplit('&').collect();
        parts.query = reversed.join("&");
        parts.check(SECRET).unwrap();
        assert_eq!(meaning(&parts), meaning(&original));
    }
}
