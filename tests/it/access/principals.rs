//! Users, roles, sessions, and what their policies permit.

use std::fs;

use hsmgate::cli::client::Client;
use serde_json::{Value, json};

use crate::support::calls::{code, until_code};
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Server};

const PLAINTEXT: (&str, &str) = ("Plaintext", "SGVsbG8=");

/// A running gateway with an administrator and a key.
struct TestAccount {
    installation: Installation,
    server: Server,
    admin: Client,
    key: String,
}

impl TestAccount {
    async fn open() -> Self {
        let (installation, admin) = Installation::prepared();
        // Every bit of a session's token is turned, from one address.
        installation.configure(|text| {
            text.push_str("[limits]\nauthentication_failures_per_second = 0\n");
        });
        let server = installation.serve();
        let admin = server.client(&admin);
        let created = admin.call("CreateKey", &[]).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        Self { installation, server, admin, key }
    }

    /// A client of a new user with these policies, once the gateway knows it.
    async fn user(&self, name: &str, policies: &[&str]) -> Client {
        let mut create = vec!["access-key", "create", "--json", "--user", name];
        create.extend(policies.iter().flat_map(|policy| ["--policy", policy]));
        let key = AccessKey::of(&self.installation.configured(&create).json());
        let client = self.server.client(&key);
        self.known(&client).await;
        client
    }

    async fn known(&self, client: &Client) {
        until_code(client, "DescribeRegions", &[], "").await;
    }

    fn policy(&self, name: &str, document: &Value) -> String {
        let path = self.installation.path(name);
        fs::write(&path, document.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn encrypt(&self, client: &Client, expected: &str) {
        expect(client, "Encrypt", &[("KeyId", &self.key), PLAINTEXT], expected).await;
    }
}

fn allow(action: &str, resource: &str) -> Value {
    json!({"Version": "1", "Statement":
        [{"Effect": "Allow", "Action": action, "Resource": resource}]})
}

async fn expect(client: &Client, action: &str, params: &[(&str, &str)], expected: &str) {
    assert_eq!(code(client, action, params).await, expected, "{action}");
}

#[tokio::test]
async fn an_attached_policy_gives_rights_until_it_is_detached() {
    let test_account = TestAccount::open().await;
    let alice = test_account.user("alice", &[]).await;
    test_account.encrypt(&alice, "Forbidden.NoPermission").await;
    let params = [("KeyId", test_account.key.as_str()), PLAINTEXT];
    let change = |verb: &str, policy: &str| {
        test_account.installation.configured(&["user", verb, "alice", policy]).done();
    };
    change("attach", "AliyunKMSCryptoUserAccess");
    until_code(&alice, "Encrypt", &params, "").await;
    expect(&alice, "CreateKey", &[], "Forbidden.NoPermission").await;
    let listed = test_account.installation.configured(&["user", "list", "--json"]).json();
    let row = listed.as_array().unwrap().iter().find(|row| row["name"] == "alice").unwrap();
    assert_eq!(row["policies"], json!(["AliyunKMSCryptoUserAccess"]));
    change("detach", "AliyunKMSCryptoUserAccess");
    until_code(&alice, "Encrypt", &params, "Forbidden.NoPermission").await;
    let detach = ["user", "detach", "alice", "AliyunKMSCryptoUserAccess"];
    test_account.installation.configured(&detach).failed(3);
    test_account.installation.configured(&["user", "delete", "alice"]).done();
    until_code(&alice, "DescribeRegions", &[], "InvalidAccessKeyId.NotFound").await;
    test_account.installation.configured(&["user", "delete", "alice"]).failed(3);
}

#[tokio::test]
async fn a_document_limits_by_resource_tag_source_and_context() {
    let test_account = TestAccount::open().await;
    let other = test_account.admin.call("CreateKey", &[]).await.unwrap();
    let other = text(&other["KeyMetadata"]["KeyId"]).to_owned();
    let arn = format!("acs:kms:*:*:key/{}", test_account.key);
    let conditional = |condition: Value| {
        json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:Encrypt",
            "Resource": arn, "Condition": condition}]})
    };
    for (name, document, with, without) in [
        ("of-one-key", allow("kms:Encrypt", &arn), "", ""),
        ("from-here", conditional(json!({"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}})), "", ""),
        (
            "from-elsewhere",
            conditional(json!({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}})),
            "Forbidden.NoPermission",
            "Forbidden.NoPermission",
        ),
        (
            "over-tls",
            conditional(json!({"Bool": {"acs:SecureTransport": "true"}})),
            "Forbidden.NoPermission",
            "Forbidden.NoPermission",
        ),
        (
            "in-context",
            conditional(json!({"StringEquals": {"kms:EncryptionContext/for": "backup"}})),
            "",
            "Forbidden.NoPermission",
        ),
        (
            "before-2000",
            conditional(json!({"DateLessThan": {"acs:CurrentTime": "2000-01-01T00:00:00Z"}})),
            "Forbidden.NoPermission",
            "Forbidden.NoPermission",
        ),
    ] {
        let file = test_account.policy(&format!("{name}.json"), &document);
        let user = test_account.user(name, &[&file]).await;
        let context = ("EncryptionContext", r#"{"for":"backup"}"#);
        let id = ("KeyId", test_account.key.as_str());
        let calls = [
            (vec![id, PLAINTEXT, context], with),
            (vec![id, PLAINTEXT], without),
            (vec![("KeyId", other.as_str()), PLAINTEXT, context], "Forbidden.NoPermission"),
        ];
        for (params, expected) in calls {
            assert_eq!(code(&user, "Encrypt", &params).await, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_role_limited_by_its_policy() {
    let test_account = TestAccount::open().await;
    let create = ["role", "create", "ci", "--policy", "AliyunKMSCryptoUserAccess"];
    test_account.installation.configured(&create).done();
    let limit = test_account.policy("limit.json", &allow("kms:Encrypt", "*"));
    let assume = ["sts", "assume", "--role-name", "ci", "--policy", &limit, "--json"];
    let made = test_account.installation.configured(&assume).json();
    let made = &made["Credentials"];
    let (id, token) = (text(&made["AccessKeyId"]), text(&made["SecurityToken"]));
    assert!(id.starts_with("STS."), "{id}");
    let secret = text(&made["AccessKeySecret"]);
    let bare = Client::new(&test_account.server.endpoint, id, secret.into()).unwrap();
    let with = |token: &str| bare.clone().with_security_token(token.into());
    let session = with(token);
    test_account.known(&session).await;
    test_account.encrypt(&session, "").await;
    let generate = [("KeyId", test_account.key.as_str())];
    expect(&session, "GenerateDataKey", &generate, "Forbidden.NoPermission").await;
    expect(&session, "CreateKey", &[], "Forbidden.NoPermission").await;

    test_account.encrypt(&bare, "MissingSecurityToken").await;
    test_account.encrypt(&with("CAIS"), "InvalidSecurityToken.Malformed").await;
    let other = token.chars().rev().collect::<String>();
    let other = format!("A{}", &other[1..other.len() - 1]) + "A";
    test_account.encrypt(&with(&other), "InvalidSecurityToken.MismatchWithAccessKey").await;
    let admin = test_account.admin.clone().with_security_token(token.into());
    test_account.encrypt(&admin, "InvalidSecurityToken.MismatchWithAccessKey").await;

    let listed = test_account.installation.configured(&["access-key", "list", "--json"]).json();
    let row = listed.as_array().unwrap().iter().find(|row| row["access_key_id"] == id).unwrap();
    assert_eq!((&row["principal"], &row["session"]), (&json!("role/ci"), &json!("hsmgate")));

    end_all_sessions(&test_account.installation).await;
    let params = [("KeyId", test_account.key.as_str()), PLAINTEXT];
    until_code(&session, "Encrypt", &params, "InvalidSecurityToken.Expired").await;
    let unknown = ["sts", "assume", "--role-name", "nobody"];
    test_account.installation.configured(&unknown).failed(3);
}

/// Moves the end of every session into the past, as if its time had passed.
async fn end_all_sessions(installation: &Installation) {
    let url = format!("sqlite://{}", installation.path("hsmgate.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for sql in ["UPDATE access_keys SET expires = CAST(strftime('%s', 'now') AS BIGINT) - 60 \
         WHERE expires IS NOT NULL"]
    {
        assert_eq!(sqlx::query(sql).execute(&pool).await.unwrap().rows_affected(), 1, "{sql}");
    }
    pool.close().await;
    installation.sign();
}

#[tokio::test]
async fn an_access_key_is_rotated_disabled_and_enabled() {
    let test_account = TestAccount::open().await;
    let create = ["access-key", "create", "--json", "--user", "alice"];
    let old = AccessKey::of(&test_account.installation.configured(&create).json());
    let rotate = ["access-key", "rotate", "--json", &old.id];
    let new = AccessKey::of(&test_account.installation.configured(&rotate).json());
    let told = test_account.installation.configured(&rotate).failed(1);
    assert!(told.contains("two active AccessKeys"), "{told}");
    let (old_client, new_client) =
        (test_account.server.client(&old), test_account.server.client(&new));
    test_account.known(&old_client).await;
    test_account.known(&new_client).await;
    test_account.installation.configured(&["access-key", "disable", &old.id]).done();
    until_code(&old_client, "DescribeRegions", &[], "InvalidAccessKeyId.Inactive").await;
    let third = AccessKey::of(&test_account.installation.configured(&rotate).json());
    let told = test_account.installation.configured(&["access-key", "enable", &old.id]).failed(1);
    assert!(told.contains("two active AccessKeys"), "{told}");
    test_account.installation.configured(&["access-key", "delete", &third.id]).done();
    test_account.installation.configured(&["access-key", "enable", &old.id]).done();
    test_account.known(&old_client).await;
    test_account.installation.configured(&["access-key", "enable", "LTAIunknown"]).failed(3);
}

#[tokio::test]
async fn the_last_use_is_known_to_the_hour() {
    let test_account = TestAccount::open().await;
    test_account.admin.call("ListKeys", &[]).await.unwrap();
    let list = ["access-key", "list", "--json"];
    assert_eq!(test_account.server.stop(), Some(0));
    let listed = test_account.installation.configured(&list).json();
    let last_used = text(&listed[0]["last_used"]);
    assert!(last_used.ends_with(":00:00Z"), "{last_used}");
}

#[tokio::test]
async fn a_key_policy_denies_even_the_administrator_and_allows_the_one_it_names() {
    let test_account = TestAccount::open().await;
    let bob = test_account.user("bob", &[]).await;
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Principal": {"RAM": "acs:ram::1234567890123456:*"},
         "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"RAM": "acs:ram::1234567890123456:user/bob"},
         "Action": "kms:Encrypt", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"RAM": "acs:ram::1234567890123456:user/admin"},
         "Action": "kms:Encrypt", "Resource": "*"}]});
    let text = policy.to_string();
    let set = [("KeyId", test_account.key.as_str()), ("Policy", text.as_str())];
    expect(&test_account.admin, "SetKeyPolicy", &set, "").await;
    let locked_out = text.replace("kms:*", "kms:Get*");
    let set = [("KeyId", test_account.key.as_str()), ("Policy", locked_out.as_str())];
    expect(&test_account.admin, "SetKeyPolicy", &set, "InvalidParameter").await;
    let resource = format!("key/{}", test_account.key);
    let simulate = |principal: &str, action: &str| {
        let arguments = [
            "policy",
            "simulate",
            "--json",
            "--principal",
            principal,
            "--action",
            action,
            "--resource",
            &resource,
        ];
        let outcome = test_account.installation.configured(&arguments);
        serde_json::from_slice::<Value>(&outcome.stdout).unwrap()
    };
    let denied = simulate("user/admin", "kms:Encrypt");
    assert_eq!(denied["allowed"], false);
    assert_eq!((&denied["policy"], &denied["statement"]), (&json!("key policy"), &json!(2)));
    assert_eq!(simulate("user/bob", "kms:Encrypt")["allowed"], true);
    assert_eq!(simulate("user/bob", "kms:Decrypt")["allowed"], false);
    assert_eq!(simulate("root", "kms:Encrypt")["allowed"], true);
    let (admin, key) = (&test_account.admin, test_account.key.as_str());
    let params = [("KeyId", key), PLAINTEXT];
    expect(admin, "Encrypt", &params, "Forbidden.NoPermission").await;
    expect(admin, "DescribeKey", &[("KeyId", key)], "").await;
    expect(&bob, "Encrypt", &params, "").await;
    expect(&bob, "DescribeKey", &[("KeyId", key)], "Forbidden.NoPermission").await;
}

#[test]
fn a_request_can_be_tried_out_and_a_document_checked() {
    let (installation, _admin) = Installation::prepared();
    let file = |name: &str, text: &str| {
        fs::write(installation.path(name), text).unwrap();
        installation.path(name).to_str().unwrap().to_owned()
    };
    let good = file(
        "office.json",
        r#"{"Version":"1","Statement":[
        {"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"},
        {"Sid":"office only","Effect":"Allow","Action":"kms:Enc*","Resource":"acs:kms:*:*:key/*",
         "Condition":{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}}]}"#,
    );
    let bad = file("bad.json", r#"{"Version":"1","Statement":[{"Effect":"Alow"}]}"#);
    let broken = file("broken.json", "{\n  \"Version\": \"1\",\n}");
    let validate = |arguments: &[&str]| {
        crate::support::installation::run(installation.command(arguments), b"")
    };
    assert_eq!(validate(&["policy", "validate", &good]).done(), "valid\n");
    let told = validate(&["policy", "validate", &good, "--json"]).json();
    assert_eq!(told, json!({"file": good, "is_valid": true}));
    let told = validate(&["policy", "validate", &bad]).failed(2);
    assert!(told.contains("bad.json: Statement[0].Effect: must be Allow or Deny"), "{told}");
    let told = validate(&["policy", "validate", &broken]).failed(2);
    assert!(told.contains("broken.json: line 3, column 1:"), "{told}");
    let told = installation.configured(&["user", "create", "alice", "--policy", &bad]).failed(2);
    assert!(told.contains("Statement[0].Effect"), "{told}");

    installation.through_gateway(&["user", "create", "alice", "--policy", &good]).done();
    let simulate = |more: &[&str]| {
        let base = [
            "policy",
            "simulate",
            "--principal",
            "user/alice",
            "--action",
            "kms:Encrypt",
            "--resource",
            "key/key-hsm00000000000000000z",
        ];
        installation.configured(&[&base[..], more].concat())
    };
    let allowed = simulate(&["--condition", "acs:SourceIp=10.1.1.1"]).done();
    assert_eq!(allowed, "allow: a statement allows it: office, Statement[1] (office only)\n");
    let denied = simulate(&["--condition", "acs:SourceIp=11.1.1.1"]);
    assert_eq!(denied.code, Some(4));
    assert_eq!(denied.stdout, b"deny: no statement allows it\n");
    let session = simulate(&[
        "--condition",
        "acs:SourceIp=10.1.1.1",
        "--session-policy",
        &file("none.json", &allow("kms:Decrypt", "*").to_string()),
        "--json",
    ]);
    let outcome: Value = serde_json::from_slice(&session.stdout).unwrap();
    assert_eq!(outcome["reason"], "the session policy does not allow it");
    simulate(&["--condition", "acs:Nothing=1"]).failed(2);
}

#[tokio::test]
async fn the_root_needs_no_policy() {
    let test_account = TestAccount::open().await;
    let create = ["access-key", "create", "--root", "--json"];
    let root = AccessKey::of(&test_account.installation.configured(&create).json());
    let root = test_account.server.client(&root);
    test_account.known(&root).await;
    test_account.encrypt(&root, "").await;
    expect(&root, "CreateKey", &[], "").await;
}
