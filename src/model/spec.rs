//! Key specs, key usages, and their valid combinations.

use super::text_form::api_enum;

api_enum! {
    /// The kind and size of a key (CreateKey, parameter KeySpec).
    KeySpec, "key spec" {
        /// AES with a 256-bit key, the default.
        Aes256 = "Aliyun_AES_256",
        /// AES with a 192-bit key.
        Aes192 = "Aliyun_AES_192",
        /// AES with a 128-bit key.
        Aes128 = "Aliyun_AES_128",
        /// SM4 (GB/T 32907).
        Sm4 = "Aliyun_SM4",
        /// RSA with a modulus of 2,048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA with a modulus of 3,072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA with a modulus of 4,096 bits.
        Rsa4096 = "RSA_4096",
        /// The curve P-256 of NIST SP 800-186.
        EcP256 = "EC_P256",
        /// The curve secp256k1 of SEC 2.
        EcP256k = "EC_P256K",
        /// SM2 (GB/T 32918).
        EcSm2 = "EC_SM2",
        /// A key for HMAC with SHA-224. The API documents no specs for MAC keys, so they have the
        /// names of their algorithms.
        HmacSha224 = "HMAC_SHA_224",
        /// A key for HMAC with SHA-256.
        HmacSha256 = "HMAC_SHA_256",
        /// A key for HMAC with SHA-384.
        HmacSha384 = "HMAC_SHA_384",
        /// A key for HMAC with SHA-512.
        HmacSha512 = "HMAC_SHA_512",
    }
}

api_enum! {
    /// The usage of a key, fixed at creation (CreateKey, parameter KeyUsage).
    KeyUsage, "key usage" {
        /// Encrypt and decrypt, data keys.
        EncryptDecrypt = "ENCRYPT/DECRYPT",
        /// Sign and verify.
        SignVerify = "SIGN/VERIFY",
        /// Generate and verify message authentication codes.
        GenerateVerifyMac = "GENERATE/VERIFY_MAC",
    }
}

impl KeySpec {
    /// The valid usages of a key of this spec. The first is the default.
    ///
    /// EC specs can only sign. For RSA, the API's metadata (ENCRYPT/DECRYPT) and its text
    /// (SIGN/VERIFY) disagree on the default; this gateway follows the text, which is newer.
    pub const fn usages(self) -> &'static [KeyUsage] {
        match self {
            Self::Aes256 | Self::Aes192 | Self::Aes128 | Self::Sm4 => &[KeyUsage::EncryptDecrypt],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcSm2 => {
                &[KeyUsage::SignVerify, KeyUsage::EncryptDecrypt]
            }
            Self::EcP256 | Self::EcP256k => &[KeyUsage::SignVerify],
            Self::HmacSha224 | Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 => {
                &[KeyUsage::GenerateVerifyMac]
            }
        }
    }

    /// Whether the spec is a symmetric cipher's, with a primary version and data keys.
    pub const fn is_symmetric_cipher(self) -> bool {
        matches!(self, Self::Aes256 | Self::Aes192 | Self::Aes128 | Self::Sm4)
    }

    /// Whether the spec is a key pair's.
    pub const fn is_asymmetric(self) -> bool {
        matches!(
            self,
            Self::Rsa2048
                | Self::Rsa3072
                | Self::Rsa4096
                | Self::EcP256
                | Self::EcP256k
                | Self::EcSm2
        )
    }
}
