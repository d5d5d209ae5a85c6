//! The public keys of an identity provider, from a JSON Web Key Set (RFC 7517).
//!
//! A key and its algorithm are bound here: what a token says of its algorithm only selects among keys.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::model::TokenAlgorithm;

/// The longest key set in bytes.
pub const MAX_KEY_SET_BYTES: usize = 64 * 1024;
const MAX_KEYS: usize = 100;
/// The longest `kid` in bytes.
pub(super) const MAX_KEY_ID_BYTES: usize = 256;
/// The bits of an RSA modulus that are accepted.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const COORDINATE_BYTES: usize = 32;

/// Why a key set is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetFault {
    /// It is not a key set.
    #[error("the file is not a JSON Web Key Set of at most 64 KiB and 100 keys")]
    Malformed,
    /// A key is symmetric.
    #[error("the key set has a symmetric key (kty oct): whoever can read it could sign")]
    Symmetric,
    /// A key is private.
    #[error("the key set has a private key: remove its members d, p, q, dp, dq, qi")]
    Private,
    /// An RSA key is too weak or too large.
    #[error("an RSA key must have 2048 to 8192 bits and an odd exponent from 3")]
    Rsa,
    /// The point of an EC key is malformed.
    #[error("a P-256 key must have two coordinates of 32 bytes")]
    Point,
    /// Two keys have one id.
    #[error("two keys have the same kid")]
    RepeatedId,
    /// No key can verify a token.
    #[error("the key set has no key for RS256 or ES256")]
    NoKey,
}

/// A public key that verifies tokens of one algorithm.
#[derive(Debug)]
pub(super) struct IdentityKey {
    id: Option<String>,
    pub(super) algorithm: TokenAlgorithm,
    public_key: PublicKey,
}

#[derive(Debug)]
enum PublicKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
}

/// The keys of a provider.
#[derive(Debug)]
pub(super) struct IdentityKeys(Vec<IdentityKey>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Checks a key set. Returns the number of keys that can verify tokens.
///
/// # Errors
/// With its first fault.
pub fn check_key_set(text: &str) -> Result<usize, KeySetFault> {
    IdentityKeys::parse(text).map(|keys| keys.0.len())
}

impl IdentityKeys {
    /// Parses a key set. Keys for encryption and for other algorithms are passed over.
    pub(super) fn parse(text: &str) -> Result<Self, KeySetFault> {
        if text.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetFault::Malformed);
        }
        let set: KeySet = serde_json::from_str(text).map_err(|_fault| KeySetFault::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetFault::Malformed);
        }
        let mut keys: Vec<IdentityKey> = Vec::new();
        for key in &set.keys {
            let Some(key) = IdentityKey::read(key)? else { continue };
            if key.id.is_some() && keys.iter().any(|other| other.id == key.id) {
                return Err(KeySetFault::RepeatedId);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeySetFault::NoKey) } else { Ok(Self(keys)) }
    }

    /// The key of a token. A token without `kid` is accepted if the set has one key for its algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: TokenAlgorithm) -> Option<&IdentityKey> {
        let mut of_algorithm = self.0.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => of_algorithm.find(|key| key.id.as_deref() == Some(id)),
            None => of_algorithm.next().filter(|_key| of_algorithm.next().is_none()),
        }
    }
}

impl IdentityKey {
    /// `None` for a key that verifies no token.
    fn read(key: &Value) -> Result<Option<Self>, KeySetFault> {
        let members = key.as_object().ok_or(KeySetFault::Malformed)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let kind = text("kty").ok_or(KeySetFault::Malformed)?;
        if kind == "oct" || members.contains_key("k") {
            return Err(KeySetFault::Symmetric);
        }
        if ["d", "p", "q", "dp", "dq", "qi"].iter().any(|name| members.contains_key(*name)) {
            return Err(KeySetFault::Private);
        }
        let id = match members.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_KEY_ID_BYTES => Some(id.clone()),
            Some(_) => return Err(KeySetFault::Malformed),
        };
        let operations = members.get("key_ops").and_then(Value::as_array);
        let verifies = text("use").is_none_or(|purpose| purpose == "sig")
            && operations.is_none_or(|all| all.iter().any(|one| one == "verify"));
        let algorithm = match (kind, text("crv")) {
            ("RSA", _) => TokenAlgorithm::Rs256,
            ("EC", Some("P-256")) => TokenAlgorithm::Es256,
            _ => return Ok(None),
        };
        let is_bound = members.get("alg").is_none_or(|named| named == algorithm.as_str());
        if !verifies || !is_bound {
            return Ok(None);
        }
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let public_key = match algorithm {
            TokenAlgorithm::Rs256 => rsa(bytes("n"), bytes("e")).ok_or(KeySetFault::Rsa)?,
            TokenAlgorithm::Es256 => point(bytes("x"), bytes("y")).ok_or(KeySetFault::Point)?,
        };
        Ok(Some(Self { id, algorithm, public_key }))
    }

    /// Whether its private half has signed a text.
    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.public_key {
            PublicKey::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, text, signature)
                    .is_ok()
            }
            PublicKey::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(text, signature).is_ok()
            }
        }
    }
}

fn rsa(modulus: Option<Vec<u8>>, exponent: Option<Vec<u8>>) -> Option<PublicKey> {
    let (modulus, exponent) = (modulus?, exponent?);
    let leading = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    let bits = modulus.len() * 8 - leading;
    let is_one = exponent.as_slice() == [1];
    let is_odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    let is_plain = leading < 8 && exponent.len() <= 4 && exponent.first() != Some(&0);
    let is_strong = RSA_BITS.contains(&bits) && is_plain && is_odd && !is_one;
    is_strong.then_some(PublicKey::Rsa { modulus, exponent })
}

fn point(x: Option<Vec<u8>>, y: Option<Vec<u8>>) -> Option<PublicKey> {
    let (x, y) = (x?, y?);
    let has_length = x.len() == COORDINATE_BYTES && y.len() == COORDINATE_BYTES;
    has_length.then(|| PublicKey::P256([&[4][..], &x, &y].concat()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(bytes: &[u8]) -> Value {
        json!(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn rsa_key(changes: &Value) -> Value {
        let mut modulus = vec![0xff; 256];
        modulus[0] = 0x80;
        changed(json!({"kty": "RSA", "n": text(&modulus), "e": text(&[1, 0, 1])}), changes)
    }

    fn ec_key(changes: &Value) -> Value {
        let half = text(&[1; COORDINATE_BYTES]);
        changed(json!({"kty": "EC", "crv": "P-256", "x": half, "y": half}), changes)
    }

    fn changed(mut key: Value, changes: &Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn parse(keys: &[Value]) -> Result<IdentityKeys, KeySetFault> {
        IdentityKeys::parse(&json!({"keys": keys}).to_string())
    }

    fn fault(key: Value) -> KeySetFault {
        parse(&[key]).unwrap_err()
    }

    #[test]
    fn a_key_has_one_algorithm_whatever_a_token_says() {
        let keys =
            parse(&[rsa_key(&json!({"kid": "1"})), ec_key(&json!({"kid": "2", "alg": "ES256"}))]);
        let keys = keys.unwrap();
        let (rs, es) = (TokenAlgorithm::Rs256, TokenAlgorithm::Es256);
        for (id, algorithm, is_found) in [
            (Some("1"), rs, true),
            (Some("1"), es, false),
            (Some("2"), es, true),
            (Some("2"), rs, false),
            (Some("3"), rs, false),
            (Some(""), rs, false),
            (None, rs, true),
            (None, es, true),
        ] {
            assert_eq!(keys.find(id, algorithm).is_some(), is_found, "{id:?} {algorithm:?}");
        }
    }

    #[test]
    fn without_a_kid_the_set_must_have_one_key_for_the_algorithm() {
        let two = parse(&[rsa_key(&json!({"kid": "1"})), rsa_key(&json!({}))]).unwrap();
        assert!(two.find(None, TokenAlgorithm::Rs256).is_none());
        assert!(two.find(None, TokenAlgorithm::Es256).is_none());
        assert!(two.find(Some("1"), TokenAlgorithm::Rs256).is_some());
        let both = [rsa_key(&json!({"kid": "1"})), rsa_key(&json!({"kid": "1"}))];
        assert_eq!(parse(&both).unwrap_err(), KeySetFault::RepeatedId);
        let of_two_kinds = [rsa_key(&json!({"kid": "1"})), ec_key(&json!({"kid": "1"}))];
        assert_eq!(parse(&of_two_kinds).unwrap_err(), KeySetFault::RepeatedId);
    }

    #[test]
    fn weak_and_secret_keys_are_refused_and_others_are_passed_over() {
        for (key, wanted) in [
            (rsa_key(&json!({"n": text(&[0xff; 255])})), KeySetFault::Rsa),
            (rsa_key(&json!({"n": text(&[0xff; 1025])})), KeySetFault::Rsa),
            (rsa_key(&json!({"n": text(&[&[0][..], &[0xff; 256]].concat())})), KeySetFault::Rsa),
            (rsa_key(&json!({"n": text(&[])})), KeySetFault::Rsa),
            (rsa_key(&json!({"n": 7})), KeySetFault::Rsa),
            (rsa_key(&json!({"e": text(&[1])})), KeySetFault::Rsa),
            (rsa_key(&json!({"e": text(&[1, 0, 0])})), KeySetFault::Rsa),
            (rsa_key(&json!({"e": text(&[0, 3])})), KeySetFault::Rsa),
            (rsa_key(&json!({"e": text(&[1, 0, 0, 0, 1])})), KeySetFault::Rsa),
            (rsa_key(&json!({"e": text(&[])})), KeySetFault::Rsa),
            (ec_key(&json!({"x": text(&[1; 31])})), KeySetFault::Point),
            (ec_key(&json!({"y": text(&[1; 33])})), KeySetFault::Point),
            (json!({"kty": "oct", "k": "AAAA"}), KeySetFault::Symmetric),
            (rsa_key(&json!({"k": "AAAA"})), KeySetFault::Symmetric),
            (rsa_key(&json!({"d": ""})), KeySetFault::Private),
            (ec_key(&json!({"d": "AAAA"})), KeySetFault::Private),
            (json!({"kid": "1"}), KeySetFault::Malformed),
            (json!("key"), KeySetFault::Malformed),
            (rsa_key(&json!({"kid": "k".repeat(MAX_KEY_ID_BYTES + 1)})), KeySetFault::Malformed),
            (rsa_key(&json!({"use": "enc"})), KeySetFault::NoKey),
            (rsa_key(&json!({"key_ops": ["sign"]})), KeySetFault::NoKey),
            (rsa_key(&json!({"alg": "PS256"})), KeySetFault::NoKey),
            (rsa_key(&json!({"alg": null})), KeySetFault::NoKey),
            (ec_key(&json!({"crv": "P-384"})), KeySetFault::NoKey),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), KeySetFault::NoKey),
        ] {
            let shown = key.to_string();
            assert_eq!(fault(key), wanted, "{shown:.80}");
        }
        for key in [
            rsa_key(&json!({"key_ops": ["verify"], "use": "sig", "alg": "RS256"})),
            rsa_key(&json!({"e": text(&[3])})),
            rsa_key(&json!({"n": text(&[0xff; 1024])})),
        ] {
            let other = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"});
            assert!(parse(&[other, key]).is_ok());
        }
    }

    #[test]
    fn a_set_has_a_size_and_a_form() {
        let keys = vec![rsa_key(&json!({})); MAX_KEYS + 1];
        assert_eq!(parse(&keys).unwrap_err(), KeySetFault::Malformed);
        let key = rsa_key(&json!({}));
        let padded = |length: usize| {
            let text = json!({"keys": [key]}).to_string();
            format!("{text}{}", " ".repeat(length - text.len()))
        };
        assert!(IdentityKeys::parse(&padded(MAX_KEY_SET_BYTES)).is_ok());
        let large = IdentityKeys::parse(&padded(MAX_KEY_SET_BYTES + 1));
        assert_eq!(large.unwrap_err(), KeySetFault::Malformed);
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(check_key_set(text), Err(KeySetFault::Malformed), "{text}");
        }
        assert_eq!(check_key_set(r#"{"keys":[]}"#), Err(KeySetFault::NoKey));
    }
}
