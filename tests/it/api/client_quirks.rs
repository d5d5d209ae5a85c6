//! Unusual forms of requests that users of the many clients report, each with the answer that the
//! pages of the API require.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::gateway::{Gateway, refusal, text};
use crate::support::raw_http::{self, RawResponse};
use crate::support::signed_calls::{Call, FORM, ParamLocation, Signing, SigningVariant};

const RPC: SigningVariant = SigningVariant(Signing::Rpc1, ParamLocation::PostQuery);
const ACS3: SigningVariant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

async fn send(gateway: &Gateway, action: &str, params: &[(&str, &str)]) -> RawResponse {
    Call::new(gateway, RPC, action, params).signed().send(gateway).await
}

/// The answer, which must be one.
async fn served(gateway: &Gateway, action: &str, params: &[(&str, &str)]) -> Value {
    let answer = send(gateway, action, params).await;
    assert_eq!(answer.status, 200, "{action} {params:?}: {}", answer.body);
    answer.json()
}

/// Asserts that a parameter is refused by its name.
async fn refuses(gateway: &Gateway, action: &str, params: &[(&str, &str)], code: &str, name: &str) {
    let answer = send(gateway, action, params).await;
    assert_eq!(answer.refusal(), refusal(400, code), "{action} {params:?}: {}", answer.body);
    let message = answer.message();
    assert!(message.contains(&format!("\"{name}\"")), "{action} {params:?}: {message}");
}

#[tokio::test]
async fn booleans_are_accepted_in_every_case_and_other_values_are_refused_by_name() {
    let gateway = Gateway::start();
    let key = ("KeyId", gateway.dev.key_id.as_str());
    for (word, state) in
        [("true", "Enabled"), ("False", "Disabled"), ("TRUE", "Enabled"), ("false", "Disabled")]
    {
        let params = [key, ("EnableDeletionProtection", word)];
        served(&gateway, "SetDeletionProtection", &params).await;
        assert_eq!(gateway.describe(key.1).await["DeletionProtection"], state, "{word}");
    }
    for word in ["1", "0", "yes", "on", " true", "null"] {
        let name = "EnableDeletionProtection";
        refuses(&gateway, "SetDeletionProtection", &[key, (name, word)], "InvalidParameter", name)
            .await;
        let params = [&ENCRYPT[..], &[("DryRun", word)]].concat();
        refuses(&gateway, "Encrypt", &params, "InvalidParameter", "DryRun").await;
    }
    let params = [&ENCRYPT[..], &[("DryRun", "True")]].concat();
    let answer = send(&gateway, "Encrypt", &params).await;
    assert_eq!(answer.refusal(), refusal(400, "DryRunOperationError"));
}

#[tokio::test]
async fn an_empty_optional_parameter_counts_as_absent() {
    let gateway = Gateway::start();
    let empty = |names: &[&'static str]| names.iter().map(|name| (*name, "")).collect::<Vec<_>>();
    let names = [
        "KeySpec",
        "KeyUsage",
        "Origin",
        "ProtectionLevel",
        "Description",
        "EnableAutomaticRotation",
        "RotationInterval",
        "DKMSInstanceId",
        "Tags",
        "Policy",
        "KeyStorageMechanism",
    ];
    let made = served(&gateway, "CreateKey", &empty(&names)).await;
    let made = &made["KeyMetadata"];
    assert_eq!(
        [&made["KeySpec"], &made["KeyUsage"], &made["Origin"], &made["ProtectionLevel"]],
        ["Aliyun_AES_256", "ENCRYPT/DECRYPT", "Aliyun_KMS", "SOFTWARE"]
    );
    let more =
        empty(&["EncryptionContext", "DryRun", "SecurityToken", "SignatureType", "RegionId"]);
    let encrypted = served(&gateway, "Encrypt", &[&ENCRYPT[..], &more].concat()).await;
    let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
    let params =
        [&[blob, ("EncryptionContext", "{}")][..], &empty(&["Recipient", "DryRun"])].concat();
    assert_eq!(served(&gateway, "Decrypt", &params).await["Plaintext"], ENCRYPT[1].1);
    let names = ["KeySpec", "NumberOfBytes", "EncryptionContext", "Recipient"];
    let params = [&ENCRYPT[..1], &empty(&names)].concat();
    let made = served(&gateway, "GenerateDataKey", &params).await;
    assert_eq!(text(&made["Plaintext"]).len(), 44);
    let listed = served(&gateway, "ListKeys", &empty(&["PageNumber", "PageSize", "Filters"])).await;
    assert_eq!((&listed["PageNumber"], &listed["PageSize"]), (&1.into(), &10.into()));
    // A required one that is empty is missing, and told so by its name.
    for (action, given, missing) in [
        ("Encrypt", &ENCRYPT[..1], "Plaintext"),
        ("Decrypt", &[], "CiphertextBlob"),
        ("CreateAlias", &ENCRYPT[..1], "AliasName"),
        ("TagResource", &ENCRYPT[..1], "Tags"),
        ("SetKeyPolicy", &ENCRYPT[..1], "Policy"),
    ] {
        let params = [given, &[(missing, "")]].concat();
        refuses(&gateway, action, &params, "MissingParameter", missing).await;
    }
}

#[tokio::test]
async fn a_number_is_its_digits_and_anything_else_is_refused_by_name() {
    let gateway = Gateway::start();
    for (name, good, bad) in [
        (
            "PageSize",
            &["1", "100", "007"][..],
            &["0", "101", " 5", "5 ", "1e1", "5.0", "-1", "five", "null"][..],
        ),
        ("PageNumber", &["1", "4294967295"], &["0", "-1", "4294967296", "1,5", "0x1"]),
    ] {
        for number in good {
            served(&gateway, "ListKeys", &[(name, number)]).await;
        }
        for number in bad {
            refuses(&gateway, "ListKeys", &[(name, number)], "InvalidParameter", name).await;
        }
    }
    let key = gateway.create_key().await;
    let key = ("KeyId", key.as_str());
    let name = "PendingWindowInDays";
    for number in ["6", "367", "7d", "7.0", " 7"] {
        refuses(&gateway, "ScheduleKeyDeletion", &[key, (name, number)], "InvalidParameter", name)
            .await;
    }
    for number in ["7", "366"] {
        served(&gateway, "ScheduleKeyDeletion", &[key, (name, number)]).await;
        served(&gateway, "CancelKeyDeletion", &[key]).await;
    }
}

#[tokio::test]
async fn pages_end_where_the_list_does_and_each_list_has_its_own_limit() {
    let gateway = Gateway::start();
    for _key in 0..4 {
        gateway.create_key().await;
    }
    let mut seen = Vec::new();
    for page in ["1", "2", "3", "4"] {
        let params = [("PageSize", "2"), ("PageNumber", page)];
        let listed = served(&gateway, "ListKeys", &params).await;
        assert_eq!(listed["TotalCount"], 5);
        let keys = listed["Keys"]["Key"].as_array().unwrap();
        seen.extend(keys.iter().map(|key| text(&key["KeyId"]).to_owned()));
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 5, "{seen:?}");
    for (action, more, size, beyond) in [
        ("ListKeys", &[][..], "100", "101"),
        ("ListAliases", &[], "100", "101"),
        ("ListAliasesByKeyId", &ENCRYPT[..1], "101", "102"),
        ("ListKeyVersions", &ENCRYPT[..1], "101", "102"),
        ("ListPolicies", &[], "100", "101"),
        ("ListNetworkRules", &[], "100", "101"),
        ("ListApplicationAccessPoints", &[], "100", "101"),
        ("ListKmsInstances", &[], "100", "101"),
    ] {
        let listed = served(&gateway, action, &[more, &[("PageSize", size)]].concat()).await;
        assert_eq!(listed["PageSize"].to_string(), size, "{action}");
        let params = [more, &[("PageSize", beyond)]].concat();
        refuses(&gateway, action, &params, "InvalidParameter", "PageSize").await;
    }
}

#[tokio::test]
async fn unknown_parameters_are_ignored_and_repeated_ones_are_refused_by_name() {
    let gateway = Gateway::start();
    let unknown = [
        ("RegionId", "eu-central-1"),
        ("Foo", "bar"),
        ("keyid", "key-does-not-exist"),
        ("plaintext", "x"),
        ("AccountId", ""),
        ("x-acs-action", "DescribeKey"),
        ("EncryptionContexts", "{"),
    ];
    for variant in SigningVariant::all() {
        let params = [&ENCRYPT[..], &unknown].concat();
        let answer = Call::new(&gateway, variant, "Encrypt", &params).signed().send(&gateway).await;
        assert_eq!(answer.status, 200, "{variant:?} {}", answer.body);
        let mut twice = Call::new(&gateway, variant, "Encrypt", &params);
        twice.params_text().push_str("&Foo=bar");
        let answer = twice.send(&gateway).await;
        assert_eq!(answer.refusal(), refusal(400, "InvalidParameter"), "{variant:?}");
        assert!(answer.message().contains("\"Foo\""), "{}", answer.message());
    }
    // A name has one spelling; another one is another parameter.
    let params = [("keyId", "alias/demo"), ENCRYPT[1]];
    refuses(&gateway, "Encrypt", &params, "MissingParameter", "KeyId").await;
}

#[tokio::test]
async fn tags_come_as_json_or_numbered_with_blanks_and_without_values() {
    let gateway = Gateway::start();
    let key = ("KeyId", gateway.dev.key_id.as_str());
    let tags = async || {
        let listed = gateway.call("ListResourceTags", &[key]).await;
        let rows = listed["Tags"]["Tag"].as_array().unwrap().clone();
        let pair =
            |row: &Value| (text(&row["TagKey"]).to_owned(), text(&row["TagValue"]).to_owned());
        rows.iter().map(pair).collect::<Vec<_>>()
    };
    let own = |pairs: &[(&str, &str)]| {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect::<Vec<_>>()
    };
    let json = " [ {\"TagKey\" : \"a\", \"TagValue\" : \"1\"} ,\n {\"TagKey\":\"b\"} ] ";
    served(&gateway, "TagResource", &[key, ("Tags", json)]).await;
    assert_eq!(tags().await, own(&[("a", "1"), ("b", "")]));
    let made = served(&gateway, "CreateKey", &[("Tags", json)]).await;
    assert!(made["KeyMetadata"]["KeyId"].is_string());
    let resources = [
        ("RegionId", gateway.dev.region.as_str()),
        ("ResourceType", "key"),
        ("ResourceId.1", key.1),
    ];
    // The fields of one tag may stand apart, and a value may be left out.
    let numbered = [("Tag.2.Key", "d"), ("Tag.1.Value", "3"), ("Tag.1.Key", "c")];
    served(&gateway, "TagResources", &[&resources[..], &numbered].concat()).await;
    assert_eq!(tags().await, own(&[("a", "1"), ("b", ""), ("c", "3"), ("d", "")]));
    served(&gateway, "UntagResource", &[key, ("TagKeys", "a, b")]).await;
    assert_eq!(tags().await, own(&[("c", "3"), ("d", "")]));
    served(&gateway, "UntagResource", &[key, ("TagKeys", " [ \"c\" , \"none\" ] ")]).await;
    assert_eq!(tags().await, own(&[("d", "")]));
    served(&gateway, "TagResource", &[key, ("Tags", "[]")]).await;
    served(&gateway, "CreateKey", &[("Tags", "[]")]).await;
    for json in ["{\"a\":\"1\"}", "[{\"TagKey\":1}]", "a=1", "[{'TagKey':'a'}]", "null"] {
        refuses(&gateway, "TagResource", &[key, ("Tags", json)], "InvalidParameter", "Tags").await;
    }
    for (name, wrong) in
        [("Tag.0.Key", "Tag.1"), ("Tag.2.Key", "Tag.1"), ("Tag.01.Key", "Tag.01.Key")]
    {
        let params = [&resources[..], &[(name, "a")]].concat();
        refuses(&gateway, "TagResources", &params, "InvalidParameter", wrong).await;
    }
    // Resources are named by their ids alone.
    for name in ["alias/demo", "acs:kms:cn-hangzhou:1234567890123456:key/x", "x y"] {
        let params = [&resources[..2], &[("ResourceId.1", name), ("Tag.1.Key", "a")]].concat();
        let answer = send(&gateway, "TagResources", &params).await;
        assert_eq!(answer.refusal(), refusal(404, "InvalidResourceId.NotFound"), "{name}");
    }
}

#[tokio::test]
async fn filters_are_json_of_known_names_with_any_values() {
    let gateway = Gateway::start();
    for (filters, count) in [
        ("[]", 1),
        (" [ { \"Key\" : \"KeyState\" , \"Values\" : [ \"Enabled\" , \"Disabled\" ] } ] ", 1),
        (r#"[{"Values":["Disabled"],"Key":"KeyState"}]"#, 0),
        (r#"[{"Key":"KeySpec","Values":["Aliyun_SM4"]}]"#, 0),
        (r#"[{"Key":"KeyState","Values":["enabled"]}]"#, 0),
    ] {
        let listed = served(&gateway, "ListKeys", &[("Filters", filters)]).await;
        assert_eq!(listed["TotalCount"], count, "{filters}");
    }
    for filters in [
        "{}",
        "KeyState=Enabled",
        r#"[{"Key":"keystate","Values":["Enabled"]}]"#,
        r#"[{"Key":"Nothing","Values":[]}]"#,
        r#"[{"Key":"KeyState","Values":"Enabled"}]"#,
        r#"[{"Key":"KeyState"}]"#,
    ] {
        let filters = [("Filters", filters)];
        refuses(&gateway, "ListKeys", &filters, "InvalidParameter", "Filters").await;
        refuses(&gateway, "ListKmsInstances", &filters, "InvalidParameter", "Filters").await;
    }
}

#[tokio::test]
async fn format_and_version_have_their_spellings() {
    let gateway = Gateway::start();
    for (format, is_xml) in [("Json", false), ("jSoN", false), ("Xml", true), ("XML", true)] {
        let mut call = Call::new(&gateway, RPC, "Encrypt", &ENCRYPT);
        call.set("Format", format);
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.status, 200, "{format}: {}", answer.body);
        assert_eq!(answer.body.starts_with("<EncryptResponse>"), is_xml, "{format}");
    }
    for format in ["XML ", "html", "application/json", "null", "1"] {
        let mut call = Call::new(&gateway, RPC, "Encrypt", &ENCRYPT);
        call.set("Format", format);
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.refusal(), refusal(400, "InvalidParameter.Format"), "{format}");
    }
    for (accept, is_xml) in [
        ("*/*", false),
        ("application/json", false),
        ("application/json, text/xml", false),
        ("text/xml", true),
        ("application/xml;charset=utf-8", true),
        ("application/octet-stream", false),
    ] {
        let mut call = Call::new(&gateway, ACS3, "Encrypt", &ENCRYPT);
        call.set_header("accept", accept);
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.status, 200, "{accept}: {}", answer.body);
        assert_eq!(answer.body.starts_with("<EncryptResponse>"), is_xml, "{accept}");
    }
    // The parameter decides over the header.
    let mut call =
        Call::new(&gateway, ACS3, "Encrypt", &[&ENCRYPT[..], &[("Format", "JSON")]].concat());
    call.set_header("accept", "text/xml");
    assert_eq!(call.signed().send(&gateway).await.json()["KeyId"], *gateway.dev.key_id);
    for version in ["2016-1-20", "20160120", "2016-01-20 ", "2016-01-21"] {
        let mut call = Call::new(&gateway, RPC, "Encrypt", &ENCRYPT);
        call.set("Version", version);
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.refusal(), refusal(400, "InvalidVersion"), "{version}");
    }
    // A header of ACS3 may stand beside a parameter that says the same.
    let params = [&ENCRYPT[..], &[("Action", "Encrypt"), ("Version", "2016-01-20")]].concat();
    let answer = Call::new(&gateway, ACS3, "Encrypt", &params).signed().send(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn a_time_of_signing_has_one_form() {
    let gateway = Gateway::start();
    for variant in [RPC, ACS3] {
        for date in [
            "2024-03-01T16:30:00+08:00",
            "2024-03-01T08:30:00.000Z",
            "Fri, 01 Mar 2024 08:30:00 GMT",
        ] {
            let call = Call::new(&gateway, variant, "Encrypt", &ENCRYPT).at(date).signed();
            let answer = call.send(&gateway).await;
            assert_eq!(
                answer.refusal(),
                refusal(400, "InvalidTimeStamp.Format"),
                "{variant:?} {date}"
            );
        }
    }
}

#[tokio::test]
async fn data_keys_have_the_length_that_the_number_or_the_spec_says() {
    let gateway = Gateway::start();
    for action in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
        for (params, bytes) in [
            (&[][..], 32),
            (&[("KeySpec", "AES_128")], 16),
            (&[("KeySpec", " AES_128")], 16),
            (&[("KeySpec", "AES_256"), ("NumberOfBytes", "64")], 64),
            (&[("NumberOfBytes", "1")], 1),
            (&[("NumberOfBytes", "1024")], 1024),
        ] {
            let params = [&ENCRYPT[..1], params].concat();
            let made = served(&gateway, action, &params).await;
            let blob = [("CiphertextBlob", text(&made["CiphertextBlob"]))];
            let decrypted = served(&gateway, "Decrypt", &blob).await;
            let length = text(&decrypted["Plaintext"]).trim_end_matches('=').len() * 6 / 8;
            assert_eq!(length, bytes, "{action} {params:?}");
        }
        for (name, value) in
            [("KeySpec", "aes_256"), ("KeySpec", "AES-256"), ("NumberOfBytes", "0")]
        {
            let params = [ENCRYPT[0], (name, value)];
            refuses(&gateway, action, &params, "InvalidParameter", name).await;
        }
    }
}

#[tokio::test]
async fn one_context_has_many_spellings_and_another_form_is_none() {
    let gateway = Gateway::start();
    let context = ("EncryptionContext", r#"{"a":"1","ü":"\u6d4b"}"#);
    let encrypted = served(&gateway, "Encrypt", &[&ENCRYPT[..], &[context]].concat()).await;
    let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
    let spellings = [
        &[("EncryptionContext", "{\n \"\\u00fc\" : \"测\",\t\"a\":\"1\"}")][..],
        &[("EncryptionContext.a", "1"), ("EncryptionContext.ü", "测")],
    ];
    for params in spellings {
        let decrypted = served(&gateway, "Decrypt", &[&[blob], params].concat()).await;
        assert_eq!(decrypted["Plaintext"], ENCRYPT[1].1);
    }
    for context in
        ["null", "\"a\"", "[object Object]", "{'a': '1'}", "{\"a\":1}", "{\"a\":null}", "a=1"]
    {
        let params = [&ENCRYPT[..], &[("EncryptionContext", context)]].concat();
        refuses(&gateway, "Encrypt", &params, "InvalidParameter", "EncryptionContext").await;
    }
}

#[tokio::test]
async fn a_key_is_named_by_id_alias_and_the_arn_of_either() {
    let gateway = Gateway::start();
    let (dev, location) =
        (&gateway.dev, format!("acs:kms:{}:{}", gateway.dev.region, gateway.dev.account));
    let names = [
        dev.key_id.clone(),
        dev.alias.clone(),
        format!("{location}:key/{}", dev.key_id),
        format!("{location}:{}", dev.alias),
    ];
    for name in &names {
        for (action, more) in [
            ("Encrypt", &ENCRYPT[1..]),
            ("GenerateDataKey", &[]),
            ("DescribeKey", &[]),
            ("ListKeyVersions", &[]),
            ("GetKeyPolicy", &[]),
            ("ListAliasesByKeyId", &[]),
            ("ListResourceTags", &[]),
            ("DisableKey", &[]),
            ("EnableKey", &[]),
        ] {
            served(&gateway, action, &[&[("KeyId", name.as_str())], more].concat()).await;
        }
    }
    let described = gateway.describe(&names[3]).await;
    assert_eq!(
        (&described["KeyId"], &described["Arn"]),
        (&names[0].as_str().into(), &names[2].as_str().into())
    );
}

#[tokio::test]
async fn rotation_intervals_are_returned_in_seconds() {
    let gateway = Gateway::start();
    let key = ("KeyId", gateway.dev.key_id.as_str());
    let on = ("EnableAutomaticRotation", "true");
    for interval in ["7d", "168h", "10080m", "604800s"] {
        served(&gateway, "UpdateRotationPolicy", &[key, on, ("RotationInterval", interval)]).await;
        assert_eq!(gateway.describe(key.1).await["RotationInterval"], "604800s", "{interval}");
    }
    for interval in ["7", "7D", "1w", "7 d", "6d", "731d", "-7d", "P7D"] {
        let params = [key, on, ("RotationInterval", interval)];
        refuses(&gateway, "UpdateRotationPolicy", &params, "InvalidParameter", "RotationInterval")
            .await;
    }
    refuses(&gateway, "UpdateRotationPolicy", &[key, on], "MissingParameter", "RotationInterval")
        .await;
    let off = [key, ("EnableAutomaticRotation", "False")];
    served(&gateway, "UpdateRotationPolicy", &off).await;
    assert_eq!(gateway.describe(key.1).await["AutomaticRotation"], "Disabled");
}

#[tokio::test]
async fn a_ciphertext_that_was_changed_on_its_way_is_refused_by_name() {
    let gateway = Gateway::start();
    let blob = loop {
        let encrypted = gateway.call("Encrypt", &ENCRYPT).await;
        let blob = text(&encrypted["CiphertextBlob"]).to_owned();
        if blob.contains('+') {
            break blob;
        }
    };
    // A plus that was not encoded arrives as a blank; shells add lines; some programs write Base64 for URLs.
    for changed in [
        blob.replace('+', " "),
        format!("{blob}\n"),
        blob.replace('+', "-").replace('/', "_"),
        blob.trim_end_matches('=').to_owned() + "=",
        format!("\"{blob}\""),
        blob[..blob.len() / 2].to_owned(),
    ] {
        if changed != blob {
            let params = [("CiphertextBlob", changed.as_str())];
            refuses(&gateway, "Decrypt", &params, "InvalidParameter", "CiphertextBlob").await;
        }
    }
}

#[tokio::test]
async fn every_form_of_http_that_clients_use_gives_the_same_request() {
    let gateway = Gateway::start();
    // A body in no chunks, as one Java client sends it, is an empty one.
    let call = Call::new(&gateway, ACS3, "Encrypt", &ENCRYPT).signed();
    let bytes = String::from_utf8(call.bytes()).unwrap();
    let chunked =
        bytes.replace("content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_ne!(chunked, bytes);
    let answer = raw_http::exchange(gateway.address(), chunked.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A proxy is asked with the whole address.
    let call = Call::new(&gateway, RPC, "Encrypt", &ENCRYPT).signed();
    let bytes = String::from_utf8(call.bytes()).unwrap();
    let whole = bytes.replacen("POST /", &format!("POST http://{}/", gateway.address()), 1);
    let answer = raw_http::exchange(gateway.address(), whole.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Form types with and without blanks and in any case, and an empty form of a GET.
    for media_type in [
        FORM,
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-WWW-FORM-urlencoded ; charset=utf-8",
    ] {
        let mut call = Call::new(
            &gateway,
            SigningVariant(Signing::Rpc1, ParamLocation::PostForm),
            "Encrypt",
            &ENCRYPT,
        );
        call.set_header("content-type", media_type);
        assert_eq!(call.signed().send(&gateway).await.status, 200, "{media_type}");
        let mut call = Call::new(
            &gateway,
            SigningVariant(Signing::Rpc1, ParamLocation::GetQuery),
            "Encrypt",
            &ENCRYPT,
        );
        call.set_header("content-type", media_type);
        assert_eq!(call.signed().send(&gateway).await.status, 200, "GET {media_type}");
    }
    // Empty pieces of a query are nothing, and a parameter in the query may stand beside a form.
    let mut call = Call::new(
        &gateway,
        SigningVariant(Signing::Rpc1, ParamLocation::PostForm),
        "Encrypt",
        &ENCRYPT[1..],
    );
    call.query = "&&KeyId=alias/demo&".to_owned();
    let answer = call.signed().send(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Ciphertexts and version ids that a program still has from the real service.
#[tokio::test]
async fn a_key_version_of_the_real_service_is_unknown() {
    let gateway = Gateway::start();
    let elsewhere = "key-hzz630494463ejqjx1234-0a1b2c3d4e";
    let blob = STANDARD.encode([elsewhere.as_bytes(), &[7; 64]].concat());
    let blob = ("CiphertextBlob", blob.as_str());
    let (key, version) = (ENCRYPT[0], ("KeyVersionId", elsewhere));
    let digest = ("Digest", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    let (no_key, no_version) = ("Forbidden.KeyNotFound", "Forbidden.KeyVersionNotFound");
    let wrapping = [
        ("PublicKeyBlob", "MIIB"),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_256"),
    ];
    let rsa = ("Algorithm", "RSAES_OAEP_SHA_256");
    let source = [
        ("SourceEncryptionAlgorithm", rsa.1),
        ("SourceKeyId", key.1),
        ("SourceKeyVersionId", elsewhere),
    ];
    for (action, params, code) in [
        ("Decrypt", vec![blob], no_key),
        ("Decrypt", vec![blob, ("EncryptionContext", "{\"a\":\"1\"}")], no_key),
        ("ReEncrypt", vec![blob, ("DestinationKeyId", key.1)], no_key),
        ("ReEncrypt", [&[blob, ("DestinationKeyId", key.1)], &source[..]].concat(), no_version),
        ("ExportDataKey", [&[blob][..], &wrapping].concat(), no_key),
        ("DescribeKeyVersion", vec![key, version], no_version),
        ("GetPublicKey", vec![key, version], no_version),
        ("AsymmetricEncrypt", vec![key, version, rsa, ENCRYPT[1]], no_version),
        ("AsymmetricDecrypt", vec![key, version, rsa, blob], no_version),
        (
            "AsymmetricSign",
            vec![key, version, ("Algorithm", "RSA_PSS_SHA_256"), digest],
            no_version,
        ),
        (
            "AsymmetricVerify",
            vec![key, version, ("Algorithm", "RSA_PSS_SHA_256"), digest, ("Value", digest.1)],
            no_version,
        ),
    ] {
        let answer = send(&gateway, action, &params).await;
        assert_eq!(answer.refusal(), refusal(404, code), "{action} {params:?}: {}", answer.body);
    }
    // A dry run says that it would fail.
    let answer = send(&gateway, "Decrypt", &[blob, ("DryRun", "true")]).await;
    assert_eq!(answer.refusal(), refusal(400, "ValidationError"));
    // What has another form is malformed.
    for version in ["1", "key-hzz630494463ejqjx1234", "46A9EFD9-3D16-4894-BD4F-1FC43F3F2ABF"] {
        let params = [key, ("KeyVersionId", version)];
        refuses(&gateway, "DescribeKeyVersion", &params, "InvalidParameter", "KeyVersionId").await;
    }
}
