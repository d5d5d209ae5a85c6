//! Who may do what with a secret: RAM policies, secret policies, and the key.

use serde_json::{Value, json};

use crate::support::calls::{code, refused};
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::{ACCOUNT, AccessKey, Installation};

const DENIED: &str = "Forbidden.NoPermission";

fn ram_policy(action: &str, resource: &str) -> String {
    json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})
        .to_string()
}

#[tokio::test]
async fn a_reader_of_a_secret_under_a_key_of_the_account_needs_the_key_too() {
    let (installation, admin) = Installation::prepared();
    let user = |name: &str, statements: Value| {
        let policy = json!({"Version": "1", "Statement": statements}).to_string();
        let file = installation.path(&format!("{name}.json"));
        std::fs::write(&file, policy).unwrap();
        installation.create_access_key(name, &[file.to_str().unwrap()])
    };
    let any = |action: &str| json!({"Effect": "Allow", "Action": action, "Resource": "*"});
    let read = any("kms:GetSecretValue");
    let named = json!({"Effect": "Allow", "Action": "kms:GetSecretValue",
        "Resource": "acs:kms:*:*:secret/db/*"});
    let tagged = json!({"Effect": "Allow", "Action": "kms:GetSecretValue", "Resource": "*",
        "Condition": {"StringEquals": {"kms:tag/team": "orders"}}});
    let writer = json!([any("kms:PutSecretValue"), any("kms:GenerateDataKey")]);
    let users = [
        user("reader", json!([read])),
        user("keyreader", json!([read, any("kms:Decrypt")])),
        user("named", json!([named])),
        user("tagged", json!([tagged])),
        user("writer", writer),
    ];
    let server = installation.serve();
    let admin = server.client(&admin);
    let [reader, key_reader, named, tagged, writer] =
        users.each_ref().map(|key| server.client(key));
    let made = admin.call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    let tags = ("Tags", r#"[{"TagKey":"team","TagValue":"orders"}]"#);
    for (name, more) in
        [("db/own", vec![]), ("db/key", vec![("EncryptionKeyId", key)]), ("tagged", vec![tags])]
    {
        let params = [("SecretName", name), ("VersionId", "v1"), ("SecretData", "x")];
        admin.call("CreateSecret", &[&params[..], &more].concat()).await.unwrap();
    }
    for (name, outcomes) in [
        ("db/own", ["", "", "", DENIED, DENIED]),
        ("db/key", [DENIED, "", DENIED, DENIED, DENIED]),
        ("tagged", ["", "", DENIED, "", DENIED]),
    ] {
        let clients = [&reader, &key_reader, &named, &tagged, &writer];
        for (client, expected) in clients.into_iter().zip(outcomes) {
            assert_eq!(
                code(client, "GetSecretValue", &[("SecretName", name)]).await,
                expected,
                "{name}"
            );
        }
    }
    // One who may write and not read.
    let new = [("SecretName", "db/key"), ("VersionId", "v2"), ("SecretData", "y")];
    assert_eq!(code(&writer, "PutSecretValue", &new).await, "");
    assert_eq!(code(&reader, "PutSecretValue", &new).await, DENIED);
    // Whether a secret exists is not told.
    let absent = [("SecretName", "tagged-not")];
    assert_eq!(refused(&named, "GetSecretValue", &absent).await, refusal(403, DENIED));
    assert_eq!(code(&admin, "GetSecretValue", &absent).await, "Forbidden.ResourceNotFound");
}

#[tokio::test]
async fn a_policy_of_a_secret_allows_and_denies() {
    let (installation, admin) = Installation::prepared();
    let (alice, bob) = (
        installation.create_access_key("alice", &[]),
        installation.create_access_key("bob", &["AliyunKMSSecretUserAccess"]),
    );
    let server = installation.serve();
    let admin = server.client(&admin);
    let clients = [&alice, &bob].map(|key: &AccessKey| server.client(key));
    let name = ("SecretName", "db");
    let create = [name, ("VersionId", "v1"), ("SecretData", "x")];
    admin.call("CreateSecret", &create).await.unwrap();
    let read = async || {
        let [alice, bob] = &clients;
        [code(alice, "GetSecretValue", &[name]).await, code(bob, "GetSecretValue", &[name]).await]
    };
    assert_eq!(read().await, [DENIED, ""]);
    let simulate = |principal: &str| {
        let command = ["policy", "simulate", "--json", "--action", "kms:GetSecretValue"];
        let rest = ["--resource", "secret/db", "--principal", principal];
        let outcome = installation.configured(&[&command[..], &rest].concat());
        serde_json::from_slice::<Value>(&outcome.stdout).unwrap()
    };
    assert_eq!(simulate("user/alice")["allowed"], false);
    assert_eq!(simulate("user/bob")["allowed"], true);
    let principal = |user: &str| json!({"RAM": [format!("acs:ram::{ACCOUNT}:{user}")]});
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Principal": principal("*"), "Action": ["kms:*"], "Resource": ["*"]},
        {"Effect": "Allow", "Principal": principal("user/alice"), "Action": ["kms:GetSecretValue"],
            "Resource": ["*"]},
        {"Effect": "Deny", "Principal": principal("user/bob"), "Action": ["kms:GetSecretValue"],
            "Resource": ["*"]},
    ]})
    .to_string();
    admin.call("SetSecretPolicy", &[name, ("Policy", &policy)]).await.unwrap();
    assert_eq!(read().await, ["", DENIED]);
    let simulated = ["user/alice", "user/bob"].map(simulate);
    assert_eq!((&simulated[0]["allowed"], &simulated[0]["statement"]), (&true.into(), &1.into()));
    assert_eq!((&simulated[1]["allowed"], &simulated[1]["statement"]), (&false.into(), &2.into()));
    assert!(simulated.iter().all(|one| one["policy"] == "secret policy"), "{simulated:?}");
    let got = admin.call("GetSecretPolicy", &[name, ("PolicyName", "default")]).await.unwrap();
    assert_eq!(text(&got["Policy"]), policy);
}

#[tokio::test]
async fn a_policy_that_is_wrong_is_refused_and_the_default_one_is_returned() {
    let gateway = Gateway::start();
    super::create(&gateway, "db", "x").await;
    let name = ("SecretName", "db");
    let got = gateway.call("GetSecretPolicy", &[name]).await;
    let default: Value = serde_json::from_str(text(&got["Policy"])).unwrap();
    assert_eq!(default["Statement"][0]["Sid"], "kms default secret policy");
    let policy = |principal: &str, effect: &str| {
        let all = format!("acs:ram::{}:{principal}", gateway.dev.account);
        json!({"Version": "1", "Statement": [
            {"Effect": effect, "Principal": {"RAM": [all]}, "Action": ["kms:*"], "Resource": ["*"]}]})
        .to_string()
    };
    for bad in [
        "x".to_owned(),
        ram_policy("kms:*", "*"),
        policy("*", "Deny"),
        policy("clientkey/*", "Deny"),
        policy("*", "Allow") + &" ".repeat(32_768),
    ] {
        let refused = gateway.refused("SetSecretPolicy", &[name, ("Policy", &bad)]).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{}", bad.trim());
    }
    let other = ("PolicyName", "other");
    let not_found = refusal(404, "Forbidden.ResourceNotFound");
    assert_eq!(gateway.refused("GetSecretPolicy", &[name, other]).await, not_found);
    let good = policy("*", "Allow");
    assert_eq!(
        gateway.refused("SetSecretPolicy", &[name, other, ("Policy", &good)]).await,
        not_found
    );
    gateway.call("SetSecretPolicy", &[name, ("Policy", &good)]).await;
}
