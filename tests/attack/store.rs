//! A process that can write the database, and has neither the token nor a credential.

use std::fs;

use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::admin_client::get;
use crate::support::calls::{code, until_code};
use crate::support::gateway::text;
use crate::support::installation::{Installation, Server};
use crate::support::process::{eventually, until};

const FULL: &str = "AliyunKMSFullAccess";

/// Waits until readiness says that the store is degraded.
async fn is_degraded(server: &Server) {
    let admin = format!("http://{}", server.admin_address());
    eventually(async || {
        let (_code, body) = get(&admin, "/readyz").await;
        let told: Value = serde_json::from_str(&body).unwrap();
        let status = &told["dependencies"]["store"]["status"];
        if status == "degraded" { Ok(()) } else { Err(body) }
    })
    .await;
}

/// The failed checks of the doctor, each with its remedy.
fn failed_checks(installation: &Installation) -> Vec<String> {
    let outcome = installation.configured(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["verdict"] == "failed");
    let told = failed.inspect(|check| assert!(!text(&check["remedy"]).is_empty(), "{check}"));
    told.map(|check| text(&check["found"]).to_owned()).collect()
}

#[tokio::test]
async fn a_user_who_writes_his_own_policy_gets_no_right() {
    let (installation, _admin) = Installation::prepared_with_admin_listener();
    let mallory = installation.create_access_key("mallory", &[]);
    let server = installation.serve();
    let client = server.client(&mallory);
    until_code(&client, "ListKeys", &[], "Forbidden.NoPermission").await;
    installation
        .tamper(
            "UPDATE principals SET policies = '[{\"name\":\"AliyunKMSFullAccess\"}]' \
             WHERE name = 'user/mallory'",
        )
        .await;
    installation
        .tamper("UPDATE facts SET value = value + 1 WHERE name = 'access-keys-revision'")
        .await;
    until_code(&client, "ListKeys", &[], "InvalidAccessKeyId.NotFound").await;
    until(|| server.has_logged("store.row_damaged")).await;
    is_degraded(&server).await;
    assert_eq!(server.stop(), Some(0));
    let server = installation.serve();
    let client = server.client(&mallory);
    assert_eq!(code(&client, "ListKeys", &[]).await, "InvalidAccessKeyId.NotFound");
    let failed = failed_checks(&installation);
    assert!(failed.iter().any(|one| one.contains("principals \"user/mallory\"")), "{failed:?}");
}

#[tokio::test]
async fn an_access_key_that_is_given_to_the_root_or_enabled_again_is_not_accepted() {
    for sql in [
        "UPDATE access_keys SET principal = 'root' WHERE principal = 'user/mallory'",
        "UPDATE access_keys SET is_active = 1 WHERE principal = 'user/mallory'",
        "UPDATE access_keys SET session_policy = NULL, is_active = 1 \
         WHERE principal = 'user/mallory'",
    ] {
        let (installation, _admin) = Installation::prepared_with_admin_listener();
        let mallory = installation.create_access_key("mallory", &[FULL]);
        installation.configured(&["access-key", "disable", &mallory.id]).done();
        // Signs the revocation.
        assert_eq!(installation.serve().stop(), Some(0));
        installation.tamper(sql).await;
        let server = installation.serve();
        let client = server.client(&mallory);
        assert_eq!(code(&client, "ListKeys", &[]).await, "InvalidAccessKeyId.NotFound", "{sql}");
        is_degraded(&server).await;
        assert_eq!(server.stop(), Some(0));
    }
}

#[tokio::test]
async fn a_client_key_that_is_written_into_the_database_opens_nothing() {
    let (installation, admin) = Installation::prepared_with_admin_listener();
    let server = installation.serve();
    let client = server.client(&admin);
    let policy = [
        ("Name", "p"),
        ("Resources", r#"["key/*"]"#),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
    ];
    client.call("CreatePolicy", &policy).await.unwrap();
    let point = [("Name", "shop"), ("Policies", r#"["p"]"#)];
    client.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let made = [("AapName", "shop"), ("Password", "opens-it-1")];
    let made = client.call("CreateClientKey", &made).await.unwrap();
    let id = text(&made["ClientKeyId"]).to_owned();
    assert_eq!(server.stop(), Some(0));
    // Its own row was deleted with its id: what a thief of an old database puts back.
    installation.tamper("CREATE TABLE kept AS SELECT * FROM documents").await;
    installation.configured(&["client-key", "delete", &id]).done();
    assert_eq!(installation.serve().stop(), Some(0));
    installation.tamper("DELETE FROM documents").await;
    installation.tamper("INSERT INTO documents SELECT * FROM kept").await;
    installation.tamper("DROP TABLE kept").await;
    let server = installation.serve();
    let client = server.client(&admin);
    let of_key = [("ClientKeyId", id.as_str())];
    assert_eq!(code(&client, "GetClientKey", &of_key).await, "Forbidden.ResourceNotFound");
    is_degraded(&server).await;
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_key_that_is_enabled_moved_or_taken_off_its_deletion_in_the_database_is_not_used() {
    for sql in [
        "UPDATE keys SET state = 'Enabled', delete_at = NULL WHERE state = 'PendingDeletion'",
        "UPDATE aliases SET key_id = (SELECT id FROM keys WHERE state = 'PendingDeletion')",
        "DELETE FROM key_versions WHERE key_id IN \
         (SELECT id FROM keys WHERE state = 'PendingDeletion')",
    ] {
        let (installation, admin) = Installation::prepared_with_admin_listener();
        let server = installation.serve();
        let client = server.client(&admin);
        let mut keys = Vec::new();
        for _key in 0..2 {
            let created = client.call("CreateKey", &[]).await.unwrap();
            keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
        }
        let alias = [("KeyId", keys[1].as_str()), ("AliasName", "alias/a")];
        client.call("CreateAlias", &alias).await.unwrap();
        let doomed = [("KeyId", keys[0].as_str()), ("PendingWindowInDays", "7")];
        client.call("ScheduleKeyDeletion", &doomed).await.unwrap();
        assert_eq!(server.stop(), Some(0));
        let objects = installation.token_objects();
        installation.tamper(sql).await;
        let server = installation.serve();
        let client = server.client(&admin);
        let encrypt = |key: &'static str| [("KeyId", key), ("Plaintext", "SGk=")];
        let used = [("KeyId", keys[0].as_str()), ("Plaintext", "SGk=")];
        assert_ne!(code(&client, "Encrypt", &used).await, "", "{sql}");
        if sql.contains("aliases") {
            assert_ne!(code(&client, "Encrypt", &encrypt("alias/a")).await, "", "{sql}");
        }
        is_degraded(&server).await;
        assert_eq!(installation.token_objects(), objects, "nothing is destroyed: {sql}");
        assert_eq!(server.stop(), Some(0));
    }
}

#[tokio::test]
async fn a_database_whose_key_of_the_signatures_was_removed_or_replaced_is_refused() {
    let (installation, _admin) = Installation::prepared_with_admin_listener();
    let (other, _admin) = Installation::prepared_with_admin_listener();
    let mut database = other.database().await;
    let foreign = "SELECT value FROM facts WHERE name = 'row-mac-key'";
    let foreign: String = sqlx::query_scalar(foreign).fetch_one(&mut database).await.unwrap();
    for value in [None, Some("AAAA"), Some(&*foreign)] {
        let mut database = installation.database().await;
        sqlx::query("DELETE FROM facts WHERE name = 'row-mac-key'")
            .execute(&mut database)
            .await
            .unwrap();
        if let Some(value) = value {
            sqlx::query("INSERT INTO facts (name, value) VALUES ('row-mac-key', ?)")
                .bind(value)
                .execute(&mut database)
                .await
                .unwrap();
        }
        let told = installation.configured(&["serve"]).failed(1);
        assert!(told.contains("hsmgate store sign"), "{told}");
    }
    installation.sign();
    assert_eq!(installation.serve().stop(), Some(0));
}

#[tokio::test]
async fn a_forged_backup_is_not_restored() {
    let (installation, _admin) = Installation::prepared_with_admin_listener();
    let mallory = installation.create_access_key("mallory", &[]);
    let backup = installation.path("backup.db");
    installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
    let url = format!("sqlite://{}", backup.display());
    let mut forged = SqliteConnection::connect(&url).await.unwrap();
    let root = "UPDATE access_keys SET principal = 'root' WHERE principal = 'user/mallory'";
    sqlx::query(root).execute(&mut forged).await.unwrap();
    forged.close().await.unwrap();
    let before = fs::read(installation.path("hsmgate.db")).unwrap();
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test"];
    let told = installation.configured(&from).failed(2);
    assert!(told.contains("the backup was changed or is damaged"), "{told}");
    assert!(told.contains(&mallory.id), "{told}");
    assert_eq!(fs::read(installation.path("hsmgate.db")).unwrap(), before);
}

#[tokio::test]
async fn a_revocation_is_in_force_without_the_token_and_gives_nothing() {
    let (installation, admin) = Installation::prepared_with_admin_listener();
    let bob = installation.create_access_key("bob", &[FULL]);
    fs::rename(installation.path("tokens"), installation.path("away")).unwrap();
    installation.configured(&["access-key", "disable", &bob.id]).done();
    let listed = installation.configured(&["access-key", "list", "--json"]).json();
    let listed = listed.as_array().unwrap().iter().find(|key| key["access_key_id"] == *bob.id);
    assert_eq!(listed.unwrap()["active"], json!(false), "at once, before any gateway signs it");
    fs::rename(installation.path("away"), installation.path("tokens")).unwrap();
    // Its row can only take away: an unknown kind, or an unknown subject, gives nothing.
    installation
        .tamper(
            "INSERT INTO revocations (id, kind, subject, policy, created) \
             VALUES ('x', 'enable-access-key', 'LTAI', NULL, 1)",
        )
        .await;
    let server = installation.serve();
    until_code(&server.client(&bob), "ListKeys", &[], "InvalidAccessKeyId.Inactive").await;
    until_code(&server.client(&admin), "ListKeys", &[], "").await;
    assert_eq!(server.stop(), Some(0));
    let mut database = installation.database().await;
    let count = "SELECT COUNT(*) FROM revocations WHERE kind = 'disable-access-key'";
    let left: i64 = sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap();
    assert_eq!(left, 0, "the gateway has signed it");
}
