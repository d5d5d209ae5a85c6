//! Revoking rights works also while the token is unavailable or rows are damaged.

use std::fs;
use std::time::Duration;

use hsmgate::cli::client::Client;
use serde_json::{Value, json};

use crate::support::admin_client::get;
use crate::support::calls::{code, until_code};
use crate::support::gateway::text;
use crate::support::installation::{Installation, Server};
use crate::support::process::until;

async fn ready(server: &Server) -> (u16, Value) {
    // An answer stands for a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, body) = get(&format!("http://{}", server.admin_address()), "/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn damaged_rows(server: &Server) -> String {
    let (_, text) = get(&format!("http://{}", server.admin_address()), "/metrics").await;
    let line = text.lines().find(|line| line.starts_with("hsmgate_store_damaged_rows "));
    line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
}

/// The rows that the doctor names, in order.
fn named(installation: &Installation) -> Vec<String> {
    let outcome = installation.configured(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["verdict"] == "failed");
    failed
        .inspect(|check| assert!(!text(&check["remedy"]).is_empty()))
        .map(|check| {
            assert_eq!(check["name"], "database rows", "{check}");
            let found = text(&check["found"]);
            found.split_once(" is ignored").unwrap_or_else(|| panic!("{found}")).0.to_owned()
        })
        .collect()
}

#[tokio::test]
async fn rights_are_revoked_while_the_token_is_unavailable() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let admin = server.client(&admin);
    let full = ["AliyunKMSFullAccess"];
    let keys = ["disabled", "deleted", "limited", "gone"]
        .map(|user| installation.create_access_key(user, &full));
    installation.configured(&["role", "create", "ci", "--policy", full[0]]).done();
    let assumed = installation.configured(&["sts", "assume", "--role-name", "ci", "--json"]).json();
    let assumed = &assumed["Credentials"];
    let secret = text(&assumed["AccessKeySecret"]);
    let session = Client::new(&server.endpoint, text(&assumed["AccessKeyId"]), secret.into());
    let session = session.unwrap().with_security_token(text(&assumed["SecurityToken"]).into());
    let clients = keys.clone().map(|key| server.client(&key));
    for client in clients.iter().chain([&session]) {
        until_code(client, "ListKeys", &[], "").await;
    }
    let policy = [
        ("Name", "p"),
        ("Resources", r#"["key/*"]"#),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
    ];
    admin.call("CreatePolicy", &policy).await.unwrap();
    let point = [("Name", "shop"), ("Policies", r#"["p"]"#)];
    admin.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let client_key = [("AapName", "shop"), ("Password", "opens-it-1")];
    let client_key = admin.call("CreateClientKey", &client_key).await.unwrap();
    let client_key = text(&client_key["ClientKeyId"]);

    fs::rename(installation.path("tokens"), installation.path("away")).unwrap();
    // The commands use the database themselves, without the token, which the running gateway still has.
    installation.configure(|text| text.push_str("[operators]\nsocket = \"\"\n"));
    installation.configured(&["access-key", "create", "--user", "gone"]).failed(6);
    let listed = installation.configured(&["access-key", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 6, "{listed}");
    let listed = installation.configured(&["user", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 5, "{listed}");
    for arguments in [
        &["access-key", "disable", &keys[0].id][..],
        &["access-key", "delete", &keys[1].id],
        &["access-key", "delete", text(&assumed["AccessKeyId"])],
        &["user", "detach", "limited", full[0]],
        &["user", "delete", "gone"],
        &["role", "detach", "ci", full[0]],
        &["role", "delete", "ci"],
        &["client-key", "delete", client_key],
    ] {
        installation.configured(arguments).done();
    }
    installation.configured(&["client-key", "delete", client_key]).failed(3);
    let refused = [
        "InvalidAccessKeyId.Inactive",
        "InvalidAccessKeyId.NotFound",
        "Forbidden.NoPermission",
        "InvalidAccessKeyId.NotFound",
    ];
    for (client, expected) in clients.iter().zip(refused) {
        until_code(client, "ListKeys", &[], expected).await;
    }
    until_code(&session, "ListKeys", &[], "InvalidAccessKeyId.NotFound").await;
    let id = ("ClientKeyId", client_key);
    until_code(&admin, "GetClientKey", &[id], "Forbidden.ResourceNotFound").await;
    fs::rename(installation.path("away"), installation.path("tokens")).unwrap();
}

#[tokio::test]
async fn a_damaged_access_key_affects_no_other_access_key() {
    let (installation, admin) = Installation::prepared_with_admin_listener();
    let server = installation.serve();
    let full = ["AliyunKMSFullAccess"];
    let [bob, carol] = ["bob", "carol"].map(|user| installation.create_access_key(user, &full));
    for key in [&bob, &carol] {
        until_code(&server.client(key), "ListKeys", &[], "").await;
    }
    let bytes = "x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'";
    let mut database = installation.database().await;
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE access_keys SET sealed_secret = {bytes} WHERE id = '{}'",
        bob.id
    )))
    .execute(&mut database)
    .await
    .unwrap();
    installation.sign();
    installation.configured(&["access-key", "disable", &carol.id]).done();
    until_code(&server.client(&carol), "ListKeys", &[], "InvalidAccessKeyId.Inactive").await;
    until_code(&server.client(&bob), "ListKeys", &[], "InvalidAccessKeyId.NotFound").await;
    // It gives no right before the token has said that it does not open.
    until(|| server.has_logged("store.row_damaged") && server.has_logged(&bob.id)).await;
    let (status, body) = ready(&server).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "{body}");
    let store = &body["dependencies"]["store"];
    assert_eq!(store["status"], "degraded");
    assert!(text(&store["reason"]).starts_with("1 damaged rows"), "{body}");
    assert_eq!(damaged_rows(&server).await, "1");
    assert_eq!(server.stop(), Some(0));

    // Others are made, switched off and refused as before, and a restart succeeds.
    let dave = installation.create_access_key("dave", &full);
    let server = installation.serve();
    until_code(&server.client(&dave), "ListKeys", &[], "").await;
    until_code(&server.client(&admin), "ListKeys", &[], "").await;
    until_code(&server.client(&carol), "ListKeys", &[], "InvalidAccessKeyId.Inactive").await;
    assert_eq!(named(&installation), [format!("access_keys {:?}", bob.id)]);
    installation.configured(&["access-key", "delete", &bob.id]).done();
    installation.configured(&["access-key", "delete", &dave.id]).done();
    until_code(&server.client(&dave), "ListKeys", &[], "InvalidAccessKeyId.NotFound").await;
    assert_eq!(named(&installation), Vec::<String>::new());
    let (status, body) = ready(&server).await;
    assert_eq!((status, &body["status"]), (200, &json!("ready")), "{body}");
    assert_eq!(damaged_rows(&server).await, "0");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_damaged_row_gives_no_right_and_other_rows_stay_valid() {
    let (installation, admin) = Installation::prepared_with_admin_listener();
    let server = installation.serve();
    let client = server.client(&admin);
    let mut keys = Vec::new();
    for description in ["bad", "half", "good"] {
        let created = client.call("CreateKey", &[("Description", description)]).await.unwrap();
        keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
    }
    let alias = ("AliasName", "alias/bad");
    client.call("CreateAlias", &[("KeyId", &keys[0]), alias]).await.unwrap();
    let permissions = ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#);
    for name in ["p", "q"] {
        let policy = [("Name", name), ("Resources", r#"["key/*"]"#), permissions];
        client.call("CreatePolicy", &policy).await.unwrap();
    }
    // What denies is damaged: what allows, beside it, gives nothing any more.
    let deny = installation.path("deny.json");
    fs::write(
        &deny,
        json!({"Version": "1", "Statement":
        {"Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*"}})
        .to_string(),
    )
    .unwrap();
    let bob =
        installation.create_access_key("bob", &["AliyunKMSFullAccess", deny.to_str().unwrap()]);
    let carol = installation.create_access_key("carol", &["AliyunKMSFullAccess"]);
    until_code(&server.client(&carol), "ListKeys", &[], "").await;
    for sql in [
        "UPDATE keys SET spec = 'x' WHERE description = 'bad'",
        "UPDATE key_versions SET is_live = 7 \
         WHERE key_id = (SELECT id FROM keys WHERE description = 'half')",
        "UPDATE documents SET body = CAST(x'7b22ff' AS TEXT) WHERE name = 'p'",
        "UPDATE principals SET policies = replace(policies, 'Deny', 'Dexy') WHERE name = 'user/bob'",
        "INSERT INTO operator_events (number, body) VALUES (0, 'x')",
    ] {
        installation.change(sql).await;
    }
    // The next change of the catalogue would begin the counter again, at a lower number.
    installation.tamper("UPDATE facts SET value = 'many' WHERE name = 'catalogue-revision'").await;
    // Another process changes something: all of it is read anew.
    installation.configured(&["user", "detach", "carol", "AliyunKMSFullAccess"]).done();
    until_code(&server.client(&carol), "ListKeys", &[], "Forbidden.NoPermission").await;
    until_code(&server.client(&bob), "ListKeys", &[], "InvalidAccessKeyId.NotFound").await;
    until_code(&client, "DescribeKey", &[("KeyId", &keys[0])], "Forbidden.KeyNotFound").await;
    assert_eq!(server.stop(), Some(0));

    let server = installation.serve();
    let client = server.client(&admin);
    for (action, params, expected) in [
        ("DescribeKey", vec![("KeyId", keys[0].as_str())], "Forbidden.KeyNotFound"),
        ("DescribeKey", vec![("KeyId", keys[1].as_str())], "Forbidden.KeyNotFound"),
        ("DescribeKey", vec![("KeyId", keys[2].as_str())], ""),
        ("Encrypt", vec![("KeyId", keys[2].as_str()), ("Plaintext", "SGk=")], ""),
        ("Encrypt", vec![("KeyId", alias.1), ("Plaintext", "SGk=")], "Forbidden.KeyNotFound"),
        ("CreateAlias", vec![("KeyId", keys[2].as_str()), alias], "AliasAlreadyExists"),
        ("UpdateAlias", vec![("KeyId", keys[2].as_str()), alias], "Forbidden.KeyNotFound"),
        ("DescribePolicy", vec![("Name", "p")], "Forbidden.ResourceNotFound"),
        ("DescribePolicy", vec![("Name", "q")], ""),
        ("DeletePolicy", vec![("Name", "p")], ""),
    ] {
        assert_eq!(code(&client, action, &params).await, expected, "{action} {params:?}");
    }
    assert!(!server.has_logged("token.unknown_keys"));
    let (status, body) = ready(&server).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "{body}");
    let mut rows = named(&installation);
    assert!(rows.iter().any(|row| row.starts_with("key_versions ")), "{rows:?}");
    rows.retain(|row| !row.starts_with("key_versions "));
    let mut expected: Vec<_> = keys[..2].iter().map(|key| format!("keys {key:?}")).collect();
    expected.extend(["principals \"user/bob\"", "operator_events \"0\""].map(str::to_owned));
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
    assert_eq!(server.stop(), Some(0));
    // Their keys are not taken for such as only the token has.
    let found = installation.configured(&["recover", "--dry-run", "--json"]).json();
    assert_eq!((&found["keys"], found["left_alone"].as_array().unwrap().len()), (&json!([]), 2));
    installation.configured(&["user", "detach", "bob", "deny"]).done();
    // The gateway makes the signed change.
    assert_eq!(installation.serve().stop(), Some(0));
    assert!(!named(&installation).contains(&"principals \"user/bob\"".to_owned()));
}
