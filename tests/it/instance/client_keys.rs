//! Client keys that the command line and `hsmgate dev` create.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use hsmgate::api::instance::messages::{GenerateRandomRequest, GenerateRandomResponse};

use crate::support::client_key::ClientKey;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::{AccessKey, Installation, run};
use crate::support::instance_client::InstanceClient;

/// The client key in two files that only their owner may read.
fn open(key: &Path, password: &Path) -> ClientKey {
    for path in [key, password] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
    }
    let file: Value = serde_json::from_str(&fs::read_to_string(key).unwrap()).unwrap();
    let id = text(&file["KeyId"]);
    assert_eq!(key.file_name().unwrap().to_str().unwrap(), format!("clientKey_{id}.json"));
    let password = fs::read_to_string(password).unwrap();
    assert!(password.len() == 32 && password.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ClientKey::open_with(id, text(&file["PrivateKeyData"]), &password)
}

pub(crate) fn listed(gateway: &Gateway) -> Vec<Value> {
    let directory = gateway.state();
    let list = ["client-key", "list", "--dev-dir", directory.to_str().unwrap(), "--json"];
    let installation = Installation::new();
    run(installation.command(&list), b"").json().as_array().unwrap().clone()
}

#[tokio::test]
async fn dev_makes_a_client_key_with_tls_and_keeps_it() {
    let plain = Gateway::start();
    assert_eq!((&plain.dev.client_key_file, &plain.dev.client_key_password_file), (&None, &None));

    let gateway = Gateway::start_with(&["--tls"]);
    let dev = gateway.dev.clone();
    let (key, password) = (dev.client_key_file.unwrap(), dev.client_key_password_file.unwrap());
    let first = open(&key, &password);
    assert!(gateway.log().contains(key.to_str().unwrap()), "the banner names it");
    assert!(dev.ca_file.unwrap().is_file());

    let again = |gateway: Gateway| Gateway::start_in(gateway.stop(), &["--tls"]);
    let gateway = again(gateway);
    assert_eq!(gateway.dev.client_key_file.as_ref(), Some(&key), "it is kept");
    gateway.call("DeleteClientKey", &[("ClientKeyId", &first.id)]).await;
    let gateway = again(gateway);
    let other = gateway.dev.client_key_file.clone().unwrap();
    assert_ne!(other, key, "one that lets in no more is replaced");
    assert!(!key.exists() && !password.exists());
    let other = open(&other, &gateway.dev.client_key_password_file.clone().unwrap());
    let ids: Vec<_> =
        listed(&gateway).iter().map(|key| text(&key["client_key_id"]).to_owned()).collect();
    assert_eq!(ids, [other.id]);
}

#[tokio::test]
async fn the_command_line_writes_a_client_key_that_lets_in_and_lists_its_last_use() {
    let gateway = Gateway::start();
    // Makes the policy, too.
    let _unused = InstanceClient::with_any_key(&gateway).await;
    let out = gateway.state().join("out");
    let installation = Installation::new();
    let create = ["client-key", "create", "--name", "office", "--policy", "any", "--days", "30"];
    let create = [&create[..], &["--out", out.to_str().unwrap(), "--json"]].concat();
    let user = AccessKey {
        id: gateway.dev.access_key_id.clone(),
        secret: gateway.dev.access_key_secret.clone(),
    };
    let made = installation.client(&gateway.dev.endpoint, &user, &create, b"").json();
    assert_eq!(made["ca_file"], Value::Null);
    let file = |name: &str| Path::new(text(&made[name])).to_owned();
    let key = open(&file("client_key_file"), &file("client_key_password_file"));
    assert_eq!(made["client_key_id"], *key.id);

    let office = InstanceClient::at(&gateway, key);
    let random = GenerateRandomRequest { length: 8 };
    let unused = listed(&gateway);
    assert!(unused.iter().all(|key| key["last_used"].is_null() && key["active"] == true));
    let _: (GenerateRandomResponse, _) = office.call("GenerateRandom", &random).await;
    let gateway = gateway.restart();
    let listed = listed(&gateway);
    assert_eq!(listed.len(), 2);
    for key in &listed {
        let was_used = key["client_key_id"] == *office.client_key.id;
        assert_eq!(key["last_used"].is_string(), was_used, "{key}");
        assert!(!was_used || text(&key["last_used"]).ends_with(":00:00Z"), "{key}");
    }
    let office = InstanceClient::at(&gateway, office.client_key);
    gateway.call("DeleteClientKey", &[("ClientKeyId", &office.client_key.id)]).await;
    let unauthorized = refusal(404, "Unauthorized");
    assert_eq!(office.refused("GenerateRandom", &random).await, unauthorized);
}

#[test]
fn the_ca_is_written_beside_the_client_key() {
    let gateway = Gateway::start_with(&["--tls"]);
    let installation = Installation::new();
    let (out, dev) = (installation.path("out"), &gateway.dev);
    // Its policy was made with the client key of the gateway itself.
    let create = ["client-key", "create", "--name", "shop", "--policy", "hsmgate-dev", "--json"];
    let create = [&create[..], &["--out", out.to_str().unwrap()]].concat();
    let mut command = installation.command(&create);
    command
        .env("HSMGATE_ENDPOINT", &dev.endpoint)
        .env("HSMGATE_ACCESS_KEY_ID", &dev.access_key_id)
        .env("HSMGATE_ACCESS_KEY_SECRET", &dev.access_key_secret)
        .env("HSMGATE_CA_FILE", dev.ca_file.as_ref().unwrap());
    let made = run(command, b"").json();
    let written = fs::read(text(&made["ca_file"])).unwrap();
    assert_eq!(made["ca_file"], *out.join("PrivateKmsCA.pem").to_str().unwrap());
    assert_eq!(written, fs::read(dev.ca_file.as_ref().unwrap()).unwrap());
}
