//! The gateway detects within seconds that its database file is missing, replaced or damaged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hsmgate::cli::client::{CallError, Client};

use crate::support::admin_client::get;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::process::{eventually, until};

const TEXT: &str = "SGVsbG8=";

/// Waits until readiness says this of the store, and gives its reason.
async fn store_becomes(server: &Server, status: &str) -> String {
    let admin = format!("http://{}", server.admin_address());
    eventually(async || {
        let (code, body) = get(&admin, "/readyz").await;
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        let store = &told["dependencies"]["store"];
        if store["status"] != status {
            return Err(body);
        }
        assert_eq!(code, if status == "ok" { 200 } else { 503 });
        Ok(store["reason"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

async fn assert_changes_are_refused(client: &Client, key: &str) {
    for params in [&[("KeyId", key), ("AliasName", "alias/late")][..], &[]] {
        let action = if params.is_empty() { "CreateKey" } else { "CreateAlias" };
        let refused = client.call(action, params).await;
        assert!(matches!(refused, Err(CallError::Refused { status: 503, .. })), "{refused:?}");
    }
    let params = [("KeyId", key), ("Plaintext", TEXT)];
    client.call("Encrypt", &params).await.unwrap();
}

/// A gateway that serves, with the id of a key that has encrypted.
async fn serving() -> (Installation, AccessKey, Server, Client, String) {
    let (installation, user) = Installation::prepared_with_admin_listener();
    let server = installation.serve();
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
    // The first encryption of a key writes how many may follow.
    client.call("Encrypt", &[("KeyId", &key), ("Plaintext", TEXT)]).await.unwrap();
    (installation, user, server, client, key)
}

/// Does something to the files of a running gateway; it is noticed, told once, and no change is
/// acknowledged afterwards.
async fn noticed(event: &str, wanted: &str, harm: impl FnOnce(&Path)) {
    let (installation, _user, server, client, key) = serving().await;
    for number in 0..30 {
        let created = client.call("CreateKey", &[]).await.unwrap();
        let other = text(&created["KeyMetadata"]["KeyId"]);
        let name = format!("alias/{number}");
        client.call("CreateAlias", &[("KeyId", other), ("AliasName", &name)]).await.unwrap();
    }
    store_becomes(&server, "ok").await;
    let database = installation.path("hsmgate.db");
    harm(&database);
    let reason = store_becomes(&server, "failed").await;
    assert!(reason.contains(wanted), "{reason}");
    assert_changes_are_refused(&client, &key).await;
    until(|| server.has_logged(event)).await;
    assert_eq!(server.count_logged(event), 1, "it is told once");
}

fn beside(database: &Path, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", database.display()).into()
}

/// Takes the log into the file, so that all of the store is there.
fn checkpointed(database: &Path) {
    let merge = "import sqlite3, sys\n\
                 c = sqlite3.connect(sys.argv[1])\n\
                 print(c.execute('PRAGMA wal_checkpoint(RESTART)').fetchall())\n";
    let output = std::process::Command::new("python3").args(["-c", merge]).arg(database).output();
    assert!(output.as_ref().unwrap().status.success(), "{output:?}");
}

#[tokio::test]
async fn a_removed_database_is_detected_and_no_change_is_acknowledged() {
    noticed("store.file_lost", "does not exist", |database| fs::remove_file(database).unwrap())
        .await;
}

#[tokio::test]
async fn a_replaced_database_is_detected_and_no_change_is_acknowledged() {
    noticed("store.file_lost", "is not the file that is open", |database| {
        let copy = beside(database, ".copy");
        fs::copy(database, &copy).unwrap();
        fs::rename(&copy, database).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_removed_wal_is_detected_and_no_change_is_acknowledged() {
    noticed("store.file_lost", "-wal does not exist", |database| {
        fs::remove_file(beside(database, "-wal")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_truncated_database_is_detected_and_no_change_is_acknowledged() {
    noticed("store.damaged", "is damaged", |database| {
        checkpointed(database);
        let file = File::options().write(true).open(database).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_damaged_database_is_detected_and_no_change_is_acknowledged() {
    noticed("store.damaged", "is damaged", |database| {
        checkpointed(database);
        let file = File::options().write(true).open(database).unwrap();
        let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0xa5; bytes - 4096], 4096).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_restored_database_file_is_used_again() {
    let (installation, user, server, client, key) = serving().await;
    let (database, away) = (installation.path("hsmgate.db"), installation.path("away.db"));
    fs::rename(&database, &away).unwrap();
    store_becomes(&server, "failed").await;
    assert_changes_are_refused(&client, &key).await;
    fs::rename(&away, &database).unwrap();
    store_becomes(&server, "ok").await;
    let params = [("KeyId", key.as_str()), ("AliasName", "alias/back")];
    client.call("CreateAlias", &params).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let server = installation.serve();
    let found = server.client(&user).call("DescribeKey", &[("KeyId", "alias/back")]).await.unwrap();
    assert_eq!(found["KeyMetadata"]["KeyId"], key.as_str());
}

#[tokio::test]
async fn a_damaged_database_is_not_backed_up() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    for _ in 0..30 {
        client.call("CreateKey", &[]).await.unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    let file = File::options().write(true).open(installation.path("hsmgate.db")).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.write_all_at(&[0xa5; 4096], bytes - 4096).unwrap();
    drop(file);
    let to = installation.path("backup.db");
    let told = installation.configured(&["backup", "--out", to.to_str().unwrap()]).failed(1);
    assert!(told.contains("damaged"), "{told}");
    assert!(!to.exists());
}
