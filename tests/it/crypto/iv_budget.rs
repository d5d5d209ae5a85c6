//! The limit of encryptions per key version, with thresholds that a test can reach.

use hsmgate::cli::client::{CallError, Client};
use serde_json::Value;

use crate::support::audit_file::events;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation};
use crate::support::process::eventually;

const TEXT: &str = "SGVsbG8=";
const SERVICE: &str = "AliyunServiceEvent";
const EXHAUSTED: (u16, &str) = (400, "Rejected.LimitExceeded");

/// With a lease of 8 and these thresholds.
fn installation(warn_at: u64, rotate_at: u64, refuse_at: u64) -> (Installation, AccessKey) {
    let (installation, user) = Installation::prepared();
    installation.configure(|text| {
        let thresholds = format!(
            "[crypto]\niv_lease = 8\niv_warn_at = {warn_at}\niv_rotate_at = {rotate_at}\n\
             iv_refuse_at = {refuse_at}\n[limits]\ncalls_per_second = 0\n"
        );
        text.push_str(&thresholds);
    });
    (installation, user)
}

/// What the store counts of all versions of the one key.
async fn counted(installation: &Installation) -> u64 {
    let mut database = installation.database().await;
    let sum: i64 = sqlx::query_scalar("SELECT SUM(invocations) FROM key_versions")
        .fetch_one(&mut database)
        .await
        .unwrap();
    sum.try_into().unwrap()
}

async fn new_key(client: &Client) -> String {
    let made = client.call("CreateKey", &[]).await.unwrap();
    text(&made["KeyMetadata"]["KeyId"]).to_owned()
}

async fn encrypt(client: &Client, key: &str) -> Result<Value, CallError> {
    client.call("Encrypt", &[("KeyId", key), ("Plaintext", TEXT)]).await
}

#[track_caller]
fn refused(outcome: Result<Value, CallError>) -> (u16, String) {
    match outcome {
        Err(CallError::Refused { status, code, .. }) => (status, code),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn the_count_is_never_below_the_encryptions_whether_stopped_or_killed() {
    let (installation, user) = installation(1_000, 2_000, 3_000);
    let mut server = installation.serve();
    let key = new_key(&server.client(&user)).await;
    let mut done = 0;
    for round in 0..4 {
        let client = server.client(&user);
        for _call in 0..13 {
            encrypt(&client, &key).await.unwrap();
            done += 1;
            assert!(counted(&installation).await >= done, "counted before it is used");
        }
        if round % 2 == 0 {
            drop(server);
            let counted = counted(&installation).await;
            // A whole lease may wait behind the one in use.
            assert!((done..=done + 8 * 2 * (round / 2 + 1)).contains(&counted), "{done} {counted}");
        } else {
            let before = counted(&installation).await;
            assert_eq!(server.stop(), Some(0));
            assert!((done..=before).contains(&counted(&installation).await));
        }
        server = installation.serve();
    }
}

#[tokio::test]
async fn an_orderly_shutdown_returns_unused_invocations() {
    let (installation, user) = installation(1_000, 2_000, 3_000);
    let server = installation.serve();
    let client = server.client(&user);
    let key = new_key(&client).await;
    for _call in 0..3 {
        encrypt(&client, &key).await.unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    assert_eq!(counted(&installation).await, 3);
}

#[tokio::test]
async fn a_key_past_its_budget_gets_a_new_version_and_old_ciphertexts_decrypt() {
    let (installation, user) = installation(8, 16, 4_000);
    let server = installation.serve();
    let client = server.client(&user);
    let key = new_key(&client).await;
    let first = encrypt(&client, &key).await.unwrap();
    let mut rotations = 0;
    let mut version = first["KeyVersionId"].clone();
    for _call in 0..3_000 {
        let encrypted = encrypt(&client, &key).await.unwrap();
        if encrypted["KeyVersionId"] != version {
            version = encrypted["KeyVersionId"].clone();
            rotations += 1;
            if rotations == 2 {
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(rotations, 2);
    let warning = events(&installation.audit_file(), "IvBudgetWarning", 1).await.remove(0);
    assert_eq!((text(&warning["resourceName"]), text(&warning["eventType"])), (&*key, SERVICE));
    let blob = text(&first["CiphertextBlob"]);
    let decrypted = client.call("Decrypt", &[("CiphertextBlob", blob)]).await.unwrap();
    assert_eq!(decrypted["Plaintext"], TEXT);
}

#[tokio::test]
async fn an_exhausted_version_encrypts_nothing_more_and_decrypts_everything() {
    let (installation, user) = installation(8, 20, 24);
    let server = installation.serve();
    let client = server.client(&user);
    let (key, other) = (new_key(&client).await, new_key(&client).await);
    let blob = encrypt(&client, &key).await.unwrap()["CiphertextBlob"].clone();
    assert_eq!(server.stop(), Some(0));
    let mut database = installation.database().await;
    let past_budget = "UPDATE key_versions SET invocations = 23 WHERE key_id = $1";
    sqlx::query(past_budget).bind(&key).execute(&mut database).await.unwrap();
    // A key with imported material does not rotate.
    let external = "UPDATE keys SET origin = 'EXTERNAL', material_check = x'00', \
                    material_is_present = 1 WHERE id = $1";
    sqlx::query(external).bind(&key).execute(&mut database).await.unwrap();
    installation.sign();

    let server = installation.serve();
    let client = server.client(&user);
    let used_up = (EXHAUSTED.0, EXHAUSTED.1.to_owned());
    for _again in 0..2 {
        assert_eq!(refused(encrypt(&client, &key).await), used_up);
        for action in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
            assert_eq!(refused(client.call(action, &[("KeyId", &key)]).await), used_up);
        }
        let elsewhere = text(&blob);
        let moved = [("CiphertextBlob", elsewhere), ("DestinationKeyId", &key)];
        assert_eq!(refused(client.call("ReEncrypt", &moved).await), used_up);
        let decrypted = client.call("Decrypt", &[("CiphertextBlob", elsewhere)]).await.unwrap();
        assert_eq!(decrypted["Plaintext"], TEXT);
        let away = [("CiphertextBlob", elsewhere), ("DestinationKeyId", &other)];
        client.call("ReEncrypt", &away).await.unwrap();
    }
    assert_eq!(refused(encrypt(&client, &key).await), used_up);
    let end = events(&installation.audit_file(), "IvBudgetExhausted", 1).await.remove(0);
    assert_eq!((text(&end["resourceName"]), text(&end["eventType"])), (&*key, SERVICE));
}

#[tokio::test]
async fn without_its_store_a_gateway_encrypts_until_its_lease_ends_and_continues_to_decrypt() {
    let (installation, user) = installation(1_000, 2_000, 3_000);
    let configured = std::fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    installation.configure(|text| {
        *text = configured.replace("[token]\n", "[token]\ntimeout_ms = 500\n");
    });
    let server = installation.serve();
    let client = server.client(&user);
    let key = new_key(&client).await;
    let blob = encrypt(&client, &key).await.unwrap()["CiphertextBlob"].clone();
    let mut database = installation.database().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let mut done = 0;
    let refusal = loop {
        match encrypt(&client, &key).await {
            Ok(_encrypted) => done += 1,
            refusal => break refused(refusal),
        }
        assert!(done < 20);
    };
    assert_eq!(refusal, (503, "ServiceUnavailableTemporary".to_owned()));
    assert!(done >= 3, "{done}");
    for _call in 0..20 {
        let decrypted = client.call("Decrypt", &[("CiphertextBlob", text(&blob))]).await.unwrap();
        assert_eq!(decrypted["Plaintext"], TEXT);
    }
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    eventually(async || encrypt(&client, &key).await).await;
}
