//! The messages, by the names and numbers of the protocol (`dkms-gcs-0.2`).
//!
//! Empty and absent fields are equal. If an `Advance` call has the fields of the plain one, both
//! share a message; a field of only one of them is empty in the other.

use std::fmt;

use prost::Message;
use zeroize::Zeroize as _;

/// A message of this protocol.
pub trait ProtobufMessage: Message + Default {
    /// The fields that are allowed in the audit record of a request, with their names in the
    /// record.
    fn audit_parameters(&self) -> Vec<(&'static str, &str)>;
}

/// The field types, with the names of protobuf.
#[expect(non_camel_case_types, reason = "the names of protobuf")]
mod protobuf {
    pub(super) type string = String;
    pub(super) type bytes = Vec<u8>;
    pub(super) type int32 = i32;
    pub(super) type bool = std::primitive::bool;
}

/// Declares messages in the form of a `.proto` file. `[audit = "Name"]` allows the field in the
/// audit record of its request; `wipes` names the secret field of a message, which is zeroized when
/// the message is dropped, and excludes it from `Debug`.
macro_rules! messages {
    ($(
        $(#[$meta:meta])*
        message $Name:ident $(wipes $secret:ident)? {
            $($kind:ident $field:ident = $tag:tt $([audit = $recorded:literal])?;)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Message)]
        $(#[doc = concat!("\n\nWipes `", stringify!($secret), "`.")] #[prost(skip_debug)])?
        pub struct $Name {
            $(
                #[doc = concat!("Field ", stringify!($tag), ".")]
                #[prost($kind, tag = $tag)]
                pub $field: protobuf::$kind,
            )*
        }

        impl ProtobufMessage for $Name {
            fn audit_parameters(&self) -> Vec<(&'static str, &str)> {
                vec![$($(($recorded, self.$field.as_str()),)?)*]
            }
        }

        $(impl Drop for $Name {
            fn drop(&mut self) {
                self.$secret.zeroize();
            }
        })?
    )*};
}

messages! {
    /// `Encrypt`, `AdvanceEncrypt`.
    message EncryptRequest wipes plaintext {
        string key_id = 1 [audit = "KeyId"];
        bytes plaintext = 2;
        string algorithm = 3 [audit = "Algorithm"];
        bytes aad = 4;
        bytes iv = 5;
        string padding_mode = 6;
    }

    /// Response of `Encrypt`, `AdvanceEncrypt`; only the latter has the key version.
    message EncryptResponse {
        string key_id = 1;
        bytes ciphertext_blob = 2;
        bytes iv = 3;
        string request_id = 4;
        string algorithm = 5;
        string padding_mode = 6;
        string key_version_id = 7;
    }

    /// `Decrypt`, `AdvanceDecrypt`.
    message DecryptRequest {
        bytes ciphertext_blob = 1;
        string key_id = 2 [audit = "KeyId"];
        string algorithm = 3 [audit = "Algorithm"];
        bytes aad = 4;
        bytes iv = 5;
        string padding_mode = 6;
    }

    /// Response of `Decrypt`, `AdvanceDecrypt`; only the latter has the key version.
    message DecryptResponse wipes plaintext {
        string key_id = 1;
        bytes plaintext = 2;
        string request_id = 3;
        string algorithm = 4;
        string padding_mode = 5;
        string key_version_id = 6;
    }

    /// `GenerateDataKey`.
    message GenerateDataKeyRequest {
        string key_id = 1 [audit = "KeyId"];
        string algorithm = 2 [audit = "Algorithm"];
        int32 number_of_bytes = 3;
        bytes aad = 4;
    }

    /// `AdvanceGenerateDataKey`. It has no algorithm, and therefore other numbers.
    message AdvanceGenerateDataKeyRequest {
        string key_id = 1 [audit = "KeyId"];
        int32 number_of_bytes = 2;
        bytes aad = 3;
    }

    /// Response of `GenerateDataKey`, `AdvanceGenerateDataKey`; only the latter has the key
    /// version.
    message GenerateDataKeyResponse wipes plaintext {
        string key_id = 1;
        bytes iv = 2;
        bytes plaintext = 3;
        bytes ciphertext_blob = 4;
        string request_id = 5;
        string algorithm = 6;
        string key_version_id = 7;
    }

    /// `GenerateDataKeyPair`, `GenerateDataKeyPairWithoutPlaintext`. The format is `PEM` or `DER`.
    message GenerateDataKeyPairRequest {
        string key_id = 1 [audit = "KeyId"];
        string algorithm = 2 [audit = "Algorithm"];
        string key_pair_spec = 3 [audit = "KeyPairSpec"];
        string key_format = 4 [audit = "KeyFormat"];
        bytes aad = 5;
    }

    /// `AdvanceGenerateDataKeyPair`, `AdvanceGenerateDataKeyPairWithoutPlaintext`. It has no
    /// algorithm, and therefore other numbers.
    message AdvanceGenerateDataKeyPairRequest {
        string key_id = 1 [audit = "KeyId"];
        string key_pair_spec = 2 [audit = "KeyPairSpec"];
        string key_format = 3 [audit = "KeyFormat"];
        bytes aad = 4;
    }

    /// Response of `GenerateDataKeyPair`, `AdvanceGenerateDataKeyPair`: the private key is PKCS#8,
    /// the public key SubjectPublicKeyInfo. Only the latter has the key version.
    message GenerateDataKeyPairResponse wipes private_key_plaintext {
        string key_id = 1;
        bytes iv = 2;
        string key_pair_spec = 3;
        bytes private_key_plaintext = 4;
        bytes private_key_ciphertext_blob = 5;
        bytes public_key = 6;
        string request_id = 7;
        string algorithm = 8;
        string key_version_id = 9;
    }

    /// Response of `GenerateDataKeyPairWithoutPlaintext`,
    /// `AdvanceGenerateDataKeyPairWithoutPlaintext`; only the latter has the key version.
    message GenerateDataKeyPairWithoutPlaintextResponse {
        string key_id = 1;
        bytes iv = 2;
        string key_pair_spec = 3;
        bytes private_key_ciphertext_blob = 4;
        bytes public_key = 5;
        string request_id = 6;
        string algorithm = 7;
        string key_version_id = 8;
    }

    /// `Sign`. Older callers send the digest in a separate field; the message type is `RAW` for a
    /// message, `DIGEST` for a digest.
    message SignRequest {
        string key_id = 1 [audit = "KeyId"];
        bytes digest = 2;
        string algorithm = 3 [audit = "Algorithm"];
        bytes message = 4;
        string message_type = 5;
    }

    /// Response of `Sign`.
    message SignResponse {
        string key_id = 1;
        bytes signature = 2;
        string request_id = 3;
        string algorithm = 4;
        string message_type = 5;
    }

    /// `Verify`, with the fields of `Sign`.
    message VerifyRequest {
        string key_id = 1 [audit = "KeyId"];
        bytes digest = 2;
        bytes signature = 3;
        string algorithm = 4 [audit = "Algorithm"];
        bytes message = 5;
        string message_type = 6;
    }

    /// Response of `Verify`; the value tells whether the signature is valid.
    message VerifyResponse {
        string key_id = 1;
        bool value = 2;
        string request_id = 3;
        string algorithm = 4;
        string message_type = 5;
    }

    /// `GetPublicKey`.
    message GetPublicKeyRequest {
        string key_id = 1 [audit = "KeyId"];
    }

    /// Response of `GetPublicKey`: the public key in PEM.
    message GetPublicKeyResponse {
        string key_id = 1;
        string public_key = 2;
        string request_id = 3;
    }

    /// `GenerateRandom`: the number of bytes.
    message GenerateRandomRequest {
        int32 length = 1;
    }

    /// Response of `GenerateRandom`.
    message GenerateRandomResponse wipes random {
        bytes random = 1;
        string request_id = 2;
    }

    /// `GetSecretValue`. The version is one by its id, or one by its label.
    message GetSecretValueRequest {
        string secret_name = 1 [audit = "SecretName"];
        string version_stage = 2 [audit = "VersionStage"];
        string version_id = 3 [audit = "VersionId"];
        bool fetch_extended_config = 4;
    }

    /// The response to every failed request.
    message Error {
        int32 status_code = 1;
        string error_code = 2;
        string error_message = 3;
        string request_id = 4;
    }
}

/// Response of `GetSecretValue`, the only message with a list. Generic secrets have no value in the
/// last five fields.
///
/// Wipes `secret_data`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GetSecretValueResponse {
    /// Field 1.
    #[prost(string, tag = 1)]
    pub secret_name: String,
    /// Field 2.
    #[prost(string, tag = 2)]
    pub secret_type: String,
    /// Field 3.
    #[prost(string, tag = 3)]
    pub secret_data: String,
    /// Field 4.
    #[prost(string, tag = 4)]
    pub secret_data_type: String,
    /// Field 5.
    #[prost(string, repeated, tag = 5)]
    pub version_stages: Vec<String>,
    /// Field 6.
    #[prost(string, tag = 6)]
    pub version_id: String,
    /// Field 7.
    #[prost(string, tag = 7)]
    pub create_time: String,
    /// Field 8.
    #[prost(string, tag = 8)]
    pub request_id: String,
    /// Field 9.
    #[prost(string, tag = 9)]
    pub last_rotation_date: String,
    /// Field 10.
    #[prost(string, tag = 10)]
    pub next_rotation_date: String,
    /// Field 11.
    #[prost(string, tag = 11)]
    pub extended_config: String,
    /// Field 12.
    #[prost(string, tag = 12)]
    pub automatic_rotation: String,
    /// Field 13.
    #[prost(string, tag = 13)]
    pub rotation_interval: String,
}

impl fmt::Debug for GetSecretValueResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetSecretValueResponse").finish_non_exhaustive()
    }
}

impl Drop for GetSecretValueResponse {
    fn drop(&mut self) {
        self.secret_data.zeroize();
    }
}

impl From<AdvanceGenerateDataKeyRequest> for GenerateDataKeyRequest {
    fn from(request: AdvanceGenerateDataKeyRequest) -> Self {
        let AdvanceGenerateDataKeyRequest { key_id, number_of_bytes, aad } = request;
        Self { key_id, algorithm: String::new(), number_of_bytes, aad }
    }
}

impl From<AdvanceGenerateDataKeyPairRequest> for GenerateDataKeyPairRequest {
    fn from(request: AdvanceGenerateDataKeyPairRequest) -> Self {
        let AdvanceGenerateDataKeyPairRequest { key_id, key_pair_spec, key_format, aad } = request;
        Self { key_id, algorithm: String::new(), key_pair_spec, key_format, aad }
    }
}

#[cfg(test)]
mod tests;
