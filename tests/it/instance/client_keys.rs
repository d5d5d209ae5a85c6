//! Client keys that the command line and `hsmgate dev` create.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};

use hsmgate::api::instance::messages::{
    EncryptRequest, EncryptResponse, GenerateRandomRequest, GenerateRandomResponse,
};

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
    let user = AccessKey {
        id: gateway.dev.access_key_id.clone(),
        secret: gateway.dev.access_key_secret.clone(),
    };
    let call = |line: &str| {
        let arguments: Vec<_> = line.split(' ').collect();
        installation.client(&gateway.dev.endpoint, &user, &arguments, b"")
    };
    let key = call("key create --alias orders").done().trim().to_owned();
    let told = call("network-rule create office --source 127.0.0.0/8 --source ::1 --json").json();
    assert_eq!(told["SourcePrivateIp"], json!(["127.0.0.0/8", "::1"]));
    call("access-policy create orders --key alias/orders --network-rule ofice").failed(3);
    call("access-policy create orders --key alias/other").failed(3);
    let told = call("access-policy create orders --key alias/orders --network-rule office").done();
    assert_eq!(told, "the access policy orders was created\n");
    let policy = call("access-policy describe orders --json").json();
    assert_eq!(policy["Resources"], json!([format!("key/{key}")]));
    assert_eq!(policy["Permissions"], json!(["RbacPermission/Template/CryptoServiceKeyUser"]));
    assert_eq!(policy["AccessControlRules"], json!({"NetworkRules": ["office"]}));
    call("access-point create office --policy odrers").failed(3);
    let told = call("access-point create office --policy any --description Shop --json").json();
    assert_eq!((text(&told["Name"]), &told["Policies"]), ("office", &json!(["any"])));
    let told = call("access-point update office --policy orders --json").json();
    assert_eq!((text(&told["Description"]), &told["Policies"]), ("Shop", &json!(["orders"])));
    call("access-point create office --policy any").failed(5);
    let out = out.to_str().unwrap();
    let made =
        call(&format!("client-key create --name office --days 30 --out {out} --json")).json();
    assert_eq!(made["ca_file"], Value::Null);
    let file = |name: &str| Path::new(text(&made[name])).to_owned();
    let client_key = open(&file("client_key_file"), &file("client_key_password_file"));
    assert_eq!(made["client_key_id"], *client_key.id);

    let office = InstanceClient::at(&gateway, client_key);
    let encrypt = EncryptRequest {
        key_id: "alias/orders".to_owned(),
        plaintext: b"order 4711".to_vec(),
        algorithm: String::new(),
        aad: Vec::new(),
        iv: Vec::new(),
        padding_mode: String::new(),
    };
    let (encrypted, _): (EncryptResponse, _) = office.call("Encrypt", &encrypt).await;
    assert_eq!(encrypted.key_id, key);
    let no_permission = refusal(403, "Forbidden.NoPermission");
    call("network-rule update office --source 203.0.113.7").done();
    assert_eq!(office.refused("Encrypt", &encrypt).await, no_permission);
    call("access-policy update orders --any-address").done();
    let (_, _): (EncryptResponse, _) = office.call("Encrypt", &encrypt).await;
    let told = call("network-rule list").done();
    assert_eq!(told, "office  203.0.113.7\n");
    let told = call("access-policy delete orders").failed(2);
    assert!(told.contains("Access points that name it: office\n"), "{told}");
    let told = call("network-rule delete office --yes --json").json();
    assert_eq!(told, json!({"Name": "office", "Deleted": true}));
    let told = call("access-point delete office").failed(2);
    assert!(told.contains(&format!("Its client keys: {}\n", office.client_key.id)), "{told}");
    let points = call("access-point list --json").json();
    let names: Vec<_> = points.as_array().unwrap().iter().map(|one| text(&one["Name"])).collect();
    assert_eq!(names, ["any", "office"]);

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
