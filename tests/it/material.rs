//! Imported key material: its expiry, the expiry of an import token, and the limit of its attempts.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::gateway::{Gateway, sign_rows, text};
use crate::support::key_material::wrap;
use crate::support::process::{until, until_async};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const MATERIAL: [u8; 32] = [0x42; 32];

/// The id of a new key with this material.
pub(crate) async fn key_of(gateway: &Gateway, material: &[u8]) -> String {
    let key = external_key(gateway).await;
    reimport(gateway, &key, material).await;
    key
}

/// Imports this material into a key.
pub(crate) async fn reimport(gateway: &Gateway, key: &str, material: &[u8]) {
    let given = parameters(gateway, key).await;
    let wrapped = wrap(&given, material);
    gateway.call("ImportKeyMaterial", &import(key, &given, &wrapped, "0")).await;
}

async fn external_key(gateway: &Gateway) -> String {
    let made = gateway.call("CreateKey", &[("Origin", "EXTERNAL")]).await;
    text(&made["KeyMetadata"]["KeyId"]).to_owned()
}

async fn parameters(gateway: &Gateway, key: &str) -> Value {
    let wanted = [
        ("KeyId", key),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_1"),
    ];
    gateway.call("GetParametersForImport", &wanted).await
}

/// As `parameters`, with this algorithm.
async fn parameters_with(gateway: &Gateway, key: &str, algorithm: &str) -> Value {
    let wanted =
        [("KeyId", key), ("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", algorithm)];
    gateway.call("GetParametersForImport", &wanted).await
}

/// The request that brings `wrapped` in.
fn import<'a>(
    key: &'a str,
    parameters: &'a Value,
    wrapped: &'a str,
    expires: &'a str,
) -> [(&'a str, &'a str); 4] {
    [
        ("KeyId", key),
        ("ImportToken", text(&parameters["ImportToken"])),
        ("EncryptedKeyMaterial", wrapped),
        ("KeyMaterialExpireUnix", expires),
    ]
}

async fn metadata(gateway: &Gateway, key: &str) -> Value {
    gateway.call("DescribeKey", &[("KeyId", key)]).await["KeyMetadata"].clone()
}

/// Stops the gateway, changes its store by `sql`, and starts it again.
async fn with_store_changed(gateway: Gateway, sql: &'static str) -> Gateway {
    let directory = gateway.stop();
    execute(&directory.path().join("state"), sql).await;
    Gateway::start_in(directory, &[])
}

async fn execute(state: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", state.join("hsmgate.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let changed = sqlx::query(sql).execute(&pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1, "{sql}");
    pool.close().await;
    sign_rows(state);
}

#[tokio::test]
async fn expired_material_is_deleted_and_the_same_material_can_be_imported_again() {
    let gateway = Gateway::start();
    let key = external_key(&gateway).await;
    let given = parameters(&gateway, &key).await;
    let wrapped = wrap(&given, &MATERIAL);
    gateway.call("ImportKeyMaterial", &import(&key, &given, &wrapped, "4102444800")).await;
    let before = metadata(&gateway, &key).await;
    assert_eq!(text(&before["MaterialExpireTime"]), "2100-01-01T00:00:00Z");
    let encrypted = gateway.call("Encrypt", &[("KeyId", &key), ("Plaintext", PLAINTEXT)]).await;
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);
    let objects = gateway.token_objects();

    let due = "UPDATE keys SET material_expires = 1 WHERE material_expires IS NOT NULL";
    let gateway = with_store_changed(gateway, due).await;
    // At once, whether the job has been there or not.
    let waiting = (409, "Rejected.PendingImport".to_owned());
    assert_eq!(gateway.refused("Decrypt", &blob).await, waiting);
    until_async(async || metadata(&gateway, &key).await["KeyState"] == "PendingImport").await;
    let gateway = gateway.restart();
    assert_eq!(gateway.token_objects(), objects - 1, "the material is out of the token");

    let other = wrap(&given, &[0x43; 32]);
    let refused = gateway.refused("ImportKeyMaterial", &import(&key, &given, &other, "0")).await;
    assert_eq!(refused, (400, "InvalidKeyMaterial".to_owned()));
    gateway.call("ImportKeyMaterial", &import(&key, &given, &wrapped, "0")).await;
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);
    let after = metadata(&gateway, &key).await;
    assert_eq!(after["PrimaryKeyVersion"], before["PrimaryKeyVersion"]);
    assert_eq!(text(&after["MaterialExpireTime"]), "");
    let gateway = gateway.kill_and_restart();
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);
}

#[tokio::test]
async fn an_import_token_is_void_after_its_day_and_its_pair_is_destroyed() {
    let gateway = Gateway::start();
    let key = external_key(&gateway).await;
    let objects = gateway.token_objects();
    let given = parameters(&gateway, &key).await;
    assert_eq!(gateway.token_objects(), objects + 2);
    let due = "UPDATE documents SET body = \
               json_set(body, '$.expires', '2024-03-01T08:30:00Z') WHERE kind = 'import-parameters'";
    let gateway = with_store_changed(gateway, due).await;
    let wrapped = wrap(&given, &MATERIAL);
    let refused = gateway.refused("ImportKeyMaterial", &import(&key, &given, &wrapped, "0")).await;
    assert!(refused.1.ends_with("ImportToken"), "{refused:?}");
    until(|| gateway.token_objects() == objects).await;
}

#[tokio::test]
async fn an_import_token_is_void_after_a_hundred_refusals() {
    let gateway = Gateway::start();
    let key = external_key(&gateway).await;
    let given = parameters(&gateway, &key).await;
    let bad = STANDARD.encode([7; 256]);
    for _attempt in 0..100 {
        let refused = gateway.refused("ImportKeyMaterial", &import(&key, &given, &bad, "0")).await;
        assert_eq!(refused, (400, "InvalidKeyMaterial".to_owned()));
    }
    let gateway = gateway.kill_and_restart();
    let wrapped = wrap(&given, &MATERIAL);
    let refused = gateway.refused("ImportKeyMaterial", &import(&key, &given, &wrapped, "0")).await;
    assert_eq!(refused, (400, "InvalidImportToken".to_owned()));
    let given = parameters(&gateway, &key).await;
    let wrapped = wrap(&given, &MATERIAL);
    gateway.call("ImportKeyMaterial", &import(&key, &given, &wrapped, "0")).await;
}

#[tokio::test]
async fn imports_at_the_same_time_leave_one_material() {
    let gateway = Gateway::start();
    let key = external_key(&gateway).await;
    let given = parameters(&gateway, &key).await;
    let all: Vec<String> = (0..6).map(|byte| wrap(&given, &[byte; 32])).collect();
    let requests = all.iter().map(|wrapped| import(&key, &given, wrapped, "0"));
    let requests: Vec<_> = requests.collect();
    let client = &gateway.client;
    let (first, second, third, fourth, fifth, sixth) = tokio::join!(
        client.call("ImportKeyMaterial", &requests[0]),
        client.call("ImportKeyMaterial", &requests[1]),
        client.call("ImportKeyMaterial", &requests[2]),
        client.call("ImportKeyMaterial", &requests[3]),
        client.call("ImportKeyMaterial", &requests[4]),
        client.call("ImportKeyMaterial", &requests[5]),
    );
    let outcomes = [first, second, third, fourth, fifth, sixth];
    let went_well = outcomes.iter().flatten().count();
    assert_eq!(went_well, 1);
    let versions = gateway.call("ListKeyVersions", &[("KeyId", &key)]).await;
    assert_eq!(versions["TotalCount"], 1);
    let encrypted = gateway.call("Encrypt", &[("KeyId", &key), ("Plaintext", PLAINTEXT)]).await;
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);
}

#[tokio::test]
async fn a_new_import_token_replaces_the_one_for_the_same_key_and_algorithm() {
    let gateway = Gateway::start();
    let (key, other) = (external_key(&gateway).await, external_key(&gateway).await);
    let first = parameters(&gateway, &key).await;
    let of_other = parameters(&gateway, &other).await;
    let pkcs1 = parameters_with(&gateway, &key, "RSAES_PKCS1_V1_5").await;
    let objects = gateway.token_objects();
    for _time in 0..2 {
        parameters(&gateway, &key).await;
        assert_eq!(gateway.token_objects(), objects, "one wrapping pair for key and algorithm");
    }
    let wrapped = wrap(&first, &MATERIAL);
    let refused = gateway.refused("ImportKeyMaterial", &import(&key, &first, &wrapped, "0")).await;
    assert_eq!(refused, (400, "InvalidImportToken".to_owned()));
    let wrapped = wrap(&of_other, &MATERIAL);
    gateway.call("ImportKeyMaterial", &import(&other, &of_other, &wrapped, "0")).await;
    let unknown = gateway.refused("ImportKeyMaterial", &import(&key, &pkcs1, "AA==", "0")).await;
    assert_eq!(unknown, (400, "InvalidKeyMaterial".to_owned()), "its import token is valid");
}

#[tokio::test]
async fn an_algorithm_that_the_token_refuses_leaves_no_wrapping_pair() {
    let gateway = Gateway::start();
    let key = external_key(&gateway).await;
    let objects = gateway.token_objects();
    let wanted = [
        ("KeyId", &*key),
        ("WrappingKeySpec", "RSA_2048"),
        // SoftHSM lists RSAES-OAEP, and refuses it with this hash.
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_256"),
    ];
    for _time in 0..2 {
        let refused = gateway.refused("GetParametersForImport", &wanted).await;
        assert_eq!(refused, (400, "UnsupportedOperation".to_owned()));
        assert_eq!(gateway.token_objects(), objects);
    }
}
