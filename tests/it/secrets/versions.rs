//! Versions and their labels.

use serde_json::json;

use super::{create, put, value, versions};
use crate::support::gateway::{Gateway, refusal, text};

#[tokio::test]
async fn a_repeated_put_changes_nothing_and_another_value_is_refused() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    let stored = put(&gateway, "db", "v2", "two").await;
    assert_eq!(stored["VersionStages"], json!({"VersionStage": ["ACSCurrent"]}));
    let params = [("SecretName", "db"), ("VersionId", "v1"), ("SecretData", "one")];
    let stages = ("VersionStages", r#"["ACSCurrent"]"#);
    let same = gateway.call("PutSecretValue", &[&params[..], &[stages]].concat()).await;
    assert_eq!(same["VersionStages"], json!({"VersionStage": ["ACSPrevious"]}));
    assert_eq!(value(&gateway, "db").await, "two");
    let exists = refusal(409, "Rejected.ResourceExist");
    let binary = [&params[..], &[("SecretDataType", "binary")]].concat();
    assert_eq!(gateway.refused("PutSecretValue", &binary).await, exists);
    let other = [params[0], params[1], ("SecretData", "two")];
    assert_eq!(gateway.refused("PutSecretValue", &other).await, exists);
    assert_eq!(versions(&gateway, "db").await, ["v2 ACSCurrent", "v1 ACSPrevious"]);
}

#[tokio::test]
async fn guessing_a_value_by_puts_is_throttled() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    let mut codes = Vec::new();
    for guess in ["a", "b", "c", "d", "e", "f", "one"] {
        let params = [("SecretName", "db"), ("VersionId", "v1"), ("SecretData", guess)];
        codes.push(gateway.refused("PutSecretValue", &params).await);
    }
    let (compared, throttled) = codes.split_at(5);
    assert!(compared.iter().all(|code| *code == refusal(409, "Rejected.ResourceExist")));
    // The right value is not told either.
    assert!(throttled.iter().all(|code| *code == refusal(429, "Rejected.Throttling")), "{codes:?}");
    // A new version is no guess.
    put(&gateway, "db", "v2", "two").await;
}

#[tokio::test]
async fn both_forms_of_stages_are_accepted_and_lists_are_always_there() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    let put = async |version: &str, stages: &str| {
        let params = [("SecretName", "db"), ("VersionId", version), ("SecretData", "x")];
        let stages = ("VersionStages", stages);
        gateway.call("PutSecretValue", &[&params[..], &[stages]].concat()).await
    };
    put("v2", r#"["ACSCurrent","blue"]"#).await;
    put("v3", r#"{"VersionStage":["ACSNext"]}"#).await;
    put("v4", r#"["blue"]"#).await;
    assert_eq!(
        versions(&gateway, "db").await,
        ["v4 blue", "v3 ACSNext", "v2 ACSCurrent", "v1 ACSPrevious"]
    );
    put("v5", "[]").await;
    assert_eq!(versions(&gateway, "db").await[0], "v5 ACSCurrent");
    let listed = gateway.call("ListSecretVersionIds", &[("SecretName", "db")]).await;
    assert_eq!(listed["TotalCount"], 4);
    let all = [("SecretName", "db"), ("IncludeDeprecated", "true"), ("PageSize", "100")];
    let listed = gateway.call("ListSecretVersionIds", &all).await;
    let oldest = listed["VersionIds"]["VersionId"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (text(&oldest["VersionId"]), &oldest["VersionStages"]),
        ("v1", &json!({"VersionStage": []}))
    );
    for stages in [r#"["ACSCurrent","ACSPrevious"]"#, r#"["two words"]"#, "x"] {
        let params = [("SecretName", "db"), ("VersionId", "v9"), ("SecretData", "x")];
        let params = [&params[..], &[("VersionStages", stages)]].concat();
        let refused = gateway.refused("PutSecretValue", &params).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{stages}");
    }
}

#[tokio::test]
async fn a_version_is_read_by_id_or_label_and_the_id_wins() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    put(&gateway, "db", "v2", "two").await;
    let name = ("SecretName", "db");
    for (params, expected) in [
        (vec![], "two"),
        (vec![("VersionStage", "ACSPrevious")], "one"),
        (vec![("VersionId", "v1")], "one"),
        (vec![("VersionId", "v1"), ("VersionStage", "ACSCurrent")], "one"),
        (vec![("FetchExtendedConfig", "True")], "two"),
    ] {
        let read = gateway.call("GetSecretValue", &[&[name], &params[..]].concat()).await;
        assert_eq!(text(&read["SecretData"]), expected, "{params:?}");
    }
    for (params, expected) in [
        (vec![("VersionId", "v3")], (404, "Forbidden.ResourceNotFound")),
        (vec![("VersionStage", "blue")], (404, "Forbidden.ResourceNotFound")),
        (vec![("VersionId", "v3"), ("VersionStage", "ACSCurrent")], (400, "InvalidParameter")),
        (vec![("Recipient", "{}")], (400, "UnsupportedOperation")),
    ] {
        let refused = gateway.refused("GetSecretValue", &[&[name], &params[..]].concat()).await;
        assert_eq!(refused, refusal(expected.0, expected.1), "{params:?}");
    }
}

#[tokio::test]
async fn labels_are_moved_and_removed() {
    let gateway = Gateway::start();
    create(&gateway, "db", "one").await;
    put(&gateway, "db", "v2", "two").await;
    let current = [("SecretName", "db"), ("VersionStage", "ACSCurrent")];
    let (to, from) = ("MoveToVersion", "RemoveFromVersion");
    let update = "UpdateSecretVersionStage";
    // Back to the former version, in one call.
    gateway.call(update, &[&current[..], &[(to, "v1")]].concat()).await;
    assert_eq!(value(&gateway, "db").await, "one");
    assert_eq!(versions(&gateway, "db").await, ["v2 ACSPrevious", "v1 ACSCurrent"]);
    let blue = [("SecretName", "db"), ("VersionStage", "blue")];
    gateway.call(update, &[&blue[..], &[(to, "v2")]].concat()).await;
    gateway.call(update, &[&blue[..], &[(to, "v1"), (from, "v2")]].concat()).await;
    assert_eq!(versions(&gateway, "db").await, ["v2 ACSPrevious", "v1 ACSCurrent blue"]);
    for (params, expected) in [
        (vec![], (400, "MissingParameter")),
        (vec![(to, "v1"), (from, "v2")], (400, "InvalidParameter")),
        (vec![(to, "v9")], (404, "Forbidden.ResourceNotFound")),
        (vec![(from, "v2")], (400, "InvalidParameter")),
    ] {
        let refused = gateway.refused(update, &[&blue[..], &params].concat()).await;
        assert_eq!(refused, refusal(expected.0, expected.1), "{params:?}");
    }
    let refused = gateway.refused(update, &[&current[..], &[(from, "v1")]].concat()).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
    gateway.call(update, &[&blue[..], &[(from, "v1")]].concat()).await;
    assert_eq!(versions(&gateway, "db").await, ["v2 ACSPrevious", "v1 ACSCurrent"]);
}

#[tokio::test]
async fn the_ninth_label_is_refused_and_the_eleventh_version_drops_one_without_a_label() {
    let gateway = Gateway::start();
    create(&gateway, "db", "1").await;
    for number in 2..=7 {
        let version = format!("v{number}");
        let stages = format!(r#"["label-{number}"]"#);
        let params = [("SecretName", "db"), ("VersionId", &*version), ("SecretData", &*version)];
        gateway
            .call("PutSecretValue", &[&params[..], &[("VersionStages", &*stages)]].concat())
            .await;
    }
    put(&gateway, "db", "v8", "8").await;
    let ninth = [("SecretName", "db"), ("VersionId", "v9"), ("SecretData", "9")];
    let ninth = [&ninth[..], &[("VersionStages", r#"["label-9"]"#)]].concat();
    let refused = gateway.refused("PutSecretValue", &ninth).await;
    assert_eq!(refused, refusal(400, "Rejected.LimitExceeded"));
    for number in 9..=11 {
        put(&gateway, "db", &format!("v{number}"), "x").await;
    }
    let left = versions(&gateway, "db").await;
    assert_eq!(left.len(), 10);
    assert_eq!((&*left[0], &*left[1]), ("v11 ACSCurrent", "v10 ACSPrevious"));
    assert!(!left.iter().any(|version| version == "v1"), "{left:?}");
    let dropped =
        gateway.refused("GetSecretValue", &[("SecretName", "db"), ("VersionId", "v1")]).await;
    assert_eq!(dropped, refusal(404, "Forbidden.ResourceNotFound"));
}
