//! The algorithms that callers can name.

use std::str::FromStr;

use super::spec::KeySpec;
use super::text_form::{InvalidId, api_enum, text_forms};

api_enum! {
    /// How a digest is signed (AsymmetricSign, parameter Algorithm).
    SignatureAlgorithm, "signature algorithm" {
        /// RSASSA-PSS with SHA-256 and a salt of 32 bytes (RFC 8017, section 8.1).
        RsaPssSha256 = "RSA_PSS_SHA_256",
        /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
        RsaPkcs1Sha256 = "RSA_PKCS1_SHA_256",
        /// ECDSA over a SHA-256 digest (FIPS 186-5, section 6), signatures in DER.
        EcdsaSha256 = "ECDSA_SHA_256",
        /// SM2 (GB/T 32918.2).
        Sm2Dsa = "SM2DSA",
    }
}

impl SignatureAlgorithm {
    /// The default algorithm of a key pair (instance protocol, Sign and Verify). `None` for keys
    /// that cannot sign.
    pub fn of(spec: KeySpec) -> Option<Self> {
        match spec {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Some(Self::RsaPssSha256),
            KeySpec::EcP256 | KeySpec::EcP256k => Some(Self::EcdsaSha256),
            _ => None,
        }
    }
}

api_enum! {
    /// How data is encrypted to a key pair (AsymmetricEncrypt, parameter Algorithm).
    EncryptionAlgorithm, "encryption algorithm" {
        /// RSAES-OAEP, SHA-256 for hash and mask, empty label (RFC 8017, section 7.1).
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// RSAES-OAEP, SHA-1 for hash and mask, empty label.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// SM2 (GB/T 32918.4).
        Sm2Pke = "SM2PKE",
    }
}

api_enum! {
    /// How a message authentication code is computed (GenerateMac, parameter Algorithm).
    MacAlgorithm, "MAC algorithm" {
        /// HMAC with SM3.
        HmacSm3 = "HMAC_SM3",
        /// HMAC with SHA-224 (RFC 2104).
        HmacSha224 = "HMAC_SHA_224",
        /// HMAC with SHA-256.
        HmacSha256 = "HMAC_SHA_256",
        /// HMAC with SHA-384.
        HmacSha384 = "HMAC_SHA_384",
        /// HMAC with SHA-512.
        HmacSha512 = "HMAC_SHA_512",
    }
}

api_enum! {
    /// How the KMS instance protocol encrypts (Encrypt, field Algorithm).
    CipherAlgorithm, "cipher algorithm" {
        /// AES in Galois/counter mode (NIST SP 800-38D), the default of symmetric keys.
        AesGcm = "AES_GCM",
        /// AES in cipher block chaining mode.
        AesCbc = "AES_CBC",
        /// AES in electronic codebook mode.
        AesEcb = "AES_ECB",
        /// SM4 in Galois/counter mode.
        Sm4Gcm = "SM4_GCM",
        /// As [`EncryptionAlgorithm::RsaesOaepSha256`], the default of RSA keys.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// As [`EncryptionAlgorithm::RsaesOaepSha1`].
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// ECIES, the default of EC keys.
        Ecies = "ECIES_DH_SHA_1_XOR_HMAC",
    }
}

api_enum! {
    /// The form of the data to sign (Sign of the KMS instance protocol, field MessageType).
    MessageType, "message type" {
        /// The message; the service computes its SHA-256 digest.
        Raw = "RAW",
        /// The digest.
        Digest = "DIGEST",
    }
}

/// A SHA-256 digest computed by the caller: 32 bytes, in Base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

text_forms!(Digest: FromParam);

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes: super::Base64Bytes = text.parse()?;
        bytes.0.try_into().map(Self).map_err(|_bytes| InvalidId("digest of 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_32_bytes() {
        let of = |bytes: usize| {
            let text = serde_json::to_value(crate::model::Base64Bytes(vec![7; bytes])).unwrap();
            text.as_str().unwrap().parse::<Digest>()
        };
        assert_eq!(of(32), Ok(Digest([7; 32])));
        for bytes in [0, 20, 31, 33, 48, 64] {
            assert!(of(bytes).is_err(), "{bytes}");
        }
    }
}
