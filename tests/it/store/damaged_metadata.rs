//! Damaged or lost metadata of the database: no key of the token is lost.

use sqlx::Connection as _;

use crate::support::installation::{AccessKey, Installation};

/// What becomes of a fact.
const DAMAGES: [&str; 3] = [
    "UPDATE facts SET value = 'x' WHERE name = $1",
    "UPDATE facts SET value = CAST(x'ff' AS TEXT) WHERE name = $1",
    DELETION,
];
const DELETION: &str = "DELETE FROM facts WHERE name = $1";

/// Facts that are any text, so that another one is no damage.
const TEXTS: [&str; 4] = ["account", "region", "replay-journal", "token-serial"];

/// Facts that are damaged at the same time.
const GROUPS: [&[&str]; 3] = [
    &[
        "access-key-seal",
        "access-keys-revision",
        "audit-checkpoint-key",
        "audit-head",
        "clock-recorded",
        "region",
        "replay-journal",
    ],
    &[
        "account",
        "audit-key-change",
        "audit-public-key",
        "audit-retired-keys",
        "catalogue-revision",
        "destruction-hold-left",
        "instance-created",
    ],
    &["token-serial"],
];

async fn damage(installation: &Installation, damage: &'static str, names: &[&str]) {
    let mut database = installation.database().await;
    for name in names {
        sqlx::query(damage).bind(*name).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_damaged_metadata_serves() {
    let (installation, user) = Installation::prepared();
    assert_eq!(installation.serve().stop(), Some(0));
    let objects = installation.token_objects();
    for (at, sql) in DAMAGES.into_iter().enumerate() {
        for group in GROUPS {
            let names: Vec<&str> =
                group.iter().copied().filter(|name| at > 0 || !TEXTS.contains(name)).collect();
            damage(&installation, sql, &names).await;
            if sql == DELETION {
                // It may have been an entry that says what the database must have.
                let config = installation.path("hsmgate.toml");
                let serve = ["serve", "--config", config.to_str().unwrap()];
                // A gateway that serves is ended with exit code 124.
                let refused = installation.run_under(&["timeout", "60"], &serve).failed(1);
                assert!(refused.contains("hsmgate store sign"), "{refused}");
                let doctor = installation.configured(&["doctor"]);
                assert!(String::from_utf8_lossy(&doctor.stdout).contains("metadata"), "{doctor:?}");
                installation.sign();
            }
            let server = installation.serve();
            let called = server.client(&user).call("ListKeys", &[]).await;
            assert!(called.is_ok(), "{sql} {names:?}: {called:?}");
            assert_eq!(server.stop(), Some(0));
        }
    }
    assert_eq!(installation.token_objects(), objects, "no key was made or destroyed");
    let well = installation.configured(&["doctor"]);
    assert_eq!(well.code, Some(0), "{well:?}");
}

#[tokio::test]
async fn an_encryption_key_that_the_database_lost_is_not_replaced() {
    for sql in DAMAGES {
        let (installation, user) = Installation::prepared();
        damage(&installation, sql, &["access-key-seal"]).await;
        let refused = installation.configured(&["access-key", "replace-encryption-key"]).failed(1);
        assert!(refused.contains("nothing was replaced"), "{refused}");
        installation.configured(&["recover", "--reason", "a test", "--json"]).json();
        let server = installation.serve();
        server.client(&user).call("ListKeys", &[]).await.unwrap();
        assert_eq!(server.stop(), Some(0));
    }
}

#[tokio::test]
async fn rights_can_be_revoked_despite_a_damaged_region() {
    let (installation, user) = Installation::prepared();
    damage(&installation, DAMAGES[1], &["region"]).await;
    installation.configured(&["access-key", "disable", &user.id]).done();
}

const SECRET: [(&str, &str); 3] = [("SecretName", "s"), ("VersionId", "v1"), ("SecretData", "abc")];

/// An installation with a secret, and the id of its instance.
async fn with_secret() -> (Installation, AccessKey, String) {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    server.client(&user).call("CreateSecret", &SECRET).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let id = instance_id(&installation).await;
    (installation, user, id)
}

async fn instance_id(installation: &Installation) -> String {
    let mut database = installation.database().await;
    let id = sqlx::query_scalar("SELECT value FROM facts WHERE name = 'instance-id'");
    let id = id.fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    id
}

async fn assert_secret_is_read(installation: &Installation, user: &AccessKey) {
    let server = installation.serve();
    let read = server.client(user).call("GetSecretValue", &SECRET[..1]).await.unwrap();
    assert_eq!(read["SecretData"], "abc");
    assert_eq!(server.stop(), Some(0));
}

/// Secrets are encrypted for the id of the instance, so another one would make them unreadable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_the_id_of_the_instance_is_refused_until_it_is_restored() {
    let (installation, user, id) = with_secret().await;
    let backup = installation.path("backup.db");
    let backup = backup.to_str().unwrap();
    installation.configured(&["backup", "--out", backup]).done();
    for sql in DAMAGES {
        damage(&installation, sql, &["instance-id"]).await;
        if sql == DELETION {
            installation.sign();
        }
        let doctor = installation.configured(&["doctor"]);
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("instance-id"), "{doctor:?}");
        let config = installation.path("hsmgate.toml");
        let serve = ["serve", "--config", config.to_str().unwrap()];
        // A gateway that serves is ended with exit code 124.
        let refused = installation.run_under(&["timeout", "60"], &serve).failed(1);
        assert!(
            refused.contains("instance-id") && refused.contains("hsmgate restore"),
            "{refused}"
        );
        installation.configured(&["restore", "--from", backup, "--reason", "a test"]).done();
        assert_secret_is_read(&installation, &user).await;
        assert_eq!(instance_id(&installation).await, id);
    }
}

/// Who has no backup but knows the id writes it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_id_that_an_operator_writes_again_decrypts_the_secrets() {
    let (installation, user, id) = with_secret().await;
    damage(&installation, DAMAGES[0], &["instance-id"]).await;
    let mut database = installation.database().await;
    let again = sqlx::query("UPDATE facts SET value = $1 WHERE name = 'instance-id'").bind(id);
    again.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    installation.sign();
    assert_secret_is_read(&installation, &user).await;
}
