//! The mechanisms that the gateway uses, with their only parameters.

use aws_lc_rs::digest;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::types::Ulong;

use crate::model::WrappingAlgorithm;
use crate::model::text_form::api_enum;
use crate::token::error::TokenError;

api_enum! {
    /// A function that a token may have.
    Capability, "capability" {
        /// AES keys of 128 bits, and AES-GCM with them.
        Aes128 = "aes-128-gcm",
        /// AES keys of 192 bits, and AES-GCM with them.
        Aes192 = "aes-192-gcm",
        /// AES keys of 256 bits, and AES-GCM with them. Every open token has it.
        Aes256 = "aes-256-gcm",
        /// HMAC with SHA-224.
        HmacSha224 = "hmac-sha224",
        /// HMAC with SHA-256.
        HmacSha256 = "hmac-sha256",
        /// HMAC with SHA-384.
        HmacSha384 = "hmac-sha384",
        /// HMAC with SHA-512.
        HmacSha512 = "hmac-sha512",
        /// Key pairs on P-256, and ECDSA.
        EcP256 = "ec-p256",
        /// Key pairs on secp256k1, and ECDSA.
        EcP256k = "ec-p256k",
        /// RSA key pairs of 2,048 bits.
        Rsa2048 = "rsa-2048",
        /// RSA key pairs of 3,072 bits.
        Rsa3072 = "rsa-3072",
        /// RSA key pairs of 4,096 bits.
        Rsa4096 = "rsa-4096",
        /// RSAES-OAEP with SHA-1, in the token.
        RsaOaepSha1 = "rsa-oaep-sha1",
        /// RSAES-OAEP with SHA-256, in the token or by raw RSA in the token.
        RsaOaepSha256 = "rsa-oaep-sha256",
        /// RSASSA-PSS with SHA-256.
        RsaPss = "rsa-pss-sha256",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RsaPkcs1 = "rsa-pkcs1-sha256",
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

    /// What signing with this algorithm needs, besides the key; `None` for ECDSA, which the key
    /// implies.
    pub(crate) const fn of_signing(algorithm: SignAlgorithm) -> Option<Self> {
        match algorithm {
            SignAlgorithm::RsaPssSha256 => Some(Self::RsaPss),
            SignAlgorithm::RsaPkcs1Sha256 => Some(Self::RsaPkcs1),
            SignAlgorithm::EcdsaSha256 => None,
        }
    }

    /// What RSAES-OAEP with this hash needs, besides the key.
    pub(crate) const fn of_oaep(hash: OaepHash) -> Self {
        match hash {
            OaepHash::Sha1 => Self::RsaOaepSha1,
            OaepHash::Sha256 => Self::RsaOaepSha256,
        }
    }

    /// The words for it in an error.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Aes128 => "AES-GCM with keys of 128 bits",
            Self::Aes192 => "AES-GCM with keys of 192 bits",
            Self::Aes256 => "AES-GCM",
            Self::HmacSha224 => "HMAC with SHA-224",
            Self::HmacSha256 => "HMAC with SHA-256",
            Self::HmacSha384 => "HMAC with SHA-384",
            Self::HmacSha512 => "HMAC with SHA-512",
            Self::EcP256 => "key pairs on the curve P-256",
            Self::EcP256k => "key pairs on the curve secp256k1",
            Self::Rsa2048 => "RSA key pairs of 2,048 bits",
            Self::Rsa3072 => "RSA key pairs of 3,072 bits",
            Self::Rsa4096 => "RSA key pairs of 4,096 bits",
            Self::RsaOaepSha1 => "RSAES_OAEP_SHA_1",
            Self::RsaOaepSha256 => "RSAES_OAEP_SHA_256",
            Self::RsaPss => "RSA_PSS_SHA_256",
            Self::RsaPkcs1 => "RSA_PKCS1_SHA_256",
            Self::UnwrapPkcs1 => "unwrapping with RSAES_PKCS1_V1_5",
            Self::UnwrapOaepSha1 => "unwrapping with RSAES_OAEP_SHA_1",
            Self::UnwrapOaepSha256 => "unwrapping with RSAES_OAEP_SHA_256",
        }
    }

    /// The error of a token that does not have it.
    pub(crate) const fn unsupported(self) -> TokenError {
        TokenError::Unsupported(self.description())
    }

    /// Whether a token with these mechanisms may have it.
    pub(crate) fn is_among(self, mechanisms: &[MechanismType]) -> bool {
        let has = |wanted: &[MechanismType]| wanted.iter().all(|one| mechanisms.contains(one));
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => {
                has(&[MechanismType::AES_KEY_GEN, MechanismType::AES_GCM])
            }
            Self::HmacSha224 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA224_HMAC]),
            Self::HmacSha256 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA256_HMAC]),
            Self::HmacSha384 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA384_HMAC]),
            Self::HmacSha512 => has(&[GENERIC_SECRET_KEY_GEN, MechanismType::SHA512_HMAC]),
            Self::EcP256 | Self::EcP256k => {
                has(&[MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA])
            }
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                has(&[MechanismType::RSA_PKCS_KEY_PAIR_GEN])
            }
            Self::RsaOaepSha1 | Self::UnwrapOaepSha1 | Self::UnwrapOaepSha256 => {
                has(&[MechanismType::RSA_PKCS_OAEP])
            }
            Self::RsaOaepSha256 => {
                has(&[MechanismType::RSA_X_509]) || has(&[MechanismType::RSA_PKCS_OAEP])
            }
            Self::RsaPss => has(&[MechanismType::RSA_PKCS_PSS]),
            Self::RsaPkcs1 | Self::UnwrapPkcs1 => has(&[MechanismType::RSA_PKCS]),
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
