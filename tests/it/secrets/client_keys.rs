//! Client keys read secrets by both protocols, as their access point allows.

use hsmgate::api::instance::messages::{GetSecretValueRequest, GetSecretValueResponse};
use serde_json::json;

use super::{create_with, put};
use crate::access::client_key_calls::send;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::instance_client::InstanceClient;

const SECRET_USER: &str = r#"["RbacPermission/Template/CryptoServiceSecretUser"]"#;

/// A client of an access point that allows these resources with the template for secrets.
pub(super) async fn reader(gateway: &Gateway, name: &str, resources: &str) -> InstanceClient {
    let client = InstanceClient::of(gateway, name, resources, "").await;
    let policy = [("Name", name), ("Permissions", SECRET_USER)];
    gateway.call("UpdatePolicy", &policy).await;
    client
}

pub(super) fn request(name: &str) -> GetSecretValueRequest {
    GetSecretValueRequest { secret_name: name.to_owned(), ..GetSecretValueRequest::default() }
}

#[tokio::test]
async fn an_access_point_decides_which_secrets_its_client_keys_read() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    create_with(&gateway, "db/a", "one\0", &[("EncryptionKeyId", &key)]).await;
    put(&gateway, "db/a", "v2", "two\0").await;
    create_with(&gateway, "other", "x", &[]).await;
    let client = reader(&gateway, "point", r#"["secret/db/*"]"#).await;
    let (answer, version): (GetSecretValueResponse, _) =
        client.call_with_version("GetSecretValue", &request("db/a"), None).await;
    assert_eq!(version, None);
    assert_eq!((&*answer.secret_name, &*answer.secret_data), ("db/a", "two\0"));
    assert_eq!(
        (&*answer.version_id, &*answer.version_stages),
        ("v2", &["ACSCurrent".to_owned()][..])
    );
    assert_eq!((&*answer.secret_type, &*answer.secret_data_type), ("Generic", "text"));
    assert!(!answer.request_id.is_empty() && answer.rotation_interval.is_empty());
    let first =
        GetSecretValueRequest { version_stage: "ACSPrevious".to_owned(), ..request("db/a") };
    let (answer, _): (GetSecretValueResponse, _) = client.call("GetSecretValue", &first).await;
    assert_eq!(answer.secret_data, "one\0");
    let unknown = GetSecretValueRequest { version_id: "v9".to_owned(), ..request("db/a") };
    for (message, expected) in [
        (request("other"), (403, "Forbidden.NoPermission")),
        (request("nothing"), (403, "Forbidden.NoPermission")),
        (request("db/nothing"), (404, "Forbidden.ResourceNotFound")),
        (unknown, (404, "Forbidden.ResourceNotFound")),
        (request("a b"), (400, "InvalidParameter")),
        (request(""), (400, "InvalidParameter")),
    ] {
        let refused = client.refused("GetSecretValue", &message).await;
        assert_eq!(refused, refusal(expected.0, expected.1), "{message:?}");
    }
    // The template for keys grants no secret, and that for secrets no key.
    let keys = InstanceClient::of(&gateway, "keys", r#"["secret/*","key/*"]"#, "").await;
    let refused = keys.refused("GetSecretValue", &request("db/a")).await;
    assert_eq!(refused, refusal(403, "Forbidden.NoPermission"));
    // The state of the key counts all the same.
    gateway.call("DisableKey", &[("KeyId", &key)]).await;
    let refused = client.refused("GetSecretValue", &request("db/a")).await;
    assert_eq!(refused, refusal(409, "Rejected.Disabled"));
}

#[tokio::test]
async fn a_client_key_reads_a_secret_by_the_public_api_and_its_policy_does_not_count() {
    let gateway = Gateway::start();
    create_with(&gateway, "db", "hunter2", &[]).await;
    let account = format!("acs:ram::{}:user/nobody", gateway.dev.account);
    let everyone = format!("acs:ram::{}:*", gateway.dev.account);
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Principal": {"RAM": [everyone]}, "Action": ["kms:Describe*", "kms:Set*"],
            "Resource": ["*"]},
        {"Effect": "Deny", "Principal": {"RAM": [account]}, "Action": ["kms:GetSecretValue"],
            "Resource": ["*"]},
    ]})
    .to_string();
    gateway.call("SetSecretPolicy", &[("SecretName", "db"), ("Policy", &policy)]).await;
    let key = reader(&gateway, "point", r#"["secret/*"]"#).await.client_key;
    let read = send(&gateway, &key, "GetSecretValue", &[("SecretName", "db")]).await;
    assert_eq!(read.status, 200, "{}", read.body);
    assert_eq!(text(&read.json()["SecretData"]), "hunter2");
    let describe = send(&gateway, &key, "DescribeSecret", &[("SecretName", "db")]).await;
    assert_eq!(describe.refusal(), refusal(403, "Forbidden.NoPermission"));
}

#[tokio::test]
async fn only_who_may_read_secrets_gives_client_keys_access_to_them() {
    use crate::support::installation::Installation;
    let (installation, admin) = Installation::prepared();
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Resource": "*", "Action": ["kms:CreatePolicy", "kms:UpdatePolicy",
            "kms:CreateApplicationAccessPoint", "kms:CreateClientKey"]},
        {"Effect": "Allow", "Resource": "acs:kms:*:*:secret/mine/*", "Action": "kms:GetSecretValue"},
    ]})
    .to_string();
    let file = installation.path("maker.json");
    std::fs::write(&file, policy).unwrap();
    let maker = installation.create_access_key("maker", &[file.to_str().unwrap()]);
    let server = installation.serve();
    let (admin, maker) = (server.client(&admin), server.client(&maker));
    for (name, resources) in
        [("mine", r#"["secret/mine/*"]"#), ("all", r#"["secret/*"]"#), ("one", r#"["secret/db"]"#)]
    {
        let params = [("Name", name), ("Permissions", SECRET_USER), ("Resources", resources)];
        admin.call("CreatePolicy", &params).await.unwrap();
        let policies = format!(r#"["{name}"]"#);
        let params = [("Name", name), ("Policies", &*policies)];
        let outcome =
            crate::support::calls::code(&maker, "CreateApplicationAccessPoint", &params).await;
        let expected = if name == "mine" { "" } else { "Forbidden.NoPermission" };
        assert_eq!(outcome, expected, "{name}");
    }
}
