//! Compares the messages with those of the official SDK for Python, field by field.
//!
//! `tests/vectors/instance-messages.txt` has every message of the SDK with all its fields, each
//! filled with its name; `tests/sdk/instance/test_messages.py` compares the file with the SDK.

use std::collections::BTreeMap;

use super::*;
use crate::ops::instance::ProtobufOperation;
use crate::ops::{InstanceVisitor, visit_instance};

const OF_THE_SDK: &str = include_str!("../../../../tests/vectors/instance-messages.txt");

#[test]
fn every_message_is_the_one_of_the_sdk() {
    let mut sdk = Sdk::read();
    encryption(&mut sdk);
    decryption(&mut sdk);
    data_keys(&mut sdk);
    data_key_pairs(&mut sdk);
    signatures(&mut sdk);
    let number = 300;
    sdk.has("GetPublicKeyRequest", &GetPublicKeyRequest { key_id: text("KeyId") });
    let public = GetPublicKeyResponse {
        key_id: text("KeyId"),
        public_key: text("PublicKey"),
        request_id: text("RequestId"),
    };
    sdk.has("GetPublicKeyResponse", &public);
    sdk.has("GenerateRandomRequest", &GenerateRandomRequest { length: number });
    let random = GenerateRandomResponse { random: bytes("Random"), request_id: text("RequestId") };
    sdk.has("GenerateRandomResponse", &random);
    secrets(&mut sdk);
    let error = Error {
        status_code: number,
        error_code: text("ErrorCode"),
        error_message: text("ErrorMessage"),
        request_id: text("RequestId"),
    };
    sdk.has("Error", &error);
    sdk.has_no_more_that_is_served();
}

fn secrets(sdk: &mut Sdk) {
    let request = GetSecretValueRequest {
        secret_name: text("SecretName"),
        version_stage: text("VersionStage"),
        version_id: text("VersionId"),
        fetch_extended_config: true,
    };
    sdk.has("GetSecretValueRequest", &request);
    let response = GetSecretValueResponse {
        secret_name: text("SecretName"),
        secret_type: text("SecretType"),
        secret_data: text("SecretData"),
        secret_data_type: text("SecretDataType"),
        version_stages: vec![text("VersionStages")],
        version_id: text("VersionId"),
        create_time: text("CreateTime"),
        request_id: text("RequestId"),
        last_rotation_date: text("LastRotationDate"),
        next_rotation_date: text("NextRotationDate"),
        extended_config: text("ExtendedConfig"),
        automatic_rotation: text("AutomaticRotation"),
        rotation_interval: text("RotationInterval"),
    };
    sdk.has("GetSecretValueResponse", &response);
}

fn encryption(sdk: &mut Sdk) {
    for operation in ["Encrypt", "AdvanceEncrypt"] {
        let request = EncryptRequest {
            key_id: text("KeyId"),
            plaintext: bytes("Plaintext"),
            algorithm: text("Algorithm"),
            aad: bytes("Aad"),
            iv: bytes("Iv"),
            padding_mode: text("PaddingMode"),
        };
        sdk.has(&format!("{operation}Request"), &request);
        let response = EncryptResponse {
            key_id: text("KeyId"),
            ciphertext_blob: bytes("CiphertextBlob"),
            iv: bytes("Iv"),
            request_id: text("RequestId"),
            algorithm: text("Algorithm"),
            padding_mode: text("PaddingMode"),
            key_version_id: of_advance(operation, "KeyVersionId"),
        };
        sdk.has(&format!("{operation}Response"), &response);
    }
}

fn decryption(sdk: &mut Sdk) {
    for operation in ["Decrypt", "AdvanceDecrypt"] {
        let request = DecryptRequest {
            ciphertext_blob: bytes("CiphertextBlob"),
            key_id: text("KeyId"),
            algorithm: text("Algorithm"),
            aad: bytes("Aad"),
            iv: bytes("Iv"),
            padding_mode: text("PaddingMode"),
        };
        sdk.has(&format!("{operation}Request"), &request);
        let response = DecryptResponse {
            key_id: text("KeyId"),
            plaintext: bytes("Plaintext"),
            request_id: text("RequestId"),
            algorithm: text("Algorithm"),
            padding_mode: text("PaddingMode"),
            key_version_id: of_advance(operation, "KeyVersionId"),
        };
        sdk.has(&format!("{operation}Response"), &response);
    }
}

fn data_keys(sdk: &mut Sdk) {
    let request = GenerateDataKeyRequest {
        key_id: text("KeyId"),
        algorithm: text("Algorithm"),
        number_of_bytes: 300,
        aad: bytes("Aad"),
    };
    sdk.has("GenerateDataKeyRequest", &request);
    let request = AdvanceGenerateDataKeyRequest {
        key_id: text("KeyId"),
        number_of_bytes: 300,
        aad: bytes("Aad"),
    };
    sdk.has("AdvanceGenerateDataKeyRequest", &request);
    for operation in ["GenerateDataKey", "AdvanceGenerateDataKey"] {
        let response = GenerateDataKeyResponse {
            key_id: text("KeyId"),
            iv: bytes("Iv"),
            plaintext: bytes("Plaintext"),
            ciphertext_blob: bytes("CiphertextBlob"),
            request_id: text("RequestId"),
            algorithm: text("Algorithm"),
            key_version_id: of_advance(operation, "KeyVersionId"),
        };
        sdk.has(&format!("{operation}Response"), &response);
    }
}

fn data_key_pairs(sdk: &mut Sdk) {
    for kind in ["", "WithoutPlaintext"] {
        let request = GenerateDataKeyPairRequest {
            key_id: text("KeyId"),
            algorithm: text("Algorithm"),
            key_pair_spec: text("KeyPairSpec"),
            key_format: text("KeyFormat"),
            aad: bytes("Aad"),
        };
        sdk.has(&format!("GenerateDataKeyPair{kind}Request"), &request);
        let request = AdvanceGenerateDataKeyPairRequest {
            key_id: text("KeyId"),
            key_pair_spec: text("KeyPairSpec"),
            key_format: text("KeyFormat"),
            aad: bytes("Aad"),
        };
        sdk.has(&format!("AdvanceGenerateDataKeyPair{kind}Request"), &request);
    }
    for operation in ["GenerateDataKeyPair", "AdvanceGenerateDataKeyPair"] {
        let response = GenerateDataKeyPairResponse {
            key_id: text("KeyId"),
            iv: bytes("Iv"),
            key_pair_spec: text("KeyPairSpec"),
            private_key_plaintext: bytes("PrivateKeyPlaintext"),
            private_key_ciphertext_blob: bytes("PrivateKeyCiphertextBlob"),
            public_key: bytes("PublicKey"),
            request_id: text("RequestId"),
            algorithm: text("Algorithm"),
            key_version_id: of_advance(operation, "KeyVersionId"),
        };
        sdk.has(&format!("{operation}Response"), &response);
        let response = GenerateDataKeyPairWithoutPlaintextResponse {
            key_id: text("KeyId"),
            iv: bytes("Iv"),
            key_pair_spec: text("KeyPairSpec"),
            private_key_ciphertext_blob: bytes("PrivateKeyCiphertextBlob"),
            public_key: bytes("PublicKey"),
            request_id: text("RequestId"),
            algorithm: text("Algorithm"),
            key_version_id: of_advance(operation, "KeyVersionId"),
        };
        sdk.has(&format!("{operation}WithoutPlaintextResponse"), &response);
    }
}

fn signatures(sdk: &mut Sdk) {
    let request = SignRequest {
        key_id: text("KeyId"),
        digest: bytes("Digest"),
        algorithm: text("Algorithm"),
        message: bytes("Message"),
        message_type: text("MessageType"),
    };
    sdk.has("SignRequest", &request);
    let response = SignResponse {
        key_id: text("KeyId"),
        signature: bytes("Signature"),
        request_id: text("RequestId"),
        algorithm: text("Algorithm"),
        message_type: text("MessageType"),
    };
    sdk.has("SignResponse", &response);
    let request = VerifyRequest {
        key_id: text("KeyId"),
        digest: bytes("Digest"),
        signature: bytes("Signature"),
        algorithm: text("Algorithm"),
        message: bytes("Message"),
        message_type: text("MessageType"),
    };
    sdk.has("VerifyRequest", &request);
    let response = VerifyResponse {
        key_id: text("KeyId"),
        value: true,
        request_id: text("RequestId"),
        algorithm: text("Algorithm"),
        message_type: text("MessageType"),
    };
    sdk.has("VerifyResponse", &response);
}

/// The encoded messages of the SDK, by their names.
struct Sdk(BTreeMap<String, Vec<u8>>);

impl Sdk {
    fn read() -> Self {
        let message = |line: &str| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name.to_owned(), hex::decode(hex).unwrap())
        };
        Self(OF_THE_SDK.lines().map(message).collect())
    }

    /// Checks that the SDK's message is this one, in both directions.
    fn has<M: Message + Default + PartialEq>(&mut self, name: &str, filled: &M) {
        let written = self.0.remove(name).unwrap();
        assert_eq!(filled.encode_to_vec(), written, "{name}");
        assert!(M::decode(&*written).unwrap() == *filled, "{name}");
    }

    fn has_no_more_that_is_served(&self) {
        let mut names = Names(Vec::new());
        visit_instance(&mut names);
        for operation in names.0 {
            for kind in ["Request", "Response"] {
                let name = format!("{operation}{kind}");
                assert!(!self.0.contains_key(&name), "{name} is not compared");
            }
        }
    }
}

struct Names(Vec<&'static str>);

impl InstanceVisitor for Names {
    fn visit<O: ProtobufOperation>(&mut self) {
        self.0.push(O::NAME);
    }
}

fn text(name: &str) -> String {
    name.to_owned()
}

/// The bytes in a field of that name.
fn bytes(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\xff"].concat()
}

/// A field that only the `Advance` call has.
fn of_advance(operation: &str, name: &str) -> String {
    if operation.starts_with("Advance") { text(name) } else { String::new() }
}

#[test]
fn a_request_of_the_sdks_is_decoded() {
    let body = b"\x0a\x0aalias/demo\x12\x02hi";
    let request = EncryptRequest::decode(&body[..]).unwrap();
    assert_eq!((request.key_id.as_str(), &*request.plaintext), ("alias/demo", &b"hi"[..]));
    assert_eq!(request.encode_to_vec(), body);
}

#[test]
fn fields_of_a_newer_client_are_ignored() {
    let request = GenerateRandomRequest::decode(&b"\x08\x10\xfa\x01\x01x"[..]).unwrap();
    assert_eq!(request.length, 16);
}
