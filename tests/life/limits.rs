//! What the gateway answers where the token lacks something: the code, the message, the log, and what
//! still works.

use std::fs;

use hsmgate::cli::client::{CallError, Client};
use serde_json::Value;

use crate::keys::create_key;
use crate::life::{PLAINTEXT, field};
use crate::support::calls::refused;
use crate::support::installation::{AccessKey, Installation};
use crate::support::key_material::wrap;
use crate::support::process::{eventually, until};

const UNSUPPORTED: (u16, &str) = (400, "UnsupportedOperation");
const LIMIT_EXCEEDED: (u16, &str) = (400, "Rejected.LimitExceeded");
const INVALID_MATERIAL: (u16, &str) = (400, "InvalidKeyMaterial");
const AES: [(&str, &str); 1] = [("KeySpec", "Aliyun_AES_256")];

fn prepared(manners: &str) -> (Installation, AccessKey) {
    let installation = Installation::behind_manners(manners);
    let user = AccessKey::of(&installation.init().json());
    (installation, user)
}

async fn is_refused(client: &Client, action: &str, params: &[(&str, &str)], wanted: (u16, &str)) {
    let (status, code) = refused(client, action, params).await;
    assert_eq!((status, &*code), wanted, "{action} {params:?}");
}

/// The message of a refusal.
async fn message(client: &Client, action: &str, params: &[(&str, &str)]) -> String {
    match client.call(action, params).await {
        Err(CallError::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

async fn encrypt(client: &Client, key: &str) -> Result<Value, CallError> {
    client.call("Encrypt", &[("KeyId", key), ("Plaintext", PLAINTEXT)]).await
}

async fn decrypts(client: &Client, blob: &str) {
    let decrypted = client.call("Decrypt", &[("CiphertextBlob", blob)]).await.unwrap();
    assert_eq!(decrypted["Plaintext"], PLAINTEXT);
}

/// `doctor` ends with success, and returns this check.
fn check_of_doctor(installation: &Installation, name: &str) -> Value {
    let found = installation.configured(&["doctor", "--json"]).json();
    let checks = found["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{found}")).clone()
}

#[tokio::test]
async fn a_key_that_the_token_cannot_have_is_refused_by_name() {
    for (manners, spec, usage, what, capability) in [
        ("rsa-limit=2048", "RSA_3072", "SIGN/VERIFY", "RSA key pairs of 3,072 bits", "rsa-3072"),
        ("aes-256-only", "Aliyun_AES_128", "ENCRYPT/DECRYPT", "keys of 128 bits", "aes-128-gcm"),
        (
            "no-secp256k1=CKR_CURVE_NOT_SUPPORTED",
            "EC_P256K",
            "SIGN/VERIFY",
            "the curve secp256k1",
            "ec-p256k",
        ),
        (
            "no-mechanism=CKM_SHA512_HMAC",
            "HMAC_SHA_512",
            "GENERATE/VERIFY_MAC",
            "HMAC with SHA-512",
            "hmac-sha512",
        ),
    ] {
        let (installation, user) = prepared(manners);
        let server = installation.serve();
        let client = server.client(&user);
        let params = [("KeySpec", spec), ("KeyUsage", usage)];
        is_refused(&client, "CreateKey", &params, UNSUPPORTED).await;
        let told = message(&client, "CreateKey", &params).await;
        assert!(told.contains(what), "{told}");
        let key = create_key(&client, &AES).await.unwrap();
        encrypt(&client, &key).await.unwrap();
        assert_eq!(server.stop(), Some(0));
        let check = check_of_doctor(&installation, &format!("capability {capability}"));
        assert_ne!(check["verdict"], "failed", "{check}");
    }
}

#[tokio::test]
async fn a_full_token_keeps_its_keys_and_has_room_after_a_deletion() {
    for code in ["CKR_DEVICE_MEMORY", "CKR_HOST_MEMORY"] {
        let (installation, user) = prepared(&format!("object-limit=8:{code}"));
        let server = installation.serve();
        let client = server.client(&user);
        let mut keys = Vec::new();
        let refusal = loop {
            match client.call("CreateKey", &AES).await {
                Ok(made) => keys.push(field(&made["KeyMetadata"], "KeyId")),
                Err(error) => break error,
            }
            assert!(keys.len() < 9, "no limit");
        };
        let CallError::Refused { status, code, message, .. } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!((status, &*code), LIMIT_EXCEEDED, "{message}");
        assert!(message.contains("no room"), "{message}");
        let blob = field(&encrypt(&client, &keys[0]).await.unwrap(), "CiphertextBlob");
        let pair = [("KeySpec", "EC_P256")];
        is_refused(&client, "CreateKey", &pair, LIMIT_EXCEEDED).await;
        is_refused(&client, "CreateKeyVersion", &[("KeyId", &keys[0])], LIMIT_EXCEEDED).await;
        let external = create_key(&client, &[AES[0], ("Origin", "EXTERNAL")]).await.unwrap();
        let import = [
            ("KeyId", external.as_str()),
            ("WrappingKeySpec", "RSA_2048"),
            ("WrappingAlgorithm", "RSAES_OAEP_SHA_1"),
        ];
        is_refused(&client, "GetParametersForImport", &import, LIMIT_EXCEEDED).await;
        assert_eq!(server.count_logged("token.full"), 1, "{}", server.log());
        assert_eq!(
            installation.token_objects(),
            8 - 1,
            "one object is the counter of the database"
        );
        let doomed = keys.pop().unwrap();
        let params = [("KeyId", doomed.as_str()), ("PendingWindowInDays", "7")];
        client.call("ScheduleKeyDeletion", &params).await.unwrap();
        assert_eq!(server.stop(), Some(0));
        installation.change("UPDATE keys SET delete_at = 1 WHERE delete_at IS NOT NULL").await;
        let server = installation.serve();
        let client = server.client(&user);
        eventually(async || client.call("CreateKey", &AES).await).await;
        decrypts(&client, &blob).await;
    }
}

#[tokio::test]
async fn a_key_that_is_used_up_rotates_and_another_kind_is_refused_for_good() {
    let (installation, user) = prepared("key-limit=40:CKR_KEY_EXHAUSTED");
    let server = installation.serve();
    let client = server.client(&user);
    let key = create_key(&client, &AES).await.unwrap();
    let mut blobs = Vec::new();
    for _call in 0..100 {
        // A client repeats a call that is answered with 503.
        let made = eventually(async || encrypt(&client, &key).await).await;
        blobs.push(field(&made, "CiphertextBlob"));
    }
    let versions = client.call("ListKeyVersions", &[("KeyId", &key)]).await.unwrap();
    assert!(versions["TotalCount"].as_u64().unwrap() >= 3, "{versions}");
    for blob in &blobs {
        decrypts(&client, blob).await;
    }
    // These have one version, and a client must not wait for another one.
    let mac = create_key(&client, &[("KeySpec", "HMAC_SHA_256")]).await.unwrap();
    let params = [("KeyId", &*mac), ("Algorithm", "HMAC_SHA_256"), ("Message", PLAINTEXT)];
    is_used_up(&client, "GenerateMac", &params).await;
    let pair = create_key(&client, &[("KeySpec", "EC_P256")]).await.unwrap();
    let versions = client.call("ListKeyVersions", &[("KeyId", &pair)]).await.unwrap();
    let version = field(&versions["KeyVersions"]["KeyVersion"][0], "KeyVersionId");
    let params = [
        ("KeyId", &*pair),
        ("KeyVersionId", &version),
        ("Algorithm", "ECDSA_SHA_256"),
        ("Digest", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="),
    ];
    is_used_up(&client, "AsymmetricSign", &params).await;
    let external = imported(&client, 7).await;
    let params = [("KeyId", external.as_str()), ("Plaintext", PLAINTEXT)];
    let blob = field(&encrypt(&client, &external).await.unwrap(), "CiphertextBlob");
    is_used_up(&client, "Encrypt", &params).await;
    is_refused(&client, "GenerateDataKey", &[("KeyId", &external)], LIMIT_EXCEEDED).await;
    decrypts(&client, &blob).await;
}

/// The calls succeed, and are then refused permanently.
async fn is_used_up(client: &Client, action: &str, params: &[(&str, &str)]) {
    for _call in 0..50 {
        match client.call(action, params).await {
            Ok(_made) => {}
            Err(CallError::Refused { status, code, .. }) => {
                assert_eq!((status, &*code), LIMIT_EXCEEDED, "{action}");
                return is_refused(client, action, params, LIMIT_EXCEEDED).await;
            }
            Err(other) => panic!("{action}: {other:?}"),
        }
    }
    panic!("{action} has no limit");
}

#[test]
fn a_token_with_short_labels_is_refused_by_the_name_of_the_attribute() {
    is_refused_at_the_start("label-limit=91", "CKA_LABEL of 92 bytes");
}

#[test]
fn a_token_that_does_not_keep_an_attribute_is_refused_by_its_name() {
    for attribute in ["CKA_SENSITIVE", "CKA_EXTRACTABLE", "CKA_ENCRYPT", "CKA_PRIVATE"] {
        is_refused_at_the_start(&format!("attribute-ignored={attribute}"), attribute);
    }
}

/// Neither `init` nor, on a token that has changed, `serve` accepts the token.
fn is_refused_at_the_start(manners: &str, named: &str) {
    let installation = Installation::behind_manners(manners);
    let told = installation.init().failed(1);
    assert!(told.contains(named), "{manners}: {told}");
    let (mut installation, _user) = Installation::prepared();
    installation.play_manners(manners);
    installation.configure(|_text| {});
    let told = installation.configured(&["serve"]).failed(1);
    assert!(told.contains(named), "{manners}: {told}");
    let found = installation.configured(&["doctor", "--json"]);
    let found = (found.code, String::from_utf8_lossy(&found.stdout));
    assert!(found.0 == Some(7) && found.1.contains(named), "{found:?}");
}

#[test]
fn a_token_without_the_curve_of_the_audit_is_refused_by_its_name() {
    for manners in ["no-mechanism=CKM_ECDSA", "no-mechanism=CKM_EC_KEY_PAIR_GEN"] {
        let told = Installation::behind_manners(manners).init().failed(1);
        assert!(told.contains("the curve P-256"), "{manners}: {told}");
    }
}

#[tokio::test]
async fn foreign_objects_are_counted_and_never_taken() {
    let (installation, user) = prepared("foreign-objects");
    let server = installation.serve();
    let client = server.client(&user);
    let key = create_key(&client, &AES).await.unwrap();
    let blob = field(&encrypt(&client, &key).await.unwrap(), "CiphertextBlob");
    assert!(server.has_logged("token.objects_unreadable"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    let check = check_of_doctor(&installation, "unreadable objects");
    assert_eq!(check["verdict"], "warning", "{check}");
    assert!(check["found"].as_str().unwrap().starts_with('1'), "{check}");
    installation.lose_database();
    let found = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    assert_eq!(found["unreadable_objects"], 1, "{found}");
    assert_eq!(found["left_alone"].as_array().unwrap().len(), 0, "{found}");
    assert_eq!(found["keys"].as_array().unwrap().len(), 1, "{found}");
    let user = AccessKey::of(&installation.init().json());
    decrypts(&installation.serve().client(&user), &blob).await;
}

/// Imports material of one byte, repeated, into a key.
async fn import(client: &Client, key: &str, byte: u8) -> Result<Value, CallError> {
    let wanted = [
        ("KeyId", key),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_1"),
    ];
    let given = client.call("GetParametersForImport", &wanted).await?;
    let (wrapped, token) = (wrap(&given, &[byte; 32]), field(&given, "ImportToken"));
    let params = [
        ("KeyId", key),
        ("ImportToken", &token),
        ("EncryptedKeyMaterial", &wrapped),
        ("KeyMaterialExpireUnix", "0"),
    ];
    client.call("ImportKeyMaterial", &params).await
}

/// A new key with this material.
async fn imported(client: &Client, byte: u8) -> String {
    let key = create_key(client, &[AES[0], ("Origin", "EXTERNAL")]).await.unwrap();
    import(client, &key, byte).await.unwrap();
    key
}

/// Deleted material returns, and no other material in its place.
async fn only_the_same_returns(client: &Client, key: &str, byte: u8) {
    client.call("DeleteKeyMaterial", &[("KeyId", key)]).await.unwrap();
    match import(client, key, byte + 1).await {
        Err(CallError::Refused { status, code, .. }) => {
            assert_eq!((status, &*code), INVALID_MATERIAL);
        }
        other => panic!("{other:?}"),
    }
    import(client, key, byte).await.unwrap();
}

#[tokio::test]
async fn material_is_recognized_by_a_message_where_the_token_makes_no_check_value() {
    let absent = "no-mechanism=CKM_AES_ECB,no-mechanism=CKM_AES_CBC,no-mechanism=CKM_AES_CMAC";
    for more in ["", ",iv-appended-16", ",unwrap-template-ignored"] {
        let (installation, user) = prepared(&format!("{absent}{more}"));
        let server = installation.serve();
        let client = server.client(&user);
        let key = imported(&client, 7).await;
        let blob = field(&encrypt(&client, &key).await.unwrap(), "CiphertextBlob");
        only_the_same_returns(&client, &key, 7).await;
        decrypts(&client, &blob).await;
        assert_eq!(server.stop(), Some(0));
        installation.lose_database();
        let found = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
        assert_eq!(found["keys"][0]["key_id"], *key, "{found}");
        let user = AccessKey::of(&installation.init().json());
        let server = installation.serve();
        let client = server.client(&user);
        decrypts(&client, &blob).await;
        only_the_same_returns(&client, &key, 7).await;
        decrypts(&client, &blob).await;
        until(|| server.has_logged("ImportKeyMaterial")).await;
    }
}

#[tokio::test]
async fn keys_with_ivs_of_16_bytes_are_recovered() {
    let (installation, user) = prepared("iv-appended-16");
    let server = installation.serve();
    let client = server.client(&user);
    let mut blobs = Vec::new();
    let generated = create_key(&client, &AES).await.unwrap();
    for key in [generated.clone(), imported(&client, 3).await] {
        blobs.push(field(&encrypt(&client, &key).await.unwrap(), "CiphertextBlob"));
    }
    client.call("CreateKeyVersion", &[("KeyId", &generated)]).await.unwrap();
    blobs.push(field(&encrypt(&client, &generated).await.unwrap(), "CiphertextBlob"));
    assert_eq!(server.stop(), Some(0));
    installation.lose_database();
    let found = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    assert_eq!(found["keys"].as_array().unwrap().len(), 2, "{found}");
    let user = AccessKey::of(&installation.init().json());
    let server = installation.serve();
    let client = server.client(&user);
    for blob in &blobs {
        decrypts(&client, blob).await;
    }
    let new = field(&encrypt(&client, &generated).await.unwrap(), "CiphertextBlob");
    assert_eq!(new.len(), blobs[0].len(), "an IV of 16 bytes");
    decrypts(&client, &new).await;
    let config = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    assert!(config.contains("fault_token"), "{config}");
}
