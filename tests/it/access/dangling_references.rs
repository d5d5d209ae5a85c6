//! References to access documents that do not exist: they permit nothing, and operators are
//! informed.

use std::time::{Duration, Instant};

use hsmgate::api::instance::messages::{EncryptRequest, EncryptResponse, GenerateRandomRequest};
use serde_json::{Value, json};

use crate::support::client_key::PASSWORD;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::{Installation, Outcome};
use crate::support::instance_client::InstanceClient;
use crate::support::process::until;

const USER: (&str, &str) = ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#);

pub(crate) fn encrypt(key: &str) -> EncryptRequest {
    let mut request = EncryptRequest::default();
    key.clone_into(&mut request.key_id);
    request.plaintext = b"hello".to_vec();
    request
}

/// Whether a visitor may encrypt with a key; otherwise it must be refused for want of leave.
async fn is_let_in(instance_client: &InstanceClient, key: &str) -> bool {
    match instance_client.outcome::<EncryptResponse>("Encrypt", &encrypt(key)).await {
        Ok(_) => true,
        Err(error) => {
            let refused = (error.status_code, error.error_code.as_str());
            assert_eq!(refused, (403, "Forbidden.NoPermission"), "{error:?}");
            false
        }
    }
}

/// A client key of the access point `shop`, whose policies are not there yet.
async fn of_shop(gateway: &Gateway, policies: &str) -> InstanceClient {
    let point = [("Name", "shop"), ("Policies", policies)];
    gateway.call("CreateApplicationAccessPoint", &point).await;
    InstanceClient::with_key(gateway, &[("AapName", "shop"), ("Password", PASSWORD)]).await
}

#[tokio::test]
async fn a_missing_policy_permits_nothing_and_a_missing_rule_permits_no_address() {
    let gateway = Gateway::start();
    let key = &gateway.dev.key_id.clone();
    let instance_client = of_shop(&gateway, r#"["abc","efg","abc"]"#).await;
    assert!(!is_let_in(&instance_client, key).await);
    let random = GenerateRandomRequest { length: 8 };
    let no_permission = refusal(403, "Forbidden.NoPermission");
    assert_eq!(instance_client.refused("GenerateRandom", &random).await, no_permission);

    // One is made, and names a rule that is not there: that is not a policy without rules.
    let rules = ("AccessControlRules", r#"{ "NetworkRules": ["later", "later"] }"#);
    let policy = [("Name", "abc"), USER, ("Resources", r#"["key/*"]"#), rules];
    gateway.call("CreatePolicy", &policy).await;
    assert!(!is_let_in(&instance_client, key).await);

    // Each name means what has it when it is used.
    let rule = [("Name", "later"), ("Type", "Private"), ("SourcePrivateIp", r#"["10.0.0.0/8"]"#)];
    gateway.call("CreateNetworkRule", &rule).await;
    assert!(!is_let_in(&instance_client, key).await);
    let here = [("Name", "later"), ("SourcePrivateIp", r#"["127.0.0.1","127.0.0.1"]"#)];
    gateway.call("UpdateNetworkRule", &here).await;
    assert!(is_let_in(&instance_client, key).await);

    gateway.call("DeleteNetworkRule", &[("Name", "later")]).await;
    assert!(!is_let_in(&instance_client, key).await);
    gateway.call("UpdatePolicy", &[("Name", "abc"), ("AccessControlRules", "{}")]).await;
    assert!(is_let_in(&instance_client, key).await);
    let gateway = gateway.restart();
    let instance_client = InstanceClient::at(&gateway, instance_client.client_key);
    assert!(is_let_in(&instance_client, key).await);
    gateway.call("DeletePolicy", &[("Name", "abc")]).await;
    assert!(!is_let_in(&instance_client, key).await);
}

#[tokio::test]
async fn shorter_repeated_and_reordered_lists_apply_immediately() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.clone();
    let instance_client = of_shop(&gateway, r#"["abc"]"#).await;
    let start = &key[..12];
    let last = if key.ends_with('x') { 'y' } else { 'x' };
    let other = format!("{}{last}", &key[..key.len() - 1]);
    let policy = [("Name", "abc"), USER, ("Resources", r#"["key/*"]"#)];
    gateway.call("CreatePolicy", &policy).await;
    let secrets = r#"["RbacPermission/Template/CryptoServiceSecretUser"]"#;
    for (change, is_allowed) in [
        (("Resources", format!(r#"["key/{start}*"]"#)), true),
        (("Resources", r#"["key/a*","key/b*","key/c*"]"#.to_owned()), false),
        (("Resources", format!(r#"["key/a*","key/{key}","key/a*"]"#)), true),
        (("Resources", format!(r#"["key/{other}","secret/*"]"#)), false),
        (("Resources", format!(r#"["secret/*","key/{key}*"]"#)), true),
        (("Resources", "[]".to_owned()), false),
        (("Resources", r#"["key/*"]"#.to_owned()), true),
        (("Permissions", "[]".to_owned()), false),
        (("Permissions", format!("[{0},{0}]", USER.1.trim_matches(['[', ']']))), true),
        (("Permissions", secrets.to_owned()), false),
        (("Permissions", USER.1.to_owned()), true),
        (("AccessControlRules", r#"{"NetworkRules":["none"]}"#.to_owned()), false),
        (("AccessControlRules", r#"{"NetworkRules":[]}"#.to_owned()), true),
    ] {
        let (name, value) = &change;
        gateway.call("UpdatePolicy", &[("Name", "abc"), (name, value)]).await;
        assert_eq!(is_let_in(&instance_client, &key).await, is_allowed, "{change:?}");
    }
    for (policies, is_allowed) in [
        (r#"["none","abc"]"#, true),
        (r#"["abc","none","abc"]"#, true),
        (r#"["none"]"#, false),
        ("[]", false),
        (r#"["abc"]"#, true),
    ] {
        let change = [("Name", "shop"), ("Policies", policies)];
        gateway.call("UpdateApplicationAccessPoint", &change).await;
        assert_eq!(is_let_in(&instance_client, &key).await, is_allowed, "{policies}");
    }
    // A key that is not there is told of to those alone who might use it.
    gateway.call("UpdatePolicy", &[("Name", "abc"), ("Resources", r#"["key/key-x*"]"#)]).await;
    let no_key = refusal(404, "Forbidden.KeyNotFound");
    assert_eq!(instance_client.refused("Encrypt", &encrypt("key-x-none")).await, no_key);
    assert!(!is_let_in(&instance_client, "key-y-none").await);

    gateway.call("DeleteApplicationAccessPoint", &[("Name", "shop")]).await;
    assert!(!is_let_in(&instance_client, &key).await);
}

fn dangling(outcome: Outcome) -> Value {
    outcome.json().as_array().unwrap().iter().map(|key| key["dangling"].clone()).collect()
}

fn doctor(installation: &Installation) -> Value {
    let report = installation.configured(&["doctor", "--json"]).json();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "access documents").unwrap().clone()
}

#[tokio::test]
async fn the_doctor_the_list_of_client_keys_and_one_warning_name_missing_references() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&admin);
    assert_eq!(doctor(&installation)["verdict"], "ok");
    let point = [("Name", "shop"), ("Policies", r#"["abc","abc"]"#)];
    client.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let key = [("AapName", "shop"), ("Password", PASSWORD)];
    let made = client.call("CreateClientKey", &key).await.unwrap();
    until(|| server.has_logged("access.dangling_references")).await;
    let log = server.log();
    let line =
        log.lines().find(|line| line.contains("access.dangling_references")).unwrap().to_owned();
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("policy abc (named by access-point shop)"), "{line}");
    let found = doctor(&installation);
    assert_eq!(found["verdict"], "warning");
    assert!(text(&found["found"]).contains("policy abc (named by access-point shop)"), "{found}");
    let list = ["client-key", "list", "--json"];
    let missing = |kind: &str, name: &str, by: &str, by_name: &str| {
        json!({"missing": {"kind": kind, "name": name},
            "named_by": {"kind": by, "name": by_name}})
    };
    let abc = missing("policy", "abc", "access-point", "shop");
    assert_eq!(dangling(installation.configured(&list)), json!([[abc]]));
    let words = installation.configured(&["client-key", "list"]).done();
    let told = "shop  missing: policy abc (named by access-point shop)";
    assert!(words.contains(told), "{words}");

    let rules = ("AccessControlRules", r#"{"NetworkRules":["office"]}"#);
    let policy = [("Name", "abc"), USER, ("Resources", r#"["key/*"]"#), rules];
    client.call("CreatePolicy", &policy).await.unwrap();
    let office = "network-rule office (named by policy abc)";
    until(|| server.has_logged(office)).await;
    let office = missing("network-rule", "office", "policy", "abc");
    assert_eq!(dangling(installation.configured(&list)), json!([[office]]));

    client.call("UpdatePolicy", &[("Name", "abc"), ("AccessControlRules", "{}")]).await.unwrap();
    until(|| server.has_logged("access.references_resolved")).await;
    assert_eq!(doctor(&installation)["verdict"], "ok");
    assert_eq!(dangling(installation.configured(&list)), json!([[]]));

    client.call("DeleteApplicationAccessPoint", &[("Name", "shop")]).await.unwrap();
    let id = text(&made["ClientKeyId"]);
    let shop = format!("access-point shop (named by client-key {id})");
    until(|| server.has_logged(&shop)).await;
    // Told once each, however often it is looked at.
    let looked = Instant::now();
    until(|| looked.elapsed() > Duration::from_millis(2500)).await;
    assert_eq!(server.count_logged("access.dangling_references"), 3);
    let shop = missing("access-point", "shop", "client-key", id);
    assert_eq!(dangling(installation.configured(&list)), json!([[shop]]));
    assert_eq!(server.stop(), Some(0));

    // And at each start.
    let server = installation.serve();
    until(|| server.has_logged("access.dangling_references")).await;
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_mistake_in_the_name_of_a_policy_is_reported_by_the_command() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let out = installation.path("out");
    let create = ["client-key", "create", "--name", "shop", "--policy", "pyaments", "--out"];
    let create = [&create[..], &[out.to_str().unwrap()]].concat();
    let refused = installation.client(&server.endpoint, &admin, &create, b"").failed(3);
    assert!(refused.contains("the access policy pyaments does not exist"), "{refused}");
    assert_eq!(server.stop(), Some(0));
}
