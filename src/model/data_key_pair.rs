//! Data key pairs: key pairs returned to the caller, with the private key also in encrypted form.

use super::text_form::api_enum;

api_enum! {
    /// The kind and size of a data key pair (GenerateDataKeyPair, field KeyPairSpec).
    DataKeyPairSpec, "key pair spec" {
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
    }
}

api_enum! {
    /// The encoding of both keys (GenerateDataKeyPair, field KeyFormat): PKCS#8 for the private
    /// key, SubjectPublicKeyInfo for the public key.
    KeyFormat, "key format" {
        /// PEM text (RFC 7468), the default.
        Pem = "PEM",
        /// DER bytes.
        Der = "DER",
    }
}
