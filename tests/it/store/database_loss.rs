//! Keys after the database was lost, copied, or restored to an older state.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use hsmgate::cli::client::Client;
use serde_json::Value;

use crate::support::calls::until_code;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, run};
use crate::support::process::{until, until_async};

const TEXT: &str = "SGVsbG8=";

async fn create(client: &Client, params: &[(&str, &str)]) -> String {
    let created = client.call("CreateKey", params).await.unwrap();
    text(&created["KeyMetadata"]["KeyId"]).to_owned()
}

async fn encrypt(client: &Client, key: &str) -> String {
    let encrypted = client.call("Encrypt", &[("KeyId", key), ("Plaintext", TEXT)]).await.unwrap();
    text(&encrypted["CiphertextBlob"]).to_owned()
}

async fn decrypts(client: &Client, blob: &str) -> bool {
    let decrypted = client.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    decrypted.is_ok_and(|decrypted| decrypted["Plaintext"] == TEXT)
}

fn lose_database(installation: &Installation) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(installation.path(&format!("hsmgate.db{suffix}"))).ok();
    }
}

/// A new administrator, as after the loss of the old ones.
fn new_administrator(installation: &Installation) -> AccessKey {
    AccessKey::of(&installation.configured(&["init", "--json"]).json())
}

#[tokio::test]
async fn every_old_ciphertext_decrypts_after_the_catalogue_was_rebuilt_from_the_token() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let mut blobs = Vec::new();
    let rotated = create(&client, &[]).await;
    for _version in 0..3 {
        blobs.push(encrypt(&client, &rotated).await);
        client.call("CreateKeyVersion", &[("KeyId", &rotated)]).await.unwrap();
    }
    blobs.push(encrypt(&client, &rotated).await);
    let wide = create(&client, &[("KeySpec", "RSA_2048")]).await;
    let pair = create(&client, &[("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")]).await;
    let mac =
        create(&client, &[("KeySpec", "HMAC_SHA_256"), ("KeyUsage", "GENERATE/VERIFY_MAC")]).await;
    let other = create(&client, &[]).await;
    let before = client.call("DescribeKey", &[("KeyId", &rotated)]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    lose_database(&installation);

    let dry: Value = installation.configured(&["recover", "--dry-run", "--json"]).json();
    assert_eq!(dry["keys"].as_array().unwrap().len(), 5, "{dry}");
    assert!(!installation.path("hsmgate.db").exists(), "a dry run makes nothing");
    let found: Value = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    assert_eq!(found["keys_in_store"], 5, "{found}");
    assert_eq!(found["left_alone"], serde_json::json!([]));
    let services: Vec<_> = found["service_keys"].as_array().unwrap().iter().map(text).collect();
    // The key that encrypts AccessKeys was found when the database was opened.
    assert_eq!(services, ["audit-checkpoint"]);
    assert!(text(&found["not_rebuilt"][0]).contains("aliases"));
    assert_eq!(found["not_rebuilt"][1], "secrets and their values");
    let again: Value = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    assert_eq!(again["keys"], serde_json::json!([]), "it may be run again");

    let user = new_administrator(&installation);
    let server = installation.serve();
    let client = server.client(&user);
    for blob in &blobs {
        assert!(decrypts(&client, blob).await);
    }
    let after = client.call("DescribeKey", &[("KeyId", &rotated)]).await.unwrap();
    for field in ["PrimaryKeyVersion", "KeySpec", "KeyUsage", "Origin", "KeyState"] {
        assert_eq!(after["KeyMetadata"][field], before["KeyMetadata"][field], "{field}");
    }
    for (key, spec) in [(&wide, "RSA_2048"), (&pair, "EC_P256"), (&mac, "HMAC_SHA_256")] {
        let shown = client.call("DescribeKey", &[("KeyId", key)]).await.unwrap();
        assert_eq!(shown["KeyMetadata"]["KeySpec"], spec);
    }
    assert!(decrypts(&client, &encrypt(&client, &other).await).await);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn keys_made_since_a_backup_are_found_and_those_destroyed_since_stay_so() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let old = create(&client, &[]).await;
    let doomed = create(&client, &[]).await;
    let backup = installation.path("backup.db");
    let to = ["backup", "--out", backup.to_str().unwrap()];
    installation.configured(&to).done();
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(installation.configured(&to).failed(1).contains("already exists"));

    let newer = create(&client, &[]).await;
    client.call("CreateKeyVersion", &[("KeyId", &old)]).await.unwrap();
    let blobs = [encrypt(&client, &newer).await, encrypt(&client, &old).await];
    let window = ("PendingWindowInDays", "7");
    client.call("ScheduleKeyDeletion", &[("KeyId", &doomed), window]).await.unwrap();
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test", "--json"];
    let told = installation.configured(&from).failed(1);
    assert!(told.contains("another process uses the store"), "{told}");
    assert_eq!(server.stop(), Some(0));
    installation.change("UPDATE keys SET delete_at = 1 WHERE state = 'PendingDeletion'").await;
    let server = installation.serve();
    let client = server.client(&user);
    until_code(&client, "DescribeKey", &[("KeyId", &doomed)], "Forbidden.KeyNotFound").await;
    assert_eq!(server.stop(), Some(0));

    let restored: Value = installation.configured(&from).json();
    assert_eq!(restored["destroyed_since"], serde_json::json!([doomed]));
    assert!(std::path::Path::new(text(&restored["kept"])).exists());
    let server = installation.serve();
    let client = server.client(&user);
    until(|| server.has_logged("token.unknown_keys")).await;
    assert!(!decrypts(&client, &blobs[0]).await, "its row is not there yet");
    assert_eq!(server.stop(), Some(0));

    let found: Value = installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    let mut ids: Vec<_> =
        found["keys"].as_array().unwrap().iter().map(|key| text(&key["key_id"])).collect();
    ids.sort_unstable();
    let mut expected = [old.as_str(), newer.as_str()];
    expected.sort_unstable();
    assert_eq!(ids, expected, "{found}");
    let server = installation.serve();
    let client = server.client(&user);
    for blob in &blobs {
        assert!(decrypts(&client, blob).await);
    }
    assert!(client.call("DescribeKey", &[("KeyId", &doomed)]).await.is_err());
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn the_audit_continues_after_a_restore_of_a_readable_and_an_unreadable_database() {
    let (installation, user) = Installation::prepared();
    let backup = installation.path("backup.db");
    let server = installation.serve();
    create(&server.client(&user), &[]).await;
    assert_eq!(server.stop(), Some(0));
    installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test"];
    for is_readable in [true, false] {
        // Two files on, and the one that the backup knows is gone.
        for name in ["one", "two"] {
            let server = installation.serve();
            create(&server.client(&user), &[]).await;
            assert_eq!(server.stop(), Some(0));
            if name == "one" || is_readable {
                let elsewhere = installation.path("elsewhere");
                fs::create_dir_all(&elsewhere).unwrap();
                fs::rename(installation.audit_file(), elsewhere.join(name)).unwrap();
            }
        }
        if !is_readable {
            lose_database(&installation);
        }
        installation.configured(&from).done();
        let server = installation.serve();
        create(&server.client(&user), &[]).await;
        assert!(!server.has_logged("audit.discontinued"), "{is_readable}: {}", server.log());
        assert_eq!(server.stop(), Some(0));
        let out = installation.path(&format!("bundle-{is_readable}"));
        let out = out.to_str().unwrap();
        let bundle = installation.configured(&["audit", "export", "--out", out, "--json"]).json();
        let first = bundle["first"].to_string();
        run(installation.command(&["audit", "verify", out, "--from", &first]), b"").done();
    }
}

#[tokio::test]
async fn a_backup_of_another_installation_and_another_file_are_refused() {
    let (installation, _user) = Installation::prepared();
    let backup = installation.path("backup.db");
    installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
    let (other, _user) = Installation::prepared();
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test"];
    let before = fs::read(other.path("hsmgate.db")).unwrap();
    assert!(other.configured(&from).failed(2).contains("the backup is of token-serial"));
    let text = other.path("text");
    fs::write(&text, "no database").unwrap();
    let told = other
        .configured(&["restore", "--from", text.to_str().unwrap(), "--reason", "a test"])
        .failed(1);
    assert!(told.contains("is not a store of hsmgate"), "{told}");
    assert_eq!(fs::read(other.path("hsmgate.db")).unwrap(), before);
}

#[tokio::test]
async fn changes_of_another_process_are_read_from_the_database() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    create(&client, &[]).await;
    let encrypt = [("KeyId", "alias/new"), ("Plaintext", TEXT)];
    for (change, is_good) in [
        (
            "INSERT INTO aliases (name, account, key_id, created) SELECT 'alias/new', account, id, 1 FROM keys",
            true,
        ),
        ("UPDATE keys SET state = 'Disabled'", false),
    ] {
        installation.change(change).await;
        let begin = Instant::now();
        until_async(async || client.call("Encrypt", &encrypt).await.is_ok() == is_good).await;
        println!("seen after {} ms; a second is promised", begin.elapsed().as_millis());
    }
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_version_that_was_never_activated_is_removed_while_the_gateway_serves() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    create(&server.client(&user), &[]).await;
    installation
        .change(
            "INSERT INTO key_versions (id, account, key_id, number, created, is_live) \
             SELECT '0f8fad5b-d9cb-469f-a165-70867728950e', account, id, 2, 1, 0 FROM keys",
        )
        .await;
    let mut database = installation.database().await;
    until_async(async || {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM key_versions WHERE is_live = 0");
        let left: i64 = count.fetch_one(&mut database).await.unwrap();
        left == 0
    })
    .await;
    assert_eq!(server.stop(), Some(0));
}

/// The files of the objects in the tokens of an installation.
fn object_files(installation: &Installation) -> BTreeSet<PathBuf> {
    let tokens = fs::read_dir(installation.path("tokens")).unwrap();
    let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|it| it == "object")).collect()
}

async fn read_secret(client: &Client, name: &str) -> Value {
    client.call("GetSecretValue", &[("SecretName", name)]).await.unwrap()["SecretData"].clone()
}

async fn total(client: &Client, action: &str) -> Value {
    client.call(action, &[]).await.unwrap()["TotalCount"].clone()
}

#[tokio::test]
async fn secrets_come_back_with_a_backup_and_their_keys_and_in_no_other_way() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let version = ("VersionId", "v1");
    let own = [("SecretName", "own"), version, ("SecretData", "x")];
    client.call("CreateSecret", &own).await.unwrap();
    let before = object_files(&installation);
    let key = create(&client, &[]).await;
    let of_key: Vec<_> = object_files(&installation).difference(&before).cloned().collect();
    let theirs =
        [("SecretName", "theirs"), version, ("SecretData", "one"), ("EncryptionKeyId", &key)];
    client.call("CreateSecret", &theirs).await.unwrap();
    let backup = installation.path("backup.db");
    installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
    client.call("CreateKeyVersion", &[("KeyId", &key)]).await.unwrap();
    assert_eq!(server.stop(), Some(0));

    lose_database(&installation);
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test"];
    installation.configured(&from).done();
    let recover = || installation.configured(&["recover", "--reason", "a test", "--json"]).json();
    assert_eq!(recover()["lost_secrets"], serde_json::json!([]));
    let server = installation.serve();
    let client = server.client(&user);
    assert_eq!(read_secret(&client, "own").await, "x");
    assert_eq!(read_secret(&client, "theirs").await, "one");
    client.call("CreateSecret", &[&[("SecretName", "third")], &own[1..]].concat()).await.unwrap();
    assert_eq!(total(&client, "ListKeys").await, 1, "the key of the gateway is the one it had");
    assert_eq!(server.stop(), Some(0));

    // The token loses the first version of the key.
    for file in &of_key {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(recover()["lost_secrets"], serde_json::json!(["theirs"]));
    let told = installation.configured(&["recover", "--dry-run"]).done();
    assert!(told.contains("theirs  has a value whose key the token does not have"), "{told}");

    // Without a backup the token has the keys, but no secret.
    lose_database(&installation);
    assert_eq!(recover()["lost_secrets"], serde_json::json!([]));
    let user = new_administrator(&installation);
    let server = installation.serve();
    let client = server.client(&user);
    assert_eq!(total(&client, "ListSecrets").await, 0);
    assert_eq!(
        total(&client, "ListKeys").await,
        2,
        "that of the gateway is one of the account now"
    );
    client.call("CreateSecret", &own).await.unwrap();
    assert_eq!(read_secret(&client, "own").await, "x");
    assert_eq!(total(&client, "ListKeys").await, 2, "the gateway has made another one");
    assert_eq!(server.stop(), Some(0));
}
