//! The life of a secret, and what is possible while its deletion is scheduled.

use hsmgate::model::Time;
use serde_json::{Value, json};

use super::client_keys::{reader, request};
use super::{batch_error, create, create_with, put, value, versions};
use crate::support::gateway::{Gateway, refusal, text};

#[tokio::test]
async fn a_secret_is_created_described_listed_and_read() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.as_str();
    let tags = ("Tags", r#"[{"TagKey":"team","TagValue":"orders"}]"#);
    let more = [
        ("EncryptionKeyId", gateway.dev.alias.as_str()),
        ("Description", "the password"),
        ("SecretDataType", "binary"),
        ("ExtendedConfig", r#"{"a":1}"#),
        ("EnableAutomaticRotation", "false"),
        tags,
    ];
    let made = create_with(&gateway, "db/orders", "hunter2", &more).await;
    let arn = format!("acs:kms:{}:{}:secret/db/orders", gateway.dev.region, gateway.dev.account);
    assert_eq!(text(&made["Arn"]), arn);
    assert_eq!(made["SecretName"], "db/orders");
    assert_eq!((&made["VersionId"], &made["SecretType"]), (&json!("v1"), &json!("Generic")));
    assert!(made.get("DKMSInstanceId").is_none() && made.get("AutomaticRotation").is_none());
    create(&gateway, "a", "x").await;
    for name in ["db/orders", arn.as_str()] {
        let params = [("SecretName", name), ("FetchTags", "True")];
        let described = gateway.call("DescribeSecret", &params).await;
        assert_eq!((text(&described["Arn"]), text(&described["EncryptionKeyId"])), (&*arn, key));
        assert_eq!(described["Description"], "the password");
        assert_eq!(described["Tags"], json!({"Tag": [{"TagKey": "team", "TagValue": "orders"}]}));
        assert_eq!(described["CreateTime"], described["UpdateTime"]);
        assert!(described.get("PlannedDeleteTime").is_none());
        let read = gateway.call("GetSecretValue", &[("SecretName", name)]).await;
        assert_eq!(read["SecretData"], "hunter2");
        assert_eq!(read["SecretDataType"], "binary");
        assert_eq!(read["VersionStages"], json!({"VersionStage": ["ACSCurrent"]}));
        assert_eq!(read["CreateTime"], described["CreateTime"]);
    }
    let bare = gateway.call("DescribeSecret", &[("SecretName", "a")]).await;
    for absent in ["EncryptionKeyId", "DKMSInstanceId", "Tags", "RotationInterval"] {
        assert!(bare.get(absent).is_none(), "{absent}");
    }
    let listed = gateway.call("ListSecrets", &[("FetchTags", "true")]).await;
    let rows = listed["SecretList"]["Secret"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| text(&row["SecretName"])).collect::<Vec<_>>(),
        ["a", "db/orders"]
    );
    assert_eq!((&rows[0]["Tags"], &listed["TotalCount"]), (&json!({"Tag": []}), &json!(2)));
    // The key of the gateway that encrypts the other secret is no key of the account.
    let keys = gateway.call("ListKeys", &[]).await;
    assert_eq!(keys["TotalCount"], 1);
}

#[tokio::test]
async fn secrets_are_filtered() {
    let gateway = Gateway::start();
    let tags = [("Tags", r#"[{"TagKey":"team","TagValue":"orders"}]"#), ("Description", "d")];
    create_with(&gateway, "a", "x", &tags).await;
    create(&gateway, "b", "x").await;
    for (filters, names) in [
        (r#"[{"Key":"SecretName","Values":["b","c"]}]"#, &["b"][..]),
        (r#"[{"Key":"TagKey","Values":["team"]},{"Key":"TagValue","Values":["orders"]}]"#, &["a"]),
        (r#"[{"Key":"TagKey","Values":["team"]},{"Key":"SecretName","Values":["b"]}]"#, &[]),
        (r#"[{"Key":"Description","Values":["d"]}]"#, &["a"]),
        (r#"[{"Key":"SecretType","Values":["generic"]}]"#, &["a", "b"]),
        (r#"[{"Key":"SecretType","Values":["RDS"]}]"#, &[]),
        (r#"[{"Key":"SecretName","Values":[]}]"#, &["a", "b"]),
    ] {
        let listed = gateway.call("ListSecrets", &[("Filters", filters)]).await;
        let rows = listed["SecretList"]["Secret"].as_array().unwrap();
        let found: Vec<_> = rows.iter().map(|row| text(&row["SecretName"])).collect();
        assert_eq!(found, names, "{filters}");
    }
    for filters in ["x", r#"[{"Key":"Age","Values":[]}]"#] {
        let refused = gateway.refused("ListSecrets", &[("Filters", filters)]).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{filters}");
    }
}

#[tokio::test]
async fn every_operation_in_the_window_does_what_the_table_says() {
    let gateway = Gateway::start();
    create(&gateway, "db", "hunter2").await;
    let name = ("SecretName", "db");
    let scheduled = gateway.call("DeleteSecret", &[name]).await;
    let at: Time = text(&scheduled["PlannedDeleteTime"]).parse().unwrap();
    let described = gateway.call("DescribeSecret", &[name]).await;
    assert_eq!(described["PlannedDeleteTime"], scheduled["PlannedDeleteTime"]);
    let created: Time = text(&described["CreateTime"]).parse().unwrap();
    let days = (at.unix() - created.unix()) / 86_400;
    assert_eq!(days, 30);
    let listed = gateway.call("ListSecrets", &[]).await;
    assert_eq!(
        listed["SecretList"]["Secret"][0]["PlannedDeleteTime"],
        scheduled["PlannedDeleteTime"]
    );
    assert_eq!(versions(&gateway, "db").await, ["v1 ACSCurrent"]);
    gateway.call("GetSecretPolicy", &[name]).await;
    let region = ("RegionId", gateway.dev.region.as_str());
    let resource = [region, ("ResourceType", "secret"), ("ResourceId.1", "db")];
    gateway.call("ListTagResources", &resource).await;
    let data = [name, ("VersionId", "v2"), ("SecretData", "x")];
    let policy = gateway.call("GetSecretPolicy", &[name]).await;
    let policy = text(&policy["Policy"]).to_owned();
    let tag = [("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
    for (action, params) in [
        ("GetSecretValue", vec![name]),
        ("PutSecretValue", data.to_vec()),
        ("CreateSecret", data.to_vec()),
        ("UpdateSecret", vec![name, ("Description", "x")]),
        ("UpdateSecretVersionStage", vec![name, ("VersionStage", "a"), ("MoveToVersion", "v1")]),
        ("SetSecretPolicy", vec![name, ("Policy", &policy)]),
        ("TagResource", vec![name, ("Tags", r#"[{"TagKey":"a"}]"#)]),
        ("UntagResource", vec![name, ("TagKeys", "a")]),
        ("TagResources", [&resource[..], &tag].concat()),
        ("UntagResources", [&resource[..], &[("All", "true")]].concat()),
        ("DeleteSecret", vec![name]),
    ] {
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, refusal(409, "Rejected.ResourceInDeleteWindow"), "{action}");
    }
    let in_window = refusal(409, "Rejected.ResourceInDeleteWindow");
    assert_eq!(batch_error(&gateway, "db").await, in_window);
    // The same version and value as before.
    let again = [name, ("VersionId", "v1"), ("SecretData", "hunter2")];
    assert_eq!(gateway.refused("PutSecretValue", &again).await, in_window);
    let client = reader(&gateway, "point", r#"["secret/*"]"#).await;
    assert_eq!(client.refused("GetSecretValue", &request("db")).await, in_window);
    gateway.call("RestoreSecret", &[name]).await;
    assert_eq!(value(&gateway, "db").await, "hunter2");
    // Nothing to restore.
    gateway.call("RestoreSecret", &[name]).await;
    gateway.call("DeleteSecret", &[name, ("RecoveryWindowInDays", "7")]).await;
    let force = [("ForceDeleteWithoutRecovery", "true"), ("RecoveryWindowInDays", "30")];
    gateway.call("DeleteSecret", &[name, force[0], force[1]]).await;
    let not_found = refusal(404, "Forbidden.ResourceNotFound");
    assert_eq!(gateway.refused("DescribeSecret", &[name]).await, not_found);
    assert_eq!(gateway.refused("GetSecretValue", &[name]).await, not_found);
    create(&gateway, "db", "another").await;
    assert_eq!(value(&gateway, "db").await, "another");
}

#[tokio::test]
async fn a_secret_is_deleted_at_the_end_of_its_window() {
    let gateway = Gateway::start();
    create(&gateway, "db", "x").await;
    create(&gateway, "kept", "y").await;
    gateway.call("DeleteSecret", &[("SecretName", "db")]).await;
    let gateway = gateway
        .restart_with(
            "UPDATE secrets SET body = json_set(body, '$.delete_at', '2020-01-01T00:00:00Z') \
             WHERE name = 'db'",
        )
        .await;
    crate::support::calls::until_code(
        &gateway.client,
        "DescribeSecret",
        &[("SecretName", "db")],
        "Forbidden.ResourceNotFound",
    )
    .await;
    assert_eq!(value(&gateway, "kept").await, "y");
    let file = gateway.state().join("audit.jsonl");
    let dir = gateway.stop();
    let destroyed = crate::support::audit_file::records(&file);
    let destroyed = destroyed.iter().filter(|it| it["eventName"] == "DestroySecret");
    let names: Vec<_> = destroyed.map(|it| text(&it["requestParameters"]["SecretName"])).collect();
    assert_eq!(names, ["db", "db"], "the intent and the outcome");
    drop(dir);
}

#[tokio::test]
async fn a_window_of_7_to_30_days_is_accepted() {
    let gateway = Gateway::start();
    create(&gateway, "db", "x").await;
    for days in ["6", "31", "x", "-7"] {
        let params = [("SecretName", "db"), ("RecoveryWindowInDays", days)];
        let refused = gateway.refused("DeleteSecret", &params).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{days}");
    }
    assert_eq!(value(&gateway, "db").await, "x");
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_even_with_the_same_value() {
    let gateway = Gateway::start();
    create(&gateway, "db", "x").await;
    let again = [("SecretName", "db"), ("VersionId", "v1"), ("SecretData", "x")];
    let exists = refusal(409, "Rejected.ResourceExist");
    assert_eq!(gateway.refused("CreateSecret", &again).await, exists);
    create(&gateway, "DB", "y").await;
    assert_eq!(value(&gateway, "db").await, "x");
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_the_documented_codes() {
    let gateway = Gateway::start();
    let (name, version, data) = (("SecretName", "n"), ("VersionId", "v"), ("SecretData", "x"));
    let elsewhere = "acs:kms:cn-beijing:1234567890123456:secret/n";
    let rsa = gateway.create_key_with(&[("KeySpec", "RSA_2048")]).await;
    for (action, params, expected) in [
        ("CreateSecret", vec![name, version], (400, "MissingParameter")),
        ("CreateSecret", vec![name, version, ("SecretData", "")], (400, "MissingParameter")),
        ("CreateSecret", vec![version, data], (400, "MissingParameter")),
        ("CreateSecret", vec![name, data], (400, "MissingParameter")),
        ("CreateSecret", vec![("SecretName", "a//b"), version, data], (400, "InvalidParameter")),
        ("CreateSecret", vec![("SecretName", "acs/x"), version, data], (400, "InvalidParameter")),
        ("CreateSecret", vec![name, ("VersionId", "a b"), data], (400, "InvalidParameter")),
        (
            "CreateSecret",
            vec![name, version, data, ("SecretDataType", "x")],
            (400, "InvalidParameter"),
        ),
        ("CreateSecret", vec![name, version, data, ("SecretType", "x")], (400, "InvalidParameter")),
        (
            "CreateSecret",
            vec![name, version, data, ("SecretType", "Rds")],
            (400, "Rejected.UnsupportedOperation"),
        ),
        (
            "CreateSecret",
            vec![name, version, data, ("EnableAutomaticRotation", "true")],
            (400, "Rejected.UnsupportedOperation"),
        ),
        (
            "CreateSecret",
            vec![name, version, data, ("DKMSInstanceId", "kst-1")],
            (403, "Forbidden.DKMSInstanceNotFound"),
        ),
        (
            "CreateSecret",
            vec![name, version, data, ("EncryptionKeyId", "key-none")],
            (404, "Forbidden.KeyNotFound"),
        ),
        (
            "CreateSecret",
            vec![name, version, data, ("EncryptionKeyId", "alias/none")],
            (404, "Forbidden.AliasNotFound"),
        ),
        (
            "CreateSecret",
            vec![name, version, data, ("EncryptionKeyId", &rsa)],
            (400, "InvalidParameter"),
        ),
        ("CreateSecret", vec![name, version, data, ("Policy", "{}")], (400, "InvalidParameter")),
        ("GetSecretValue", vec![name], (404, "Forbidden.ResourceNotFound")),
        ("GetSecretValue", vec![("SecretName", elsewhere)], (404, "Forbidden.ResourceNotFound")),
        ("DescribeSecret", vec![("SecretName", elsewhere)], (404, "Forbidden.ResourceNotFound")),
        ("PutSecretValue", vec![name, version, data], (404, "Forbidden.ResourceNotFound")),
        ("DeleteSecret", vec![name], (404, "Forbidden.ResourceNotFound")),
        (
            "TagResource",
            vec![name, ("Tags", r#"[{"TagKey":"a"}]"#)],
            (404, "Forbidden.ResourceNotFound"),
        ),
    ] {
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, refusal(expected.0, expected.1), "{action} {params:?}");
    }
    // Nothing was created meanwhile.
    assert_eq!(gateway.call("ListSecrets", &[]).await["TotalCount"], 0);
}

#[tokio::test]
async fn a_generic_secret_is_not_rotated() {
    let gateway = Gateway::start();
    create(&gateway, "db", "x").await;
    let (name, rotates) = (("SecretName", "db"), "EnableAutomaticRotation");
    let stated = gateway.call("UpdateSecretRotationPolicy", &[name, (rotates, "false")]).await;
    assert_eq!(stated["SecretName"], "db");
    let unsupported = refusal(400, "Rejected.UnsupportedOperation");
    let params = [name, (rotates, "true"), ("RotationInterval", "7d")];
    assert_eq!(gateway.refused("UpdateSecretRotationPolicy", &params).await, unsupported);
    let params = [name, ("VersionId", "v2")];
    assert_eq!(gateway.refused("RotateSecret", &params).await, unsupported);
}

#[tokio::test]
async fn a_description_and_tags_are_changed() {
    let gateway = Gateway::start();
    create_with(&gateway, "db", "x", &[("Description", "old")]).await;
    let name = ("SecretName", "db");
    gateway.call("UpdateSecret", &[name]).await;
    let description = async || gateway.call("DescribeSecret", &[name]).await["Description"].clone();
    assert_eq!(description().await, "old");
    gateway.call("UpdateSecret", &[name, ("Description", "new")]).await;
    assert_eq!(description().await, "new");
    gateway
        .call("UpdateSecret", &[name, ("Description", ""), ("ExtendedConfig.CustomData", "x")])
        .await;
    assert_eq!(description().await, "");
    let tags = r#"[{"TagKey":"a","TagValue":"1"},{"TagKey":"b"}]"#;
    gateway.call("TagResource", &[name, ("Tags", tags)]).await;
    gateway.call("UntagResource", &[name, ("TagKeys", r#"["b"]"#)]).await;
    let region = ("RegionId", gateway.dev.region.as_str());
    let resource = [region, ("ResourceType", "secret"), ("ResourceId.1", "db")];
    let more = [("Tag.1.Key", "c"), ("Tag.1.Value", "3")];
    gateway.call("TagResources", &[&resource[..], &more].concat()).await;
    let rows = async |params: &[(&str, &str)]| {
        let listed = gateway.call("ListTagResources", params).await;
        let row = |row: &Value| {
            assert_eq!(row["ResourceType"], "secret");
            format!(
                "{} {}={}",
                text(&row["ResourceId"]),
                text(&row["TagKey"]),
                text(&row["TagValue"])
            )
        };
        listed["TagResources"]["TagResource"]
            .as_array()
            .unwrap()
            .iter()
            .map(row)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&resource).await, ["db a=1", "db c=3"]);
    assert_eq!(rows(&resource[..2]).await, ["db a=1", "db c=3"]);
    gateway.call("UntagResources", &[&resource[..], &[("All", "true")]].concat()).await;
    assert_eq!(rows(&resource).await, Vec::<String>::new());
    let unknown = [region, ("ResourceType", "secret"), ("ResourceId.1", "none")];
    let refused = gateway.refused("ListTagResources", &unknown).await;
    assert_eq!(refused, refusal(404, "InvalidResourceId.NotFound"));
}

#[tokio::test]
async fn a_secret_is_there_after_a_restart() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    put(&gateway, "db", "v2", "two").await;
    let gateway = gateway.kill_and_restart();
    assert_eq!(value(&gateway, "db").await, "two");
    assert_eq!(versions(&gateway, "db").await, ["v2 ACSCurrent", "v1 ACSPrevious"]);
}
