//! 10,000 changes of a request signed with a client key: an accepted request has the signed
//! content.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::instance::{PROTOBUF, sign};
use hsmgate::authn::is_claim_signature_valid;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::mutations::{Prng, with_every_bit_flipped};

const MUTATIONS: usize = 10_000;
const BODY: &[u8] = b"\x0a\x0aalias/demo\x12\x02hi";
const DIGEST: &str = "BEEEF7D1BD69EB4C8B9A818C6775F1B1C3F2ED0A9EECAF7E815749083231EA4F";

#[derive(Clone)]
struct Message {
    method: Method,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn header_map(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            map.append(name, HeaderValue::from_str(value).ok()?);
        }
        Some(map)
    }

    /// As the protocol reads and proves a request.
    fn is_let_in(&self, public_key: &[u8]) -> bool {
        let Some(headers) = self.header_map() else { return false };
        self.method == Method::POST
            && sign::api_name(&headers).is_ok()
            && sign::claim(&self.method, &headers)
                .is_ok_and(|claim| is_claim_signature_valid(&claim, public_key))
            && sign::check_body(&headers, &self.body).is_ok()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// What is signed, as it is read.
    fn meaning(&self) -> (Vec<(String, String)>, Vec<u8>) {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| name != "authorization" && name != "user-agent");
        for (_, value) in &mut headers {
            *value = value.trim().to_owned();
        }
        headers.retain(|(_, value)| !value.is_empty());
        headers.sort();
        (headers, self.body.clone())
    }
}

fn signed() -> (Message, Vec<u8>) {
    let headers = [
        ("content-type", PROTOBUF),
        ("content-sha256", DIGEST),
        ("date", "Mon, 27 Sep 2021 11:47:26 GMT"),
        ("user-agent", "test"),
        ("x-kms-apiversion", "dkms-gcs-0.2"),
        ("x-kms-apiname", "Encrypt"),
        ("x-kms-signaturemethod", "RSA_PKCS1_SHA_256"),
        ("x-kms-acccesskeyid", "KAAP.00000000-0000-4000-8000-000000000001"),
        ("authorization", "Bearer QUJD"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut message =
        Message { method: Method::POST, headers: headers.into(), body: BODY.to_vec() };
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let text = sign::claim(&Method::POST, &message.header_map().unwrap()).unwrap().string_to_sign;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &text, &mut signature).unwrap();
    message.set("authorization", &format!("Bearer {}", STANDARD.encode(signature)));
    (message, pair.public_key().as_ref().to_vec())
}

fn mutated(message: &Message, prng: &mut Prng) -> Message {
    let mut message = message.clone();
    let (one, other) = (prng.below(message.headers.len()), prng.below(message.headers.len()));
    match prng.below(8) {
        0 => {
            message.headers.remove(one);
        }
        1 => message.headers.push(message.headers[one].clone()),
        2 => {
            let value = message.headers[other].1.clone();
            message.headers[one].1 = value;
        }
        3 => message.headers.push(("x-kms-added".to_owned(), "1".to_owned())),
        4 => {
            let at = prng.below(message.body.len());
            message.body[at] ^= 1 << prng.below(8);
        }
        5 => message.body.truncate(prng.below(message.body.len())),
        _ => {
            let mut value = message.headers[one].1.clone();
            prng.change_text(&mut value);
            message.headers[one].1 = value;
        }
    }
    message
}

#[test]
fn ten_thousand_changes_of_a_request_signed_with_a_client_key_are_refused() {
    let (original, key) = signed();
    assert!(original.is_let_in(&key));
    let mut prng = Prng::new(4);
    let (mut refused, mut same) = (0, 0);
    while refused < MUTATIONS {
        let other = mutated(&original, &mut prng);
        if other.is_let_in(&key) {
            let mut means = other.meaning();
            // A digest in the other case is the same digest, though the signature covers its text.
            means.0.sort();
            assert_eq!(means, original.meaning(), "{:?}", other.headers);
            same += 1;
            assert!(same < MUTATIONS, "hardly anything is refused");
        } else {
            refused += 1;
        }
    }
    println!("{refused} refused, {same} were the same request in another spelling");
}

#[test]
fn every_bit_of_the_signature_of_a_client_key_counts() {
    let (original, key) = signed();
    let (_, text) = original.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    let signature = STANDARD.decode(text.strip_prefix("Bearer ").unwrap()).unwrap();
    assert_eq!(signature.len(), 256);
    for other in with_every_bit_flipped(&signature) {
        let mut message = original.clone();
        message.set("authorization", &format!("Bearer {}", STANDARD.encode(other)));
        assert!(!message.is_let_in(&key));
    }
}
