//! Requests that are refused before an operation runs, and the formats of answers.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::gateway::{Gateway, refusal as refused};
use crate::support::raw_http::{self, Connection, RawResponse};
use crate::support::signed_calls::{Call, FORM, ParamLocation, Signing, SigningVariant};

const ACS3: SigningVariant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
/// An action, its parameters, and the code and parameter of its refusal.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

async fn send(gateway: &Gateway, action: &str, params: &[(&str, &str)]) -> RawResponse {
    Call::new(gateway, ACS3, action, params).signed().send(gateway).await
}

#[tokio::test]
async fn unknown_and_unsupported_actions_have_different_errors() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        for (action, status, code) in [
            ("AdvanceEncrypt", 404, "InvalidAction.NotFound"),
            ("encrypt", 404, "InvalidAction.NotFound"),
            ("GetCertificate", 400, "UnsupportedOperation"),
            ("", 400, "MissingAction"),
        ] {
            let call = Call::new(&gateway, variant, action, ENCRYPT).signed();
            let answer = call.send(&gateway).await;
            assert_eq!(answer.refusal(), refused(status, code), "{variant:?} {action}");
            if code == "UnsupportedOperation" {
                assert!(answer.message().contains(action), "{}", answer.message());
            }
        }
    }
}

#[tokio::test]
async fn only_the_one_version_is_served() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        for (version, code) in [("2016-01-21", "InvalidVersion"), ("", "MissingVersion")] {
            let mut call = Call::new(&gateway, variant, "Encrypt", ENCRYPT);
            if variant.is_rpc1() {
                call.set("Version", version);
            } else {
                call.set_header("x-acs-version", version);
            }
            let answer = call.signed().send(&gateway).await;
            assert_eq!(answer.refusal(), refused(400, code), "{variant:?}");
        }
    }
}

#[tokio::test]
async fn a_value_that_is_missing_or_of_the_wrong_form_is_refused_by_name() {
    let gateway = Gateway::start();
    let (key, text) = (("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8="));
    let long = "A".repeat(8196);
    let context = |json| ("EncryptionContext", json);
    let cases: &[Case<'_>] = &[
        ("Encrypt", &[key], "MissingParameter", "Plaintext"),
        ("Encrypt", &[text], "MissingParameter", "KeyId"),
        ("Encrypt", &[key, ("Plaintext", "")], "MissingParameter", "Plaintext"),
        ("Encrypt", &[key, ("Plaintext", "not Base64")], "InvalidParameter", "Plaintext"),
        ("Encrypt", &[key, ("Plaintext", "SGVsbG8")], "InvalidParameter", "Plaintext"),
        ("Encrypt", &[key, ("Plaintext", &long)], "InvalidParameter", "Plaintext"),
        ("Encrypt", &[("KeyId", "alias/a b"), text], "InvalidParameter", "KeyId"),
        ("Encrypt", &[("KeyId", "a\0b"), text], "InvalidParameter", "KeyId"),
        ("Encrypt", &[key, text, context("{")], "InvalidParameter", "EncryptionContext"),
        ("Encrypt", &[key, text, context("[]")], "InvalidParameter", "EncryptionContext"),
        ("Encrypt", &[key, text, context("{'a': 'b'}")], "InvalidParameter", "EncryptionContext"),
        ("Encrypt", &[key, text, context(r#"{"a":1}"#)], "InvalidParameter", "EncryptionContext"),
        (
            "Encrypt",
            &[key, text, context(r#"{"a":"1","a":"1"}"#)],
            "InvalidParameter",
            "EncryptionContext",
        ),
        (
            "Encrypt",
            &[key, text, context("{}"), ("EncryptionContext.a", "1")],
            "InvalidParameter",
            "EncryptionContext",
        ),
        ("Encrypt", &[key, text, ("DryRun", "yes")], "InvalidParameter", "DryRun"),
        ("Decrypt", &[], "MissingParameter", "CiphertextBlob"),
        ("Decrypt", &[("CiphertextBlob", "AAAA")], "InvalidParameter", "CiphertextBlob"),
        ("GenerateDataKey", &[key, ("KeySpec", "AES_512")], "InvalidParameter", "KeySpec"),
        ("GenerateDataKey", &[key, ("NumberOfBytes", "0")], "InvalidParameter", "NumberOfBytes"),
        ("GenerateDataKey", &[key, ("NumberOfBytes", "1025")], "InvalidParameter", "NumberOfBytes"),
        ("GenerateDataKey", &[key, ("NumberOfBytes", "x")], "InvalidParameter", "NumberOfBytes"),
        ("ListKeys", &[("PageNumber", "0")], "InvalidParameter", "PageNumber"),
        ("ListKeys", &[("PageNumber", "99999999999999")], "InvalidParameter", "PageNumber"),
        ("ListKeys", &[("PageSize", "1.5")], "InvalidParameter", "PageSize"),
        ("ListKeys", &[("Filters", "{}")], "InvalidParameter", "Filters"),
        ("DescribeKeyVersion", &[key], "MissingParameter", "KeyVersionId"),
        ("DescribeKeyVersion", &[key, ("KeyVersionId", "1")], "InvalidParameter", "KeyVersionId"),
        ("CreateAlias", &[key, ("AliasName", "demo")], "InvalidParameter", "AliasName"),
        ("ScheduleKeyDeletion", &[key], "MissingParameter", "PendingWindowInDays"),
    ];
    for (action, params, code, name) in cases {
        let answer = send(&gateway, action, params).await;
        assert_eq!(answer.refusal(), refused(400, code), "{action} {params:?} {}", answer.body);
        assert!(answer.message().contains(&format!("\"{name}\"")), "{name}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_by_name_wherever_it_occurs() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let mut call = Call::new(&gateway, variant, "Encrypt", ENCRYPT);
        call.query = format!("KeyId=alias%2Fdemo&{}", call.query);
        if variant.1 == ParamLocation::GetQuery && call.query.ends_with('&') {
            call.query.pop();
        }
        let answer = call.send(&gateway).await;
        assert_eq!(answer.refusal(), refused(400, "InvalidParameter"), "{variant:?}");
        assert!(answer.message().contains("\"KeyId\""), "{}", answer.message());
    }
}

#[tokio::test]
async fn text_that_is_not_percent_encoded_utf8_is_refused() {
    let gateway = Gateway::start();
    let expected = refused(400, "ParseRequestParameterException");
    for text in ["KeyId=%", "KeyId=%4", "KeyId=%zz", "KeyId=%ff", "KeyId=%c3%28", "%ff=a", "=a"] {
        for (query, body) in [(text, ""), ("", text)] {
            let mut call = Call::new(&gateway, ACS3, "Encrypt", &[]);
            call.set_header("content-type", FORM);
            (call.query, call.body) = (query.to_owned(), body.to_owned());
            let answer = call.send(&gateway).await;
            assert_eq!(answer.refusal(), expected, "{query} {body}");
        }
    }
    let answer = send_lines(&gateway, b"POST /?KeyId=\xff\xfe HTTP/1.1\r\n", b"").await;
    assert_eq!(answer.refusal(), expected);
}

#[tokio::test]
async fn a_body_that_is_not_a_form_is_refused() {
    let gateway = Gateway::start();
    for media_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", "x"] {
        let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
        call.body = "{}".to_owned();
        call.set_header("content-type", media_type);
        let answer = call.signed().send(&gateway).await;
        let expected = refused(400, "ParseRequestParameterException");
        assert_eq!(answer.refusal(), expected, "{media_type}");
    }
    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    call.set_header("content-type", "application/octet-stream");
    assert_eq!(call.signed().send(&gateway).await.status, 200, "an empty body has any type");
}

#[tokio::test]
async fn too_many_parameters_are_refused() {
    let gateway = Gateway::start();
    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    for number in 0..300 {
        call.add(&format!("Extra.{number}"), "");
    }
    let answer = call.send(&gateway).await;
    assert_eq!(answer.refusal(), refused(400, "ParseRequestParameterException"));
}

#[tokio::test]
async fn a_too_large_request_is_refused_with_413() {
    let gateway = Gateway::start();
    let too_large = refused(413, "RequestEntityTooLarge");
    let mut call = Call::new(
        &gateway,
        SigningVariant(Signing::Acs3, ParamLocation::PostForm),
        "Encrypt",
        ENCRYPT,
    );
    call.add("Extra", &"x".repeat(300_000));
    assert_eq!(call.send(&gateway).await.refusal(), too_large, "a long body");

    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    call.add("Extra", &"x".repeat(300_000));
    assert_eq!(call.send(&gateway).await.refusal(), too_large, "a long request line");

    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    call.set_header("x-long", &"x".repeat(1_000_000));
    assert_eq!(call.send(&gateway).await.refusal(), too_large, "a long header");

    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    for number in 0..500 {
        call.set_header(&format!("x-{number}"), "x");
    }
    assert_eq!(call.send(&gateway).await.refusal(), too_large, "many headers");
}

#[tokio::test]
async fn only_get_and_post_of_the_one_path_are_served() {
    let gateway = Gateway::start();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
        call.method = method.parse().unwrap();
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.refusal(), refused(403, "UnsupportedHTTPMethod"), "{method}");
    }
    let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
    call.method = "HEAD".parse().unwrap();
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(&call.signed().bytes()).await;
    let head = connection.head().await.unwrap();
    assert_eq!(head.status, 403);
    assert!(!head.header("x-acs-request-id").is_empty());
    for path in ["/kms", "//", "/../", "/%2F", "/index.html"] {
        let mut call = Call::new(&gateway, ACS3, "Encrypt", ENCRYPT);
        call.path = path;
        let answer = call.signed().send(&gateway).await;
        assert_eq!(answer.refusal(), refused(404, "InvalidAction.NotFound"), "{path}");
    }
}

#[tokio::test]
async fn an_error_names_the_host_that_the_client_used() {
    let gateway = Gateway::start();
    let mut call = Call::new(&gateway, ACS3, "DescribeKey", &[("KeyId", "alias/nothing")]);
    call.set_header("host", "kms.example.test:8443");
    let answer = call.signed().send(&gateway).await;
    assert_eq!(answer.refusal(), refused(404, "Forbidden.AliasNotFound"));
    assert_eq!(answer.json()["HostId"], "kms.example.test:8443");
}

#[tokio::test]
async fn an_answer_is_json_unless_xml_is_requested() {
    let gateway = Gateway::start();
    for format in ["json", "JSON", "None", "", "XML", "xml"] {
        let mut params = ENCRYPT.to_vec();
        params.push(("Format", format));
        let answer = send(&gateway, "Encrypt", &params).await;
        let is_xml = format.eq_ignore_ascii_case("xml");
        let media_type =
            if is_xml { "text/xml;charset=utf-8" } else { "application/json;charset=utf-8" };
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type), "{format}");
        if !is_xml {
            answer.json();
        }
    }
    let answer = send(&gateway, "Encrypt", &[ENCRYPT, &[("Format", "YAML")]].concat()).await;
    assert_eq!(answer.refusal(), refused(400, "InvalidParameter.Format"));
}

#[tokio::test]
async fn a_success_in_xml_has_the_documented_elements_and_nested_lists() {
    let gateway = Gateway::start();
    let second = gateway.create_key().await;
    let xml = ("Format", "XML");
    let answer = send(&gateway, "Encrypt", &[ENCRYPT, &[xml]].concat()).await;
    let id = answer.header("x-acs-request-id").to_owned();
    let start = format!("<EncryptResponse><RequestId>{id}</RequestId><KeyVersionId>");
    assert!(answer.body.starts_with(&start), "{}", answer.body);
    assert!(answer.body.ends_with("</EncryptResponse>"), "{}", answer.body);
    let blob = between(&answer.body, "<CiphertextBlob>", "</CiphertextBlob>");
    let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    assert_eq!(decrypted["Plaintext"], ENCRYPT[1].1);

    let answer = send(&gateway, "ListKeys", &[xml]).await;
    let keys = between(&answer.body, "<Keys>", "</Keys>");
    assert_eq!(keys.matches("<Key>").count(), 2, "{}", answer.body);
    for key in [&gateway.dev.key_id, &second] {
        assert!(keys.contains(&format!("<Key><KeyId>{key}</KeyId>")), "{}", answer.body);
    }
    for element in ["<TotalCount>2</TotalCount>", "<PageNumber>1</PageNumber>"] {
        assert!(answer.body.contains(element), "{}", answer.body);
    }
    let answer = send(&gateway, "DescribeKey", &[("KeyId", &second), xml]).await;
    assert!(between(&answer.body, "<KeyMetadata>", "</KeyMetadata>").contains(&second));
}

#[tokio::test]
async fn an_error_in_xml_has_the_same_fields() {
    let gateway = Gateway::start();
    let answer = send(&gateway, "DescribeKey", &[("KeyId", "alias/no"), ("Format", "XML")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (404, "text/xml;charset=utf-8"));
    let id = answer.header("x-acs-request-id");
    let expected = format!(
        "<Error><RequestId>{id}</RequestId><HostId>{}</HostId><Code>Forbidden.AliasNotFound</Code>\
         <Message>The specified Alias is not found.</Message><Recommend/></Error>",
        gateway.address()
    );
    assert_eq!(answer.body, expected);
}

/// Every answer to anything that is HTTP is an object of the API and never a fault of ours.
#[tokio::test]
async fn every_invalid_request_of_legal_size_is_answered() {
    let gateway = Gateway::start();
    let heads: &[&[u8]] = &[
        b"\x00\x01\x02\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: h\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET /?a=\x7f\x01 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET http://h/?Action=ListKeys HTTP/1.1\r\nhost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"POST /?& HTTP/1.1\r\nhost: h\r\n\r\n",
        b"POST /?&&==&=&a HTTP/1.1\r\nhost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: rot13\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\nauthorization: \xff\xfe\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\nauthorization: ACS3-HMAC-SHA256\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\nauthorization: ACS4-HMAC-SHA256 Credential=////,SignedHeaders=;;,Signature=\r\n\r\n",
    ];
    for head in heads {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(head).await;
        connection.send(b"\r\n\r\n").await;
        let shown = String::from_utf8_lossy(head);
        let answer = connection.answer().await.unwrap_or_else(|| panic!("no answer: {shown}"));
        let (status, code) = answer.refusal();
        assert!((400..500).contains(&status), "{status} {code}: {shown}");
    }
}

/// Hostile values, properly signed, for operations that read every kind of parameter.
#[test]
fn no_signed_value_causes_an_internal_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = Gateway::start();
    let calls = prop::sample::select(vec![
        ("Encrypt", "KeyId"),
        ("Encrypt", "Plaintext"),
        ("Encrypt", "EncryptionContext"),
        ("Encrypt", "EncryptionContext.x"),
        ("Encrypt", "DryRun"),
        ("Decrypt", "CiphertextBlob"),
        ("ReEncrypt", "SourceEncryptionContext"),
        ("GenerateDataKey", "NumberOfBytes"),
        ("ListKeys", "Filters"),
        ("ListKeys", "PageNumber"),
        ("CreateAlias", "AliasName"),
        ("CreateKey", "KeySpec"),
        ("DescribeKeyVersion", "KeyVersionId"),
        ("ScheduleKeyDeletion", "PendingWindowInDays"),
        ("UpdateKeyDescription", "Description"),
        ("ListKeys", "Format"),
        ("ListKeys", "SecurityToken"),
    ]);
    let json = r#"[\[\]{}":,\\u0-9a-f\x00 ]{0,40}"#;
    let values = prop_oneof![
        any::<String>(),
        json,
        "acs:kms:[a-z-]{0,12}:[0-9]{0,17}:(key|alias)/.{0,20}",
        "[A-Za-z0-9+/=]{0,200}",
        "-?[0-9]{0,25}",
        Just("%00%ff".to_owned()),
        Just("{\"a\":".repeat(5000)),
        Just("[".repeat(50_000)),
    ];
    let mut runner = TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
    runner
        .run(&(calls, values), |((action, name), value)| {
            let mut call = Call::new(&gateway, ACS3, action, &[]);
            for (given, value) in
                [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8="), (name, &value)]
            {
                call.set(given, value);
            }
            let answer = runtime.block_on(call.signed().send(&gateway));
            prop_assert!(answer.status < 500, "{} {}", answer.status, answer.body);
            Ok(())
        })
        .unwrap();
}

/// Sends a request line as it is, with a host.
async fn send_lines(gateway: &Gateway, line: &[u8], body: &[u8]) -> RawResponse {
    let head = format!("host: h\r\ncontent-length: {}\r\n\r\n", body.len());
    raw_http::exchange(gateway.address(), &[line, head.as_bytes(), body].concat()).await
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_before, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start}: {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}: {text}")).0
}
