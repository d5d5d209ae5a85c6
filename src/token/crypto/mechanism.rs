//! The mechanisms that the gateway uses, with their only parameters.

use aws_lc_rs::digest;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::types::Ulong;

use crate::model::WrappingAlgorithm;
use crate::model::text_form::api_enum;
use crate::token::error::TokenError;

api_enum! {
    /// A function that a token may support.
    Capability, "capability" {
        /// AES keys and AES-GCM. Every open token supports it.
        AesGcm = "aes-gcm",
        /// RSA key pairs.
        RsaKeys = "rsa-keys",
        /// RSAES-OAEP with SHA-1, in the token.
        RsaOaepSha1 = "rsa-oaep-sha1",
        /// RSAES-OAEP with SHA-256, in the token or by raw RSA in the token.
        RsaOaepSha256 = "rsa-oaep-sha256",
        /// RSASSA-PSS with SHA-256.
        RsaPss = "rsa-pss-sha256",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RsaPkcs1 = "rsa-pkcs1-sha256",
        /// EC key pairs and ECDSA. Only a key generation shows which curves are supported.
        Ecdsa = "ecdsa",
        /// HMAC with SHA-224.
        HmacSha224 = "hmac-sha224",
        /// HMAC with SHA-256.
        HmacSha256 = "hmac-sha256",
        /// HMAC with SHA-384.
        HmacSha384 = "hmac-sha384",
        /// HMAC with SHA-512.
        HmacSha512 = "hmac-sha512",
        /// Import of key material wrapped with RSAES-PKCS1-v1_5.
        UnwrapPkcs1 = "unwrap-pkcs1",
        /// Import of key material wrapped with RSAES-OAEP and SHA-1.
        UnwrapOaepSha1 = "unwrap-oaep-sha1",
        /// Import of key material wrapped with RSAES-OAEP and SHA-256.
        UnwrapOaepSha256 = "unwrap-oaep-sha256",
    }
}

impl Capability {
    /// What unwrapping with this algorithm needs.
    pub const fn of_unwrapping(algorithm: WrappingAlgorithm) -> Self {
        match algorithm {
            WrappingAlgorithm::RsaesPkcs1 => Self::UnwrapPkcs1,
            WrappingAlgorithm::RsaesOaepSha1 => Self::UnwrapOaepSha1,
            WrappingAlgorithm::RsaesOaepSha256 => Self::UnwrapOaepSha256,
        }
    }

    /// Whether a token with these mechanisms has it. `oaep_sha1_only`: OAEP supports only SHA-1.
    pub(crate) fn is_among(self, mechanisms: &[MechanismType], oaep_sha1_only: bool) -> bool {
        let has = |wanted: &[MechanismType]| wanted.iter().all(|one| mechanisms.contains(one));
        match self {
            Self::AesGcm => has(&[MechanismType::AES_KEY_GEN, MechanismType::AES_GCM]),
            Self::RsaKeys => has(&[MechanismType::RSA_PKCS_KEY_PAIR_GEN]),
            Self::RsaOaepSha1 | Self::UnwrapOaepSha1 => has(&[MechanismType::RSA_PKCS_OAEP]),
            Self::RsaOaepSha256 => {
                has(&[MechanismType::RSA_X_509])
                    || (has(&[MechanismType::RSA_PKCS_OAEP]) && !oaep_sha1_only)
            }
            Self::UnwrapOaepSha256 => has(&[MechanismType::RSA_PKCS_OAEP]) && !oaep_sha1_only,
            Self::RsaPss => has(&[MechanismType::RSA_PKCS_PSS]),
            Self::RsaPkcs1 | Self::UnwrapPkcs1 => has(&[MechanismType::RSA_PKCS]),
            Self::Ecdsa => has(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]),
            Self::HmacSha224 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA224_HMAC]),
            Self::HmacSha256 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA256_HMAC]),
            Self::HmacSha384 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA384_HMAC]),
            Self::HmacSha512 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA512_HMAC]),
        }
    }
}

const GENERIC_SECRET_KEY_GEN: MechanismType = MechanismType::GENERIC_SECRET_KEY_GEN;

/// A way to sign a SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignAlgorithm {
    /// RSASSA-PSS with SHA-256 for the digest and the mask, a salt of 32 bytes.
    RsaPssSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// ECDSA on either curve.
    EcdsaSha256,
}

/// The DER encoding of `DigestInfo` up to the digest, for SHA-256 (RFC 8017, section 9.2).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

impl SignAlgorithm {
    /// The mechanism, and its input. The hash is computed outside: SoftHSM has no ECDSA that
    /// hashes.
    pub(crate) fn prepare(self, digest: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
        match self {
            Self::RsaPssSha256 => {
                let params = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: Ulong::new(32),
                };
                (Mechanism::RsaPkcsPss(params), digest.to_vec())
            }
            Self::RsaPkcs1Sha256 => (Mechanism::RsaPkcs, [&SHA256_DIGEST_INFO, digest].concat()),
            Self::EcdsaSha256 => (Mechanism::Ecdsa, digest.to_vec()),
        }
    }
}

/// An HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacAlgorithm {
    /// With SHA-224.
    HmacSha224,
    /// With SHA-256.
    HmacSha256,
    /// With SHA-384.
    HmacSha384,
    /// With SHA-512.
    HmacSha512,
}

impl MacAlgorithm {
    pub(crate) const ALL: [Self; 4] =
        [Self::HmacSha224, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The length of its MACs, and of generated keys for it, in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::HmacSha224 => 28,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The algorithm whose keys have this length.
    pub(crate) fn of_key(bytes: u64) -> Result<Self, TokenError> {
        let bytes = usize::try_from(bytes).unwrap_or_default();
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.bytes() == bytes);
        found.ok_or(TokenError::BadInput("no supported HMAC has keys of this length"))
    }

    pub(crate) const fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::HmacSha224 => Mechanism::Sha224Hmac,
            Self::HmacSha256 => Mechanism::Sha256Hmac,
            Self::HmacSha384 => Mechanism::Sha384Hmac,
            Self::HmacSha512 => Mechanism::Sha512Hmac,
        }
    }
}

/// The hash of RSAES-OAEP, for both its label and its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OaepHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl OaepHash {
    pub(crate) fn mechanism(self) -> Mechanism<'static> {
        let (hash, mask) = match self {
            Self::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            Self::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
    }

    pub(crate) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }
}

/// How the token unwraps imported key material.
pub(crate) fn unwrap_mechanism(algorithm: WrappingAlgorithm) -> Mechanism<'static> {
    match algorithm {
        WrappingAlgorithm::RsaesPkcs1 => Mechanism::RsaPkcs,
        WrappingAlgorithm::RsaesOaepSha1 => OaepHash::Sha1.mechanism(),
        WrappingAlgorithm::RsaesOaepSha256 => OaepHash::Sha256.mechanism(),
    }
}
