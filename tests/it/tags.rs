//! Tags, by both families of tag operations.

use serde_json::Value;

use crate::support::gateway::{Gateway, refusal, text};

const ORDERS: &str = r#"[{"TagKey":"team","TagValue":"orders"},{"TagKey":"stage","TagValue":""}]"#;

/// Region, type and resources of the newer operations.
fn resources<'a>(gateway: &'a Gateway, keys: &[&'a str]) -> Vec<(String, &'a str)> {
    let mut params = vec![
        ("RegionId".to_owned(), gateway.dev.region.as_str()),
        ("ResourceType".to_owned(), "key"),
    ];
    params.extend(keys.iter().zip(1..).map(|(key, at)| (format!("ResourceId.{at}"), *key)));
    params
}

fn borrowed<'a>(params: &'a [(String, &'a str)]) -> Vec<(&'a str, &'a str)> {
    params.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

async fn tags(gateway: &Gateway, key: &str) -> Vec<(String, String)> {
    let answer = gateway.call("ListResourceTags", &[("KeyId", key)]).await;
    let rows = answer["Tags"]["Tag"].as_array().unwrap();
    let pair = |row: &Value| {
        assert_eq!(text(&row["KeyId"]), key);
        (text(&row["TagKey"]).to_owned(), text(&row["TagValue"]).to_owned())
    };
    rows.iter().map(pair).collect()
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let gateway = Gateway::start();
    let key = gateway.create_key_with(&[("Tags", ORDERS)]).await;
    let id = ("KeyId", key.as_str());
    assert_eq!(tags(&gateway, &key).await, pairs(&[("stage", ""), ("team", "orders")]));
    let more = r#"[{"TagKey":"team","TagValue":"billing"},{"TagKey":"成本","TagValue":"a/b"}]"#;
    gateway.call("TagResource", &[id, ("Tags", more)]).await;
    let all = pairs(&[("stage", ""), ("team", "billing"), ("成本", "a/b")]);
    assert_eq!(tags(&gateway, &key).await, all);
    gateway.call("UntagResource", &[id, ("TagKeys", r#"["stage","unknown"]"#)]).await;
    gateway.call("UntagResource", &[id, ("TagKeys", "team")]).await;
    assert_eq!(tags(&gateway, &key).await, pairs(&[("成本", "a/b")]));
}

#[tokio::test]
async fn one_resource_must_be_named_and_certificates_are_not_served() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    let secret = ("SecretName", "password");
    let certificate = ("CertificateId", "c");
    for (action, what) in [("TagResource", ("Tags", ORDERS)), ("UntagResource", ("TagKeys", "a"))] {
        for (params, expected) in [
            (vec![what], refusal(400, "MissingParameter")),
            (vec![id], refusal(400, "MissingParameter")),
            (vec![what, id, secret], refusal(400, "InvalidParameter")),
            (vec![what, secret, certificate], refusal(400, "InvalidParameter")),
            (vec![what, secret], refusal(404, "Forbidden.ResourceNotFound")),
            (vec![what, certificate], refusal(400, "UnsupportedOperation")),
        ] {
            assert_eq!(gateway.refused(action, &params).await, expected, "{action} {params:?}");
        }
    }
}

#[tokio::test]
async fn invalid_tags_and_a_21st_tag_are_refused() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    // One fault has one code, whichever operation brings the tag.
    let (bad_key, bad_value) = ("InvalidParameter.TagKey", "InvalidParameter.TagValue");
    for (bad, code) in [
        ("x", "InvalidParameter"),
        ("{}", "InvalidParameter"),
        (r#"[{"Key":"a","Value":""}]"#, "InvalidParameter"),
        (r#"[{"TagKey":"acs:a","TagValue":""}]"#, bad_key),
        (r#"[{"TagKey":"aliyun","TagValue":""}]"#, bad_key),
        (r#"[{"TagKey":"a b","TagValue":""}]"#, bad_key),
        (r#"[{"TagKey":"","TagValue":"a"}]"#, bad_key),
        (r#"[{"TagKey":"a","TagValue":"b c"}]"#, bad_value),
        (r#"[{"TagKey":"a","TagValue":"1"},{"TagKey":"a","TagValue":"2"}]"#, "Duplicate.TagKey"),
    ] {
        let bad = ("Tags", bad);
        for (action, params) in [("TagResource", vec![id, bad]), ("CreateKey", vec![bad])] {
            let refused = gateway.refused(action, &params).await;
            assert_eq!(refused, refusal(400, code), "{action} {}", bad.1);
        }
    }
    for keys in [r#"["acs:a"]"#, "a b", "a,,b", r#"[""]"#] {
        let refused = gateway.refused("UntagResource", &[id, ("TagKeys", keys)]).await;
        assert_eq!(refused, refusal(400, bad_key), "{keys}");
    }
    let refused = gateway.refused("UntagResource", &[id, ("TagKeys", "[1]")]).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
    let tag = |at| format!(r#"{{"TagKey":"k{at}","TagValue":"v"}}"#);
    let twenty = format!("[{}]", (0..20).map(tag).collect::<Vec<_>>().join(","));
    gateway.call("TagResource", &[id, ("Tags", &twenty)]).await;
    gateway.call("TagResource", &[id, ("Tags", &twenty)]).await;
    let refused = gateway.refused("TagResource", &[id, ("Tags", ORDERS)]).await;
    assert_eq!(refused, refusal(400, "Rejected.LimitExceeded"));
    assert_eq!(tags(&gateway, id.1).await.len(), 20);
}

#[tokio::test]
async fn several_keys_are_tagged_at_once() {
    let gateway = Gateway::start();
    let (one, two) = (gateway.create_key().await, gateway.create_key().await);
    let mut params = resources(&gateway, &[&one, &two]);
    params.push(("Tag.1.Key".to_owned(), "team"));
    params.push(("Tag.1.Value".to_owned(), "orders"));
    params.push(("Tag.2.Key".to_owned(), "stage"));
    gateway.call("TagResources", &borrowed(&params)).await;
    for key in [&one, &two] {
        assert_eq!(tags(&gateway, key).await, pairs(&[("stage", ""), ("team", "orders")]));
    }
    let mut params = resources(&gateway, &[&one, &two]);
    params.push(("TagKey.1".to_owned(), "team"));
    params.push(("TagKey.2".to_owned(), "unknown"));
    // All counts only without TagKey.
    params.push(("All".to_owned(), "true"));
    gateway.call("UntagResources", &borrowed(&params)).await;
    assert_eq!(tags(&gateway, &one).await, pairs(&[("stage", "")]));
    let mut params = resources(&gateway, &[&one]);
    params.push(("All".to_owned(), "true"));
    gateway.call("UntagResources", &borrowed(&params)).await;
    assert_eq!(tags(&gateway, &one).await, []);
    assert_eq!(tags(&gateway, &two).await, pairs(&[("stage", "")]));
}

#[tokio::test]
async fn the_newer_operations_have_codes_of_their_own() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.as_str();
    let unknown = "key-hsm000000000000000000";
    for (action, keys, more, expected) in [
        ("TagResources", vec![key], vec![("Tag.1.Key", "acs:a")], (400, "InvalidParameter.TagKey")),
        ("TagResources", vec![key], vec![("Tag.1.Value", "a")], (400, "InvalidParameter.TagKey")),
        (
            "TagResources",
            vec![key],
            vec![("Tag.1.Key", "a"), ("Tag.1.Value", "b c")],
            (400, "InvalidParameter.TagValue"),
        ),
        (
            "TagResources",
            vec![key],
            vec![("Tag.1.Key", "a"), ("Tag.2.Key", "a")],
            (400, "Duplicate.TagKey"),
        ),
        ("TagResources", vec![key], vec![], (400, "MissingParameter")),
        ("TagResources", vec![], vec![("Tag.1.Key", "a")], (400, "MissingParameter")),
        ("TagResources", vec![key], vec![("Tag.2.Key", "a")], (400, "InvalidParameter")),
        (
            "TagResources",
            vec![unknown],
            vec![("Tag.1.Key", "a")],
            (404, "InvalidResourceId.NotFound"),
        ),
        ("TagResources", vec!["x"], vec![("Tag.1.Key", "a")], (404, "InvalidResourceId.NotFound")),
        ("UntagResources", vec![key], vec![], (400, "MissingParameter")),
        (
            "UntagResources",
            vec![key],
            vec![("TagKey.1", "acs:a")],
            (400, "InvalidParameter.TagKey"),
        ),
        (
            "UntagResources",
            vec![unknown],
            vec![("All", "true")],
            (404, "InvalidResourceId.NotFound"),
        ),
        ("ListTagResources", vec![unknown], vec![], (404, "InvalidResourceId.NotFound")),
        ("ListTagResources", vec![key], vec![("NextToken", "x")], (400, "InvalidParameter")),
    ] {
        let params = resources(&gateway, &keys);
        let params = [borrowed(&params), more].concat();
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, refusal(expected.0, expected.1), "{action} {params:?}");
    }
    for (name, value, expected) in [
        ("RegionId", "eu-central-1", (400, "InvalidParameter")),
        ("ResourceType", "table", (400, "InvalidParameter")),
        ("ResourceType", "secret", (404, "InvalidResourceId.NotFound")),
    ] {
        let params = resources(&gateway, &[key]);
        let mut params = borrowed(&params);
        params.retain(|(other, _)| *other != name);
        params.push((name, value));
        assert_eq!(
            gateway.refused("ListTagResources", &params).await,
            refusal(expected.0, expected.1)
        );
    }
    let too_many = vec![key; 51];
    let params = resources(&gateway, &too_many);
    let refused = gateway.refused("ListTagResources", &borrowed(&params)).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
}

#[tokio::test]
async fn the_tags_of_all_keys_are_listed_200_at_a_time() {
    let gateway = Gateway::start();
    let tag = |at| format!(r#"{{"TagKey":"k{at}","TagValue":"v"}}"#);
    let twenty = format!("[{}]", (0..20).map(tag).collect::<Vec<_>>().join(","));
    for _ in 0..11 {
        gateway.create_key_with(&[("Tags", &twenty)]).await;
    }
    let key = gateway.create_key_with(&[("Tags", ORDERS)]).await;
    let mut seen = Vec::new();
    let mut token = String::new();
    for expected in [200, 22] {
        let mut params = resources(&gateway, &[]);
        params.push(("NextToken".to_owned(), &token));
        let answer = gateway.call("ListTagResources", &borrowed(&params)).await;
        let rows = answer["TagResources"]["TagResource"].as_array().unwrap().clone();
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| (row["ResourceId"].to_string(), row["TagKey"].clone())));
        let next = text(&answer["NextToken"]).to_owned();
        token = next;
    }
    assert_eq!(token, "");
    seen.sort_by_key(|(id, tag)| (id.clone(), tag.to_string()));
    seen.dedup();
    assert_eq!(seen.len(), 222);

    for (tags, rows) in [
        (vec![("Tag.1.Key", "team")], 2),
        (vec![("Tag.1.Key", "team"), ("Tag.1.Value", "orders")], 2),
        (vec![("Tag.1.Key", "team"), ("Tag.1.Value", "billing")], 0),
        (vec![("Tag.1.Key", "team"), ("Tag.2.Key", "k1")], 0),
    ] {
        let params = resources(&gateway, &[]);
        let params = [borrowed(&params), tags].concat();
        let answer = gateway.call("ListTagResources", &params).await;
        assert_eq!(answer["TagResources"]["TagResource"].as_array().unwrap().len(), rows);
    }
    let params = resources(&gateway, &[&key]);
    let answer = gateway.call("ListTagResources", &borrowed(&params)).await;
    let row = &answer["TagResources"]["TagResource"][1];
    assert_eq!(text(&row["ResourceId"]), key);
    assert_eq!(text(&row["ResourceType"]), "key");
    assert_eq!((text(&row["TagKey"]), text(&row["TagValue"])), ("team", "orders"));
}
