//! What the state of its key allows with a secret.

use super::{batch_error, create_with, put, value};
use crate::material::{key_of, reimport};
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::Installation;

const READ: (&str, &[(&str, &str)]) = ("GetSecretValue", &[("SecretName", "db")]);
const PUT: (&str, &[(&str, &str)]) =
    ("PutSecretValue", &[("SecretName", "db"), ("VersionId", "v9"), ("SecretData", "x")]);
const CREATE: (&str, &[(&str, &str)]) =
    ("CreateSecret", &[("SecretName", "new"), ("VersionId", "v1"), ("SecretData", "x")]);

/// Reads and writes with a key are refused so.
async fn assert_refused(gateway: &Gateway, key: &str, status: u16, code: &str) {
    for (action, params) in [READ, PUT, CREATE] {
        let more = if action == "CreateSecret" { &[("EncryptionKeyId", key)][..] } else { &[] };
        let refused = gateway.refused(action, &[params, more].concat()).await;
        assert_eq!(refused, refusal(status, code), "{action}");
    }
    assert_eq!(batch_error(gateway, "db").await, refusal(status, code));
    // Not a use of the key.
    gateway.call("DescribeSecret", &[("SecretName", "db")]).await;
}

#[tokio::test]
async fn a_key_that_is_disabled_or_pending_deletion_stops_reads_and_writes_at_once() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    create_with(&gateway, "db", "one", &[("EncryptionKeyId", &key)]).await;
    let id = ("KeyId", key.as_str());
    gateway.call("DisableKey", &[id]).await;
    assert_refused(&gateway, &key, 409, "Rejected.Disabled").await;
    gateway.call("EnableKey", &[id]).await;
    assert_eq!(value(&gateway, "db").await, "one");
    gateway.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await;
    assert_refused(&gateway, &key, 409, "Rejected.PendingDeletion").await;
    gateway.call("CancelKeyDeletion", &[id]).await;
    assert_eq!(value(&gateway, "db").await, "one");
}

#[tokio::test]
async fn a_key_without_its_material_stops_reads_and_writes_until_it_is_imported_again() {
    const MATERIAL: [u8; 32] = [0x42; 32];
    let gateway = Gateway::start();
    let key = key_of(&gateway, &MATERIAL).await;
    create_with(&gateway, "db", "one", &[("EncryptionKeyId", &key)]).await;
    assert_eq!(value(&gateway, "db").await, "one");
    gateway.call("DeleteKeyMaterial", &[("KeyId", &key)]).await;
    assert_refused(&gateway, &key, 409, "Rejected.PendingImport").await;
    reimport(&gateway, &key, &MATERIAL).await;
    assert_eq!(value(&gateway, "db").await, "one");
    put(&gateway, "db", "v2", "two").await;
    assert_eq!(value(&gateway, "db").await, "two");
}

#[tokio::test]
async fn a_key_tells_how_many_secrets_it_takes_along() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    for name in ["a", "b"] {
        create_with(&gateway, name, "x", &[("EncryptionKeyId", &key)]).await;
    }
    create_with(&gateway, "other", "x", &[]).await;
    let id = ("KeyId", key.as_str());
    gateway.call("DisableKey", &[id]).await;
    gateway.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await;
    assert_eq!(gateway.log().matches("key.secrets_affected").count(), 2);
    let file = gateway.state().join("audit.jsonl");
    let dir = gateway.stop();
    let records = crate::support::audit_file::records(&file);
    for action in ["DisableKey", "ScheduleKeyDeletion"] {
        let done = records.iter().rfind(|it| it["eventName"] == action).unwrap();
        assert_eq!(done["additionalEventData"]["AffectedSecrets"], 2, "{action}");
    }
    drop(dir);
}

#[tokio::test]
async fn a_rotated_key_still_reads_the_old_values() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    create_with(&gateway, "db", "one", &[("EncryptionKeyId", &key)]).await;
    gateway.call("CreateKeyVersion", &[("KeyId", &key)]).await;
    assert_eq!(value(&gateway, "db").await, "one");
    put(&gateway, "db", "v2", "two").await;
    assert_eq!(value(&gateway, "db").await, "two");
    let first = [("SecretName", "db"), ("VersionId", "v1")];
    assert_eq!(gateway.call("GetSecretValue", &first).await["SecretData"], "one");
}

#[tokio::test]
async fn a_destroyed_key_takes_the_values_with_it() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    create_with(&gateway, "db", "one", &[("EncryptionKeyId", &key)]).await;
    let id = ("KeyId", key.as_str());
    gateway.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await;
    let gateway = gateway.restart_with("UPDATE keys SET delete_at = 1 WHERE delete_at > 1").await;
    crate::support::process::eventually(async || match gateway.refused(READ.0, READ.1).await {
        (404, code) if code == "Forbidden.KeyNotFound" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_refused(&gateway, &key, 404, "Forbidden.KeyNotFound").await;
    let force = [("SecretName", "db"), ("ForceDeleteWithoutRecovery", "true")];
    gateway.call("DeleteSecret", &force).await;
}

#[tokio::test]
async fn doctor_counts_the_secrets_of_a_key_that_cannot_be_used() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&admin);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
    for name in ["a", "b", "c"] {
        let params = [("SecretName", name), ("VersionId", "v1"), ("SecretData", "x")];
        let more = if name == "c" { &[][..] } else { &[("EncryptionKeyId", key.as_str())] };
        client.call("CreateSecret", &[&params[..], more].concat()).await.unwrap();
    }
    let report = || installation.configured(&["doctor"]).done();
    let well = report();
    assert!(well.contains("3 secrets, each with its values; 2 were decrypted"), "{well}");
    assert!(well.contains("2 keys, all usable"), "{well}");
    let id = ("KeyId", key.as_str());
    client.call("DisableKey", &[id]).await.unwrap();
    let disabled = report();
    assert!(disabled.contains(&format!("{key} is disabled: 2 secrets")), "{disabled}");
    client.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await.unwrap();
    let doomed = report();
    assert!(doomed.contains(&format!("{key} will be deleted: 2 secrets")), "{doomed}");
}
