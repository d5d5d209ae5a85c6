//! Every value is returned byte for byte, or refused.

use serde_json::Value;

use super::create;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::raw_http::RawResponse;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

/// Values that are easily changed on the way, each with whether XML can carry it.
fn awkward() -> Vec<(String, bool)> {
    let texts = [
        " leading and trailing ",
        "\t\n",
        "a\rb",
        "a\r\nb\n",
        "a\0b",
        "\u{1}\u{1f}",
        "]]>",
        "<a href=\"b\">&amp;</a>",
        "\"\"\"\"",
        "\\\\n\\u0041",
        "%25+%20&=;",
        "{\"a\":\"b\"}",
        "ключ 密钥 🔑",
        "\u{2028}\u{feff}\u{200b}",
        "\u{fffe}\u{ffff}",
        "e\u{301}",
        "-_-_",
    ];
    let mut values: Vec<_> = texts.map(|text| (text.to_owned(), is_xml_text(text))).into();
    values.push(("x".repeat(30_720), true));
    values.push(("\"".repeat(30_720), true));
    values.push(("ж".repeat(15_360), true));
    values
}

fn is_xml_text(text: &str) -> bool {
    !text.contains(['\0', '\u{1}', '\u{1f}', '\u{fffe}', '\u{ffff}'])
}

async fn send(
    gateway: &Gateway,
    variant: SigningVariant,
    action: &str,
    params: &[(&str, &str)],
) -> RawResponse {
    Call::new(gateway, variant, action, params).signed().send(gateway).await
}

/// The text of an element, as an XML parser reads it.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    let (escaped, _) = rest.split_once(&format!("</{name}>")).unwrap();
    // An XML parser reads a bare carriage return as a line feed.
    assert!(!escaped.contains('\r'), "{escaped:?}");
    quick_xml::escape::unescape(escaped).unwrap().into_owned()
}

#[tokio::test]
async fn every_value_comes_back_by_every_way_and_in_both_formats() {
    let gateway = Gateway::start();
    let variants = [
        SigningVariant(Signing::Rpc1, ParamLocation::PostQuery),
        SigningVariant(Signing::Rpc1, ParamLocation::PostForm),
        SigningVariant(Signing::Acs3, ParamLocation::PostForm),
        SigningVariant(Signing::Acs4, ParamLocation::GetQuery),
    ];
    for (at, (value, is_xml)) in awkward().iter().enumerate() {
        let name = format!("secret-{at}");
        create(&gateway, &name, "first").await;
        for (number, variant) in variants.into_iter().enumerate() {
            let version = format!("v{}", number + 2);
            let params = [("SecretName", &*name), ("VersionId", &*version), ("SecretData", value)];
            let put = send(&gateway, variant, "PutSecretValue", &params).await;
            assert_eq!(put.status, 200, "{value:?} {variant:?}: {}", put.body);
            // An equal value is found equal, whichever way it comes.
            let again = send(&gateway, variants[0], "PutSecretValue", &params).await;
            assert_eq!(again.status, 200, "{value:?} {variant:?}: {}", again.body);
            let read = [("SecretName", &*name), ("VersionStage", "ACSCurrent")];
            let json: Value = send(&gateway, variant, "GetSecretValue", &read).await.json();
            assert_eq!(text(&json["SecretData"]), value, "{variant:?}");
            let mut call = Call::new(&gateway, variant, "GetSecretValue", &read);
            if variant.is_rpc1() {
                call.set("Format", "XML");
            } else {
                call.set_header("accept", "application/xml");
            }
            let xml = call.signed().send(&gateway).await;
            if *is_xml {
                assert_eq!(xml.status, 200, "{value:?}");
                assert_eq!(&element(&xml.body, "SecretData"), value, "{variant:?}");
                assert_eq!(element(&xml.body, "VersionId"), version);
            } else {
                assert_eq!(xml.status, 400, "{value:?}");
                assert!(xml.body.contains("<Code>InvalidParameter</Code>"), "{}", xml.body);
                assert!(xml.body.contains("Format=JSON"), "{}", xml.body);
            }
        }
    }
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_with_its_length() {
    let gateway = Gateway::start();
    let value = "x".repeat(30_721);
    let params = [("SecretName", "a"), ("VersionId", "v1"), ("SecretData", &*value)];
    let variant = SigningVariant(Signing::Acs3, ParamLocation::PostForm);
    let refused = send(&gateway, variant, "CreateSecret", &params).await;
    assert_eq!(refused.refusal(), refusal(400, "InvalidParameter"));
    assert!(refused.message().contains("30721") && refused.message().contains("30720"));
}

#[tokio::test]
async fn a_value_is_not_stored_by_caches_on_the_way() {
    let gateway = Gateway::start();
    create(&gateway, "a", "x").await;
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::GetQuery);
    for (action, params) in [
        ("GetSecretValue", vec![("SecretName", "a")]),
        ("GetRandomPassword", vec![]),
        ("GetSecretValue", vec![("SecretName", "b")]),
    ] {
        let answer = send(&gateway, variant, action, &params).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{action}");
    }
}

#[tokio::test]
async fn a_dry_run_checks_and_does_not_decrypt() {
    let gateway = Gateway::start();
    create(&gateway, "a", "x").await;
    let dry = ("DryRun", "true");
    let refused = gateway.refused("GetSecretValue", &[("SecretName", "a"), dry]).await;
    assert_eq!(refused, refusal(400, "DryRunOperationError"));
    let refused = gateway.refused("GetSecretValue", &[("SecretName", "b"), dry]).await;
    assert_eq!(refused, refusal(400, "ValidationError"));
}

#[tokio::test]
async fn random_passwords_have_the_characters_that_are_asked_for() {
    let gateway = Gateway::start();
    let password = async |params: &[(&str, &str)]| {
        let made = gateway.call("GetRandomPassword", params).await;
        text(&made["RandomPassword"]).to_owned()
    };
    let (one, other) = (password(&[]).await, password(&[]).await);
    assert!(one != other && one.len() == 32 && one.is_ascii());
    let is_each = |test: fn(&char) -> bool| one.chars().any(|character| test(&character));
    assert!(is_each(char::is_ascii_lowercase) && is_each(char::is_ascii_uppercase));
    assert!(is_each(char::is_ascii_digit) && is_each(char::is_ascii_punctuation));
    let digits = password(&[
        ("PasswordLength", "8"),
        ("ExcludeLowercase", "true"),
        ("ExcludeUppercase", "true"),
        ("ExcludePunctuation", "true"),
        ("ExcludeCharacters", "01234"),
    ]);
    let digits = digits.await;
    assert!(digits.len() == 8 && digits.chars().all(|one| "56789".contains(one)), "{digits}");
    for params in
        [[("PasswordLength", "7")], [("PasswordLength", "129")], [("ExcludeNumbers", "x")]]
    {
        let refused = gateway.refused("GetRandomPassword", &params).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{params:?}");
    }
}

#[tokio::test]
async fn a_batch_returns_each_value_or_its_error_and_records_each_alone() {
    let gateway = Gateway::start();
    create(&gateway, "a", "one").await;
    create(&gateway, "b", "two\0").await;
    let list = r#"[{"SecretName":"a"},{"SecretName":"none"},{"SecretName":"b","VersionId":"v1",
        "FetchExtendedConfig":"true"},{"SecretName":"a","VersionStage":"blue"},{"SecretName":"a b"}]"#;
    let got = gateway.call("BatchGetSecretValue", &[("SecretsList", list)]).await;
    let values = got["SecretValues"].as_array().unwrap();
    let shown: Vec<_> =
        values.iter().map(|one| (text(&one["SecretName"]), text(&one["SecretData"]))).collect();
    assert_eq!(shown, [("a", "one"), ("b", "two\0")]);
    let errors = got["Errors"].as_array().unwrap();
    let shown: Vec<_> = errors
        .iter()
        .map(|one| {
            (text(&one["SecretName"]), text(&one["Code"]), one["HttpStatus"].as_u64().unwrap())
        })
        .collect();
    let not_found = "Forbidden.ResourceNotFound";
    assert_eq!(
        shown,
        [("none", not_found, 404), ("a", not_found, 404), ("a b", "InvalidParameter", 400)]
    );
    // In XML, only the value that XML cannot carry fails.
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::PostForm);
    let mut call = Call::new(&gateway, variant, "BatchGetSecretValue", &[("SecretsList", list)]);
    call.set("Format", "XML");
    let xml = call.signed().send(&gateway).await.body;
    assert_eq!(xml.matches("<SecretData>").count(), 1, "{xml}");
    for list in ["[]", "x", "[{}]", &format!("[{}]", [r#"{"SecretName":"a"}"#; 21].join(","))] {
        let refused = gateway.refused("BatchGetSecretValue", &[("SecretsList", list)]).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"), "{list}");
    }
    let file = gateway.state().join("audit.jsonl");
    let dir = gateway.stop();
    let records = crate::support::audit_file::records(&file);
    let read = |id: &Value| {
        let of = |it: &&Value| it["requestId"] == *id && it["eventName"] == "GetSecretValue";
        records.iter().find(of).map(|it| it["responseElements"]["VersionId"].clone())
    };
    for value in values {
        assert_eq!(read(&value["RequestId"]), Some(value["VersionId"].clone()));
    }
    let entries = records.iter().filter(|it| it["eventName"] == "GetSecretValue");
    assert_eq!(entries.count(), 10, "five entries of each format");
    drop(dir);
}
