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

/// Checks a key set.
///
/// # Errors
/// With its first fault.
pub fn check_key_set(text: &str) -> Result<(), KeySetFault> {
    IdentityKeys::parse(text).map(drop)
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
