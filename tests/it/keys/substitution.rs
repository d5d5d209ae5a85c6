//! A changed database cannot make a key use the token object of another key.

use hsmgate::cli::client::Client;
use serde_json::Value;
use sqlx::Connection as _;

use crate::support::gateway::text;
use crate::support::installation::Installation;
use crate::support::process::until;

const TEXT: &str = "SGVsbG8=";

async fn create(client: &Client, params: &[(&str, &str)]) -> String {
    let created = client.call("CreateKey", params).await.unwrap();
    text(&created["KeyMetadata"]["KeyId"]).to_owned()
}

async fn encrypt(client: &Client, key: &str) -> anyhow::Result<String> {
    let encrypted = client.call("Encrypt", &[("KeyId", key), ("Plaintext", TEXT)]).await?;
    Ok(text(&encrypted["CiphertextBlob"]).to_owned())
}

/// Runs each statement, with `?` for each of these values in turn.
async fn change(installation: &Installation, statements: &[(&'static str, &[&str])]) {
    let mut database = installation.database().await;
    for (statement, values) in statements {
        let query = values.iter().fold(sqlx::query(*statement), |query, value| query.bind(*value));
        query.execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
    // Even a row that is signed cannot do it.
    installation.sign();
}

#[track_caller]
fn is_refused<T, E: std::fmt::Display>(outcome: Result<T, E>) {
    let error = outcome.err().expect("it was let through").to_string();
    assert!(error.contains("InternalFailure"), "{error}");
}

/// The names of the checks that failed.
fn failed_checks(installation: &Installation) -> Vec<String> {
    let outcome = installation.configured(&["doctor", "--json"]);
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let checks = told["checks"].as_array().unwrap().iter();
    let failed = checks.filter(|check| check["verdict"] == "failed");
    failed.map(|check| text(&check["name"]).to_owned()).collect()
}

#[tokio::test]
async fn a_version_that_was_moved_under_another_key_does_not_decrypt_its_ciphertexts() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let (victim, thief) = (create(&client, &[]).await, create(&client, &[]).await);
    let blob = encrypt(&client, &victim).await.unwrap();
    let own = encrypt(&client, &thief).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    change(
        &installation,
        &[
            ("UPDATE keys SET primary_version = NULL WHERE id = ?", &[&victim]),
            ("UPDATE key_versions SET key_id = ?, number = 9 WHERE key_id = ?", &[&thief, &victim]),
        ],
    )
    .await;

    let server = installation.serve();
    let client = server.client(&user);
    for _time in 0..2 {
        is_refused(client.call("Decrypt", &[("CiphertextBlob", &blob)]).await);
    }
    let decrypted = client.call("Decrypt", &[("CiphertextBlob", &own)]).await.unwrap();
    assert_eq!(decrypted["Plaintext"], TEXT, "its own versions go on");
    until(|| server.has_logged("token.key_mismatch")).await;
    assert_eq!(server.stop(), Some(0));
    assert_eq!(failed_checks(&installation), ["rows over another key"]);
}

#[tokio::test]
async fn the_keys_of_the_service_cannot_be_used_through_keys_of_the_api() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let cipher = create(&client, &[]).await;
    let pair = create(&client, &[("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")]).await;
    assert_eq!(server.stop(), Some(0));
    change(
        &installation,
        &[
            (
                "UPDATE key_versions SET id = (SELECT value FROM facts WHERE name = \
                 'access-key-seal') WHERE key_id = ?",
                &[&cipher],
            ),
            (
                "UPDATE keys SET primary_version = (SELECT value FROM facts WHERE name = \
                 'access-key-seal') WHERE id = ?",
                &[&cipher],
            ),
            (
                "UPDATE key_versions SET id = (SELECT value FROM facts WHERE name = \
                 'audit-checkpoint-key') WHERE key_id = ?",
                &[&pair],
            ),
        ],
    )
    .await;

    let server = installation.serve();
    let client = server.client(&user);
    is_refused(encrypt(&client, &cipher).await);
    is_refused(client.call("GenerateDataKey", &[("KeyId", &cipher)]).await);
    let versions = client.call("ListKeyVersions", &[("KeyId", &pair)]).await.unwrap();
    let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    let of_pair = [("KeyId", pair.as_str()), ("KeyVersionId", version)];
    let digest = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
    let sign = [&of_pair[..], &[("Algorithm", "ECDSA_SHA_256"), ("Digest", digest)]].concat();
    is_refused(client.call("AsymmetricSign", &sign).await);
    is_refused(client.call("GetPublicKey", &of_pair).await);
    until(|| server.has_logged("token.key_mismatch")).await;
    assert_eq!(server.stop(), Some(0));
    assert!(failed_checks(&installation).contains(&"rows over another key".to_owned()));
}

#[tokio::test]
async fn a_key_whose_object_cannot_be_destroyed_does_not_keep_the_others_from_being_served() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let mut keys = Vec::new();
    for _key in 0..5 {
        keys.push(create(&client, &[]).await);
    }
    let [good, half, half_victim, absent, absent_victim] = &keys[..] else { panic!() };
    assert_eq!(server.stop(), Some(0));
    let objects = installation.token_objects();
    // A version that is half made, and one whose material is absent: each with another key's object.
    change(
        &installation,
        &[
            ("UPDATE keys SET primary_version = NULL WHERE id = ?", &[half_victim]),
            ("UPDATE keys SET primary_version = NULL WHERE id = ?", &[absent_victim]),
            (
                "UPDATE key_versions SET key_id = ?, number = 9, is_live = 0 WHERE key_id = ?",
                &[half, half_victim],
            ),
            ("DELETE FROM key_versions WHERE key_id = ?", &[absent]),
            ("UPDATE key_versions SET key_id = ? WHERE key_id = ?", &[absent, absent_victim]),
            (
                "UPDATE keys SET origin = 'EXTERNAL', state = 'PendingImport', primary_version = \
                 NULL, material_check = x'00', material_is_present = 0 WHERE id = ?",
                &[absent],
            ),
        ],
    )
    .await;

    let server = installation.serve();
    let client = server.client(&user);
    for key in [good, half] {
        encrypt(&client, key).await.unwrap();
    }
    until(|| server.has_logged("key.reconcile_failed")).await;
    assert_eq!(server.stop(), Some(0));
    assert_eq!(installation.token_objects(), objects);
}
