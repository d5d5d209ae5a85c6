//! The signatures: HMAC over a string, with a key derived from the secret.
//!
//! It does not depend on requests; the protocol builds the string to sign.

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, Key};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::claim::{Claim, Scheme, SignedWith};

/// The raw signature of `string_to_sign`: 20 bytes for RPC 1.0, 32 for the others.
pub fn sign(scheme: Scheme<'_>, secret: &SecretString, string_to_sign: &str) -> Vec<u8> {
    hmac::sign(&key(scheme, secret), string_to_sign.as_bytes()).as_ref().to_vec()
}

/// The HMAC key of ACS3, which most clients use: to make it takes longer than to use it. It is
/// overwritten when dropped, like the secret.
pub(super) struct Acs3Key(Key);

impl Acs3Key {
    pub(super) fn of(secret: &SecretString) -> Self {
        Self(key(Scheme::Acs3, secret))
    }
}

/// Whether the claim's signature was made with `secret`; false for a claim of a client key.
/// Compares in constant time.
pub fn verify(claim: &Claim<'_>, secret: &SecretString) -> bool {
    verify_with(claim, secret, &Acs3Key::of(secret))
}

/// As [`verify`], with the key of the secret.
pub(super) fn verify_with(claim: &Claim<'_>, secret: &SecretString, acs3: &Acs3Key) -> bool {
    let SignedWith::AccessKey(scheme) = claim.signed_with else { return false };
    let text = claim.string_to_sign.as_bytes();
    match scheme {
        Scheme::Acs3 => is_mac(&acs3.0, text, &claim.signature),
        Scheme::Rpc1 | Scheme::Acs4 { .. } => is_mac(&key(scheme, secret), text, &claim.signature),
    }
}

/// Whether `mac` is the complete MAC of the message. A truncated one is not.
fn is_mac(key: &Key, message: &[u8], mac: &[u8]) -> bool {
    hmac::verify(key, message, mac).is_ok()
}

fn key(scheme: Scheme<'_>, secret: &SecretString) -> Key {
    let secret = secret.expose_secret();
    match scheme {
        Scheme::Rpc1 => {
            let text = Zeroizing::new([secret, "&"].concat());
            Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes())
        }
        Scheme::Acs3 => Key::new(HMAC_SHA256, secret.as_bytes()),
        Scheme::Acs4 { day, region, product } => {
            let text = Zeroizing::new(["aliyun_v4", secret].concat());
            let start = Key::new(HMAC_SHA256, text.as_bytes());
            [&day[..], region.as_bytes(), product.as_bytes(), b"aliyun_v4_request"]
                .iter()
                .fold(start, |key, part| derived(&key, part))
        }
    }
}

fn derived(key: &Key, part: &[u8]) -> Key {
    Key::new(HMAC_SHA256, hmac::sign(key, part).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "exampleSecretDoNotUse0123456789";

    /// Vector A4 of the interface contract, step by step.
    #[test]
    fn the_key_of_acs4_is_derived_as_published() {
        let start = Key::new(HMAC_SHA256, format!("aliyun_v4{SECRET}").as_bytes());
        let steps = [
            ("20240301", "8c878333067c1511e045727c090ad6115801a7b52a5e3a5b2c93babccfaddd72"),
            ("cn-hangzhou", "825697c8b24b471cfc6d570de05b5b1f62c243b198298c6b1a9a353d0165ce79"),
            ("Kms", "759b053c7dab19f391e47b8f12518e7d0a9f5b33be453ba31b66fa6f1fb18ee6"),
            (
                "aliyun_v4_request",
                "9dc67578dddfcac4a8b4d3bed65b7017bad718b33f92d4a35be4472e9a362a4f",
            ),
        ];
        let mut key = start;
        for (part, expected) in steps {
            let tag = hmac::sign(&key, part.as_bytes());
            assert_eq!(hex::encode(tag), expected, "{part}");
            key = Key::new(HMAC_SHA256, tag.as_ref());
        }
        let scheme = Scheme::Acs4 { day: *b"20240301", region: "cn-hangzhou", product: "Kms" };
        let text = "ACS4-HMAC-SHA256\n\
                    680f7dc5471d4cab32a95ea4cd9edd2ea1321e7476a2ea89cc115a568127063c";
        assert_eq!(
            hex::encode(sign(scheme, &SECRET.into(), text)),
            "a194df7c27dcbf1498ebc72bb8e62cac35261daca9891b98ab173444fdbf1951"
        );
    }

    #[test]
    fn each_scheme_makes_its_own_signature() {
        let secret = SECRET.into();
        let signatures = [
            sign(Scheme::Rpc1, &secret, "text"),
            sign(Scheme::Acs3, &secret, "text"),
            sign(Scheme::Acs4 { day: *b"00000001", region: "2", product: "3" }, &secret, "text"),
        ];
        assert_eq!(signatures.each_ref().map(Vec::len), [20, 32, 32]);
        assert_ne!(signatures[1], signatures[2]);
    }

    fn unhex(text: &serde_json::Value) -> Vec<u8> {
        hex::decode(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn published_vectors_verify_when_they_are_valid_and_complete() {
        for (name, algorithm, whole_bits) in
            [("sha1", HMAC_SHA1_FOR_LEGACY_USE_ONLY, 160), ("sha256", HMAC_SHA256, 256)]
        {
            let root = env!("CARGO_MANIFEST_DIR");
            let path = format!("{root}/tests/vectors/wycheproof_hmac_{name}.json");
            let text = std::fs::read_to_string(path).unwrap();
            let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
            let (mut accepted, mut refused, mut shortened) = (0, 0, 0);
            for group in vectors["testGroups"].as_array().unwrap() {
                for test in group["tests"].as_array().unwrap() {
                    let key = Key::new(algorithm, &unhex(&test["key"]));
                    let is_good = is_mac(&key, &unhex(&test["msg"]), &unhex(&test["tag"]));
                    let is_whole = group["tagSize"] == whole_bits;
                    let is_expected = is_whole && test["result"] == "valid";
                    assert_eq!(is_good, is_expected, "{name}, test {}", test["tcId"]);
                    *match (is_whole, is_good) {
                        (false, _) => &mut shortened,
                        (true, true) => &mut accepted,
                        (true, false) => &mut refused,
                    } += 1;
                }
            }
            assert_eq!(accepted + refused + shortened, vectors["numberOfTests"]);
            println!("vectors: {name}: {accepted} accepted, {refused} refused, {shortened} short");
        }
    }
}
