//! The messages, by the names and numbers of the protocol (`dkms-gcs-0.2`).
//!
//! Empty and absent mean the same. Where an `Advance` call has the fields of the plain one, both
//! share a message; a field that only one of them has stays empty in the other.

use prost::Message;
use zeroize::Zeroize as _;

/// `Encrypt`, `AdvanceEncrypt`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct EncryptRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The data.
    #[prost(bytes = "vec", tag = "2")]
    pub plaintext: Vec<u8>,
    /// How.
    #[prost(string, tag = "3")]
    pub algorithm: String,
    /// What is authenticated beside the data.
    #[prost(bytes = "vec", tag = "4")]
    pub aad: Vec<u8>,
    /// The caller's IV.
    #[prost(bytes = "vec", tag = "5")]
    pub iv: Vec<u8>,
    /// For modes that pad.
    #[prost(string, tag = "6")]
    pub padding_mode: String,
}

/// Answer of `Encrypt`, `AdvanceEncrypt`.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The ciphertext.
    #[prost(bytes = "vec", tag = "2")]
    pub ciphertext_blob: Vec<u8>,
    /// The IV.
    #[prost(bytes = "vec", tag = "3")]
    pub iv: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// How.
    #[prost(string, tag = "5")]
    pub algorithm: String,
    /// For modes that pad.
    #[prost(string, tag = "6")]
    pub padding_mode: String,
    /// The key version, of `AdvanceEncrypt`.
    #[prost(string, tag = "7")]
    pub key_version_id: String,
}

/// `Decrypt`, `AdvanceDecrypt`.
#[derive(Clone, PartialEq, Message)]
pub struct DecryptRequest {
    /// The ciphertext.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext_blob: Vec<u8>,
    /// Id or alias.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// How.
    #[prost(string, tag = "3")]
    pub algorithm: String,
    /// What was authenticated beside the data.
    #[prost(bytes = "vec", tag = "4")]
    pub aad: Vec<u8>,
    /// The IV.
    #[prost(bytes = "vec", tag = "5")]
    pub iv: Vec<u8>,
    /// For modes that pad.
    #[prost(string, tag = "6")]
    pub padding_mode: String,
}

/// Answer of `Decrypt`, `AdvanceDecrypt`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct DecryptResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The data.
    #[prost(bytes = "vec", tag = "2")]
    pub plaintext: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "3")]
    pub request_id: String,
    /// How.
    #[prost(string, tag = "4")]
    pub algorithm: String,
    /// For modes that pad.
    #[prost(string, tag = "5")]
    pub padding_mode: String,
    /// The key version, of `AdvanceDecrypt`.
    #[prost(string, tag = "6")]
    pub key_version_id: String,
}

/// `GenerateDataKey`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerateDataKeyRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// How it is encrypted.
    #[prost(string, tag = "2")]
    pub algorithm: String,
    /// Its length.
    #[prost(int32, tag = "3")]
    pub number_of_bytes: i32,
    /// What is authenticated beside it.
    #[prost(bytes = "vec", tag = "4")]
    pub aad: Vec<u8>,
}

/// `AdvanceGenerateDataKey`. Its numbers are others than those of `GenerateDataKey`.
#[derive(Clone, PartialEq, Message)]
pub struct AdvanceGenerateDataKeyRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// Its length.
    #[prost(int32, tag = "2")]
    pub number_of_bytes: i32,
    /// What is authenticated beside it.
    #[prost(bytes = "vec", tag = "3")]
    pub aad: Vec<u8>,
}

/// Answer of `GenerateDataKey`, `AdvanceGenerateDataKey`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GenerateDataKeyResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The IV.
    #[prost(bytes = "vec", tag = "2")]
    pub iv: Vec<u8>,
    /// The data key.
    #[prost(bytes = "vec", tag = "3")]
    pub plaintext: Vec<u8>,
    /// The data key, encrypted.
    #[prost(bytes = "vec", tag = "4")]
    pub ciphertext_blob: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "5")]
    pub request_id: String,
    /// How it is encrypted.
    #[prost(string, tag = "6")]
    pub algorithm: String,
    /// The key version, of `AdvanceGenerateDataKey`.
    #[prost(string, tag = "7")]
    pub key_version_id: String,
}

/// `GenerateDataKeyPair`, `GenerateDataKeyPairWithoutPlaintext`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerateDataKeyPairRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// How the private half is encrypted.
    #[prost(string, tag = "2")]
    pub algorithm: String,
    /// Its kind and size.
    #[prost(string, tag = "3")]
    pub key_pair_spec: String,
    /// `PEM` or `DER`.
    #[prost(string, tag = "4")]
    pub key_format: String,
    /// What is authenticated beside the private half.
    #[prost(bytes = "vec", tag = "5")]
    pub aad: Vec<u8>,
}

/// `AdvanceGenerateDataKeyPair`, `AdvanceGenerateDataKeyPairWithoutPlaintext`. It has no
/// algorithm, and so other numbers.
#[derive(Clone, PartialEq, Message)]
pub struct AdvanceGenerateDataKeyPairRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// Its kind and size.
    #[prost(string, tag = "2")]
    pub key_pair_spec: String,
    /// `PEM` or `DER`.
    #[prost(string, tag = "3")]
    pub key_format: String,
    /// What is authenticated beside the private half.
    #[prost(bytes = "vec", tag = "4")]
    pub aad: Vec<u8>,
}

/// Answer of `GenerateDataKeyPair`, `AdvanceGenerateDataKeyPair`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GenerateDataKeyPairResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The IV.
    #[prost(bytes = "vec", tag = "2")]
    pub iv: Vec<u8>,
    /// Its kind and size.
    #[prost(string, tag = "3")]
    pub key_pair_spec: String,
    /// The private half, PKCS#8.
    #[prost(bytes = "vec", tag = "4")]
    pub private_key_plaintext: Vec<u8>,
    /// The private half, encrypted.
    #[prost(bytes = "vec", tag = "5")]
    pub private_key_ciphertext_blob: Vec<u8>,
    /// The public half, SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "6")]
    pub public_key: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "7")]
    pub request_id: String,
    /// How the private half is encrypted.
    #[prost(string, tag = "8")]
    pub algorithm: String,
    /// The key version, of `AdvanceGenerateDataKeyPair`.
    #[prost(string, tag = "9")]
    pub key_version_id: String,
}

/// Answer of `GenerateDataKeyPairWithoutPlaintext`, `AdvanceGenerateDataKeyPairWithoutPlaintext`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerateDataKeyPairWithoutPlaintextResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The IV.
    #[prost(bytes = "vec", tag = "2")]
    pub iv: Vec<u8>,
    /// Its kind and size.
    #[prost(string, tag = "3")]
    pub key_pair_spec: String,
    /// The private half, encrypted.
    #[prost(bytes = "vec", tag = "4")]
    pub private_key_ciphertext_blob: Vec<u8>,
    /// The public half, SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "5")]
    pub public_key: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "6")]
    pub request_id: String,
    /// How the private half is encrypted.
    #[prost(string, tag = "7")]
    pub algorithm: String,
    /// The key version, of `AdvanceGenerateDataKeyPairWithoutPlaintext`.
    #[prost(string, tag = "8")]
    pub key_version_id: String,
}

/// `Sign`.
#[derive(Clone, PartialEq, Message)]
pub struct SignRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The digest, where there is no message: a leftover.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// How.
    #[prost(string, tag = "3")]
    pub algorithm: String,
    /// The message, or its digest.
    #[prost(bytes = "vec", tag = "4")]
    pub message: Vec<u8>,
    /// `RAW` for a message, `DIGEST` for a digest.
    #[prost(string, tag = "5")]
    pub message_type: String,
}

/// Answer of `Sign`.
#[derive(Clone, PartialEq, Message)]
pub struct SignResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The signature.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "3")]
    pub request_id: String,
    /// How.
    #[prost(string, tag = "4")]
    pub algorithm: String,
    /// As in the request.
    #[prost(string, tag = "5")]
    pub message_type: String,
}

/// `Verify`.
#[derive(Clone, PartialEq, Message)]
pub struct VerifyRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// The digest, where there is no message: a leftover.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// The signature.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// How.
    #[prost(string, tag = "4")]
    pub algorithm: String,
    /// The message, or its digest.
    #[prost(bytes = "vec", tag = "5")]
    pub message: Vec<u8>,
    /// `RAW` for a message, `DIGEST` for a digest.
    #[prost(string, tag = "6")]
    pub message_type: String,
}

/// Answer of `Verify`.
#[derive(Clone, PartialEq, Message)]
pub struct VerifyResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// Whether the signature is right.
    #[prost(bool, tag = "2")]
    pub value: bool,
    /// The id of the request.
    #[prost(string, tag = "3")]
    pub request_id: String,
    /// How.
    #[prost(string, tag = "4")]
    pub algorithm: String,
    /// As in the request.
    #[prost(string, tag = "5")]
    pub message_type: String,
}

/// `GetPublicKey`.
#[derive(Clone, PartialEq, Message)]
pub struct GetPublicKeyRequest {
    /// Id or alias.
    #[prost(string, tag = "1")]
    pub key_id: String,
}

/// Answer of `GetPublicKey`.
#[derive(Clone, PartialEq, Message)]
pub struct GetPublicKeyResponse {
    /// The key's id.
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// PEM.
    #[prost(string, tag = "2")]
    pub public_key: String,
    /// The id of the request.
    #[prost(string, tag = "3")]
    pub request_id: String,
}

/// `GenerateRandom`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerateRandomRequest {
    /// How many bytes.
    #[prost(int32, tag = "1")]
    pub length: i32,
}

/// Answer of `GenerateRandom`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GenerateRandomResponse {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub random: Vec<u8>,
    /// The id of the request.
    #[prost(string, tag = "2")]
    pub request_id: String,
}

/// The answer to every request that fails.
#[derive(Clone, PartialEq, Message)]
pub struct Error {
    /// The HTTP status.
    #[prost(int32, tag = "1")]
    pub status_code: i32,
    /// The code.
    #[prost(string, tag = "2")]
    pub error_code: String,
    /// The text.
    #[prost(string, tag = "3")]
    pub error_message: String,
    /// The id of the request.
    #[prost(string, tag = "4")]
    pub request_id: String,
}

/// Wipes the secret of a message that goes away.
macro_rules! wipe {
    ($($message:ty: $secret:ident),+ $(,)?) => {
        $(impl Drop for $message {
            fn drop(&mut self) {
                self.$secret.zeroize();
            }
        })+
    };
}

wipe! {
    EncryptRequest: plaintext,
    DecryptResponse: plaintext,
    GenerateDataKeyResponse: plaintext,
    GenerateDataKeyPairResponse: private_key_plaintext,
    GenerateRandomResponse: random,
}

#[cfg(test)]
mod tests;
