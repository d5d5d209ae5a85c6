//! Keys of vectors as token objects.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;
use hsmgate::token::{Curve, KeyIdentity};

use crate::harness::{name, pair, secret};
use serde_json::Value;

use super::bytes;

/// A number as PKCS#11 takes it: vectors put a zero before numbers with the high bit.
fn number(value: &Value) -> Vec<u8> {
    let bytes = bytes(value);
    bytes.strip_prefix(&[0]).map_or(bytes.clone(), <[u8]>::to_vec)
}

fn put(session: &Session, key: KeyIdentity, attributes: &[Attribute]) {
    let home = [
        Attribute::Token(true),
        Attribute::Id(key.id().as_bytes().to_vec()),
        Attribute::Label(key.name.to_string().into_bytes()),
    ];
    session.create_object(&[&home, attributes].concat()).unwrap();
}

pub(super) fn put_secret(session: &Session, key_type: KeyType, value: Vec<u8>) -> KeyIdentity {
    let key = secret(name());
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

/// An RSA pair whose private key the vectors do not have: its own is never used.
pub(super) fn put_rsa_public(session: &Session, public: &Value) -> KeyIdentity {
    put_rsa(session, public, |_name| vec![1])
}

/// An RSA pair of the vectors for decryption, which spell its numbers in hexadecimal digits.
pub(super) fn put_rsa_pair(session: &Session, private: &Value) -> KeyIdentity {
    put_rsa(session, private, |name| number(&private[name]))
}

/// An RSA pair of the vectors for signatures, which have all numbers in a JWK (RFC 7518,
/// section 6.3) alone.
pub(super) fn put_rsa_jwk(session: &Session, group: &Value) -> KeyIdentity {
    let jwk = &group["privateKeyJwk"];
    put_rsa(session, &group["privateKey"], |name| {
        let short = match name {
            "privateExponent" => "d",
            "prime1" => "p",
            "prime2" => "q",
            "exponent1" => "dp",
            "exponent2" => "dq",
            _ => "qi",
        };
        URL_SAFE_NO_PAD.decode(jwk[short].as_str().unwrap()).unwrap()
    })
}

fn put_rsa(session: &Session, public: &Value, secret: impl Fn(&str) -> Vec<u8>) -> KeyIdentity {
    let key = pair(name());
    let common = [
        Attribute::KeyType(KeyType::RSA),
        Attribute::Modulus(number(&public["modulus"])),
        Attribute::PublicExponent(number(&public["publicExponent"])),
    ];
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Encrypt(true),
        Attribute::Verify(true),
    ];
    put(session, key, &[&public[..], &common].concat());
    let private = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Sensitive(true),
        Attribute::Decrypt(true),
        Attribute::Sign(true),
        Attribute::Unwrap(true),
        Attribute::PrivateExponent(secret("privateExponent")),
        Attribute::Prime1(secret("prime1")),
        Attribute::Prime2(secret("prime2")),
        Attribute::Exponent1(secret("exponent1")),
        Attribute::Exponent2(secret("exponent2")),
        Attribute::Coefficient(secret("coefficient")),
    ];
    put(session, key, &[&private[..], &common].concat());
    key
}

/// A pair on a curve whose private key the vectors do not have.
pub(super) fn put_ec_public(session: &Session, curve: Curve, point: &[u8]) -> KeyIdentity {
    let key = pair(name());
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
