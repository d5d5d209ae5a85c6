//! `hsmgate secret rewrap`, and the job after a rotation.

use hsmgate::cli::client::Client;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::audit_file::records;
use crate::support::gateway::{text, whole_lines};
use crate::support::installation::Installation;
use crate::support::process::until_async;

/// The Base64 characters of a blob that contain only the id of its key version.
const VERSION_CHARACTERS: usize = 20;

async fn create_key(client: &Client) -> String {
    let created = client.call("CreateKey", &[]).await.unwrap();
    text(&created["KeyMetadata"]["KeyId"]).to_owned()
}

async fn store(client: &Client, action: &str, name: &str, version: &str, more: &[(&str, &str)]) {
    let params = [("SecretName", name), ("VersionId", version), ("SecretData", version)];
    client.call(action, &[&params[..], more].concat()).await.unwrap();
}

async fn read(client: &Client, name: &str, version: &str) -> String {
    let params = [("SecretName", name), ("VersionId", version)];
    let read = client.call("GetSecretValue", &params).await.unwrap();
    text(&read["SecretData"]).to_owned()
}

/// How a blob of the primary version of a key begins.
async fn of_primary(client: &Client, key: &str) -> String {
    let params = [("KeyId", key), ("Plaintext", "SGVsbG8=")];
    let encrypted = client.call("Encrypt", &params).await.unwrap();
    text(&encrypted["CiphertextBlob"])[..VERSION_CHARACTERS].to_owned()
}

/// How the encrypted data keys of a secret begin.
async fn wrapped_keys(installation: &Installation, name: &str) -> Vec<String> {
    let mut database = installation.database().await;
    let select = sqlx::query("SELECT body FROM secrets WHERE name = $1").bind(name.to_owned());
    let body: String = select.fetch_one(&mut database).await.unwrap().get(0);
    let body: Value = serde_json::from_str(&body).unwrap();
    let versions = body["versions"].as_array().unwrap().iter();
    versions.map(|one| text(&one["wrapped_key"])[..VERSION_CHARACTERS].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_keys_are_encrypted_again_by_the_new_version_and_values_stay() {
    let (installation, admin) = Installation::prepared();
    let refused = installation.configured(&["secret", "rewrap"]);
    assert!(refused.failed(6).contains("no gateway runs"));
    let server = installation.serve();
    let client = server.client(&admin);
    let (key, disabled) = (create_key(&client).await, create_key(&client).await);
    for (name, key) in [("a", &key), ("b", &key), ("off", &disabled)] {
        store(&client, "CreateSecret", name, "v1", &[("EncryptionKeyId", key)]).await;
    }
    store(&client, "PutSecretValue", "a", "v2", &[]).await;
    store(&client, "CreateSecret", "other", "v1", &[]).await;
    let rewrap = |more: &[&str]| {
        let command = ["secret", "rewrap", "--json", "--reason", "a test", "--rate", "1"];
        installation.configured(&[&command[..], more].concat()).json()
    };
    let nothing = json!({"secrets": 0, "data_keys": 0, "failed": []});
    assert_eq!(rewrap(&[]), nothing);
    for key in [&key, &disabled] {
        client.call("CreateKeyVersion", &[("KeyId", key)]).await.unwrap();
    }
    client.call("DisableKey", &[("KeyId", &disabled)]).await.unwrap();
    assert_eq!(rewrap(&["--key", &disabled]), nothing);
    assert_eq!(rewrap(&[]), json!({"secrets": 2, "data_keys": 3, "failed": []}));
    let primary = of_primary(&client, &key).await;
    assert_eq!(wrapped_keys(&installation, "a").await, [&*primary, &*primary]);
    assert_eq!(wrapped_keys(&installation, "b").await, [primary]);
    assert_eq!(rewrap(&[]), nothing);
    client.call("EnableKey", &[("KeyId", &disabled)]).await.unwrap();
    assert_eq!(rewrap(&[]), json!({"secrets": 1, "data_keys": 1, "failed": []}));
    for (name, version) in [("a", "v1"), ("a", "v2"), ("b", "v1"), ("off", "v1"), ("other", "v1")] {
        assert_eq!(read(&client, name, version).await, version, "{name}");
    }
    let described = client.call("DescribeSecret", &[("SecretName", "b")]).await.unwrap();
    assert_eq!(described["UpdateTime"], described["CreateTime"]);
    let file = installation.audit_file();
    until_async(async || whole_lines(&file).matches("\"RewrapSecrets\"").count() == 3).await;
    server.stop();
    let records = records(&file);
    let batches = records.iter().filter(|it| it["eventName"] == "RewrapSecrets");
    let counts: Vec<_> =
        batches.map(|it| text(&it["requestParameters"]["DataKeys"]).to_owned()).collect();
    assert_eq!(counts, ["2", "1", "1"], "a record for each batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_stored_meanwhile_are_not_lost() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&admin);
    let key = create_key(&client).await;
    store(&client, "CreateSecret", "a", "v0", &[("EncryptionKeyId", &key)]).await;
    let puts = async {
        for number in 1..=60 {
            store(&client, "PutSecretValue", "a", &format!("v{number}"), &[]).await;
            let current = client.call("GetSecretValue", &[("SecretName", "a")]).await.unwrap();
            assert_eq!(text(&current["SecretData"]), format!("v{number}"));
        }
    };
    let rewraps = async {
        let mut count = 0;
        for _rotation in 0..6 {
            client.call("CreateKeyVersion", &[("KeyId", &key)]).await.unwrap();
            let command = ["secret", "rewrap", "--json"];
            let done = tokio::task::block_in_place(|| installation.configured(&command)).json();
            count += done["data_keys"].as_u64().unwrap();
        }
        count
    };
    let ((), count) = tokio::join!(puts, rewraps);
    assert!(count > 0);
    for number in 51..=60 {
        let version = format!("v{number}");
        assert_eq!(read(&client, "a", &version).await, version);
    }
}

#[tokio::test]
async fn the_setting_lets_a_job_do_it_after_a_rotation() {
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| text.push_str("[keys]\nrewrap_secrets = true\n"));
    let server = installation.serve();
    let client = server.client(&admin);
    let key = create_key(&client).await;
    for name in ["a", "b"] {
        store(&client, "CreateSecret", name, "v1", &[("EncryptionKeyId", &key)]).await;
    }
    client.call("CreateKeyVersion", &[("KeyId", &key)]).await.unwrap();
    let primary = of_primary(&client, &key).await;
    for name in ["a", "b"] {
        until_async(async || wrapped_keys(&installation, name).await == [&*primary]).await;
        assert_eq!(read(&client, name, "v1").await, "v1");
    }
    server.stop();
    let records = records(&installation.audit_file());
    let batches = records.iter().filter(|it| it["eventName"] == "RewrapSecrets");
    let counts: Vec<_> =
        batches.map(|it| text(&it["requestParameters"]["Secrets"]).to_owned()).collect();
    assert_eq!(counts, ["2", "2"], "the intent and the outcome");
}
