//! ACS3 and ACS4: the published vectors, and changes of a signed request that are refused.

use hsmgate::api::rpc::canonical::{ACS3, ACS4, BODY_DIGEST, canonical_request, sha256_hex};
use hsmgate::api::rpc::sign::claim;
use hsmgate::error::ErrorCode;
use http::Method;

use crate::parts::{Parts, SECRET};

const QUERY: &str = "EncryptionContext=%7B%22Owner%22%3A%22a%2Ab~c%2Bd%22%2C%22Purpose%22%3A%22%E6%B5%8B%E8%AF%95%22%7D&KeyId=alias%2Fdemo%20key&Plaintext=SGVsbG8gd29ybGQ%3D";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const A1_HEADERS: &str = "accept;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version";
const A1_SIGNATURE: &str = "dd95de78bad76120056e1169041fc70a93627d016d5e51ced327821a64176c5b";
const A4_HEADERS: &str = "host;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version";
const A4_SIGNATURE: &str = "a194df7c27dcbf1498ebc72bb8e62cac35261daca9891b98ab173444fdbf1951";
const A4_SCOPE: &str = "20240301/cn-hangzhou/Kms/aliyun_v4_request";

fn headers() -> Vec<(&'static str, String)> {
    [
        ("accept", "application/json"),
        ("host", "127.0.0.1:8199"),
        ("user-agent", "probe/1.0"),
        ("x-acs-action", "Encrypt"),
        ("x-acs-content-sha256", EMPTY),
        ("x-acs-credentials-provider", "static_ak"),
        ("x-acs-date", "2024-03-01T08:30:00Z"),
        ("x-acs-signature-nonce", "c0ffee00112233445566778899aabbcc"),
        ("x-acs-version", "2016-01-20"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn authorized(algorithm: &str, credential: &str, signed: &str, signature: &str) -> Parts {
    let mut parts = Parts {
        method: Method::POST,
        query: QUERY.to_owned(),
        headers: headers(),
        body: String::new(),
    };
    let text =
        format!("{algorithm} Credential={credential},SignedHeaders={signed},Signature={signature}");
    parts.set("authorization", &text);
    parts
}

fn a1() -> Parts {
    authorized(ACS3, "LTAIexampleAccessKeyId01", A1_HEADERS, A1_SIGNATURE)
}

fn a2() -> Parts {
    let signed = "accept;content-type;host;user-agent;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-security-token;x-acs-signature-nonce;x-acs-version";
    let signature = "9496a11b768d294d73b4b2df66a94449c542a9fd6405b0b52776031a6b5847a0";
    let mut parts = authorized(ACS3, "STS.NexampleTempKeyId", signed, signature);
    "CiphertextBlob=AAECAwQFBgcICQoLDA0ODw%3D%3D".clone_into(&mut parts.query);
    "Recipient=%7B%22KeyEncryptionAlgorithm%22%3A%22RSAES_OAEP_SHA_256%22%7D"
        .clone_into(&mut parts.body);
    parts.set("content-type", "application/x-www-form-urlencoded");
    parts.set("x-acs-accesskey-id", "STS.NexampleTempKeyId");
    parts.set("x-acs-action", "Decrypt");
    parts.set(
        "x-acs-content-sha256",
        "7150b72366cd60ff3753a83da0f29522436011f1f275783c509d5d210f8ade79",
    );
    parts.set("x-acs-credentials-provider", "static_sts");
    parts.set("x-acs-security-token", "CAIS+token/with=chars");
    parts
}

fn a4(credential_scope: &str) -> Parts {
    let credential = format!("LTAIexampleAccessKeyId01/{credential_scope}");
    authorized(ACS4, &credential, A4_HEADERS, A4_SIGNATURE)
}

fn body_digest(parts: &Parts) -> &str {
    let header = parts.headers.iter().find(|(name, _)| *name == BODY_DIGEST);
    &header.unwrap().1
}

fn canonical(parts: &Parts, signed: &str) -> String {
    let bytes = parts
        .receive(|signed_request| canonical_request(signed_request, signed, body_digest(parts)))
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn vector_a1_the_new_python_sdk() {
    let request = canonical(&a1(), A1_HEADERS);
    let expected = format!(
        "POST\n/\n{QUERY}\naccept:application/json\nhost:127.0.0.1:8199\n\
         user-agent:probe/1.0\nx-acs-action:Encrypt\nx-acs-content-sha256:{EMPTY}\n\
         x-acs-credentials-provider:static_ak\nx-acs-date:2024-03-01T08:30:00Z\n\
         x-acs-signature-nonce:c0ffee00112233445566778899aabbcc\nx-acs-version:2016-01-20\n\
         \n{A1_HEADERS}\n{EMPTY}"
    );
    assert_eq!(request, expected);
    assert_eq!(
        sha256_hex(request.as_bytes()),
        "ba0a48d21e611bd17728bfb133ef1d3913dec2a05db683875331de2a275c4748"
    );
    a1().check(SECRET).unwrap();
}

#[test]
fn vector_a2_temporary_credentials_with_a_form() {
    let parts = a2();
    parts.check("exampleTempSecret987").unwrap();
    let text = parts.receive(|signed_request| Ok(claim(signed_request)?.string_to_sign));
    assert!(
        text.unwrap().ends_with("077662d9f645b906e58ddca59d6c6391c67f3cdb8be4d2af1f6d3e088e18bbf4")
    );
    let error = parts.without("x-acs-security-token").check("exampleTempSecret987");
    assert_eq!(error.unwrap_err().code(), ErrorCode::IncompleteSignature);
}

#[test]
fn vector_a4_the_derived_key() {
    let parts = a4(A4_SCOPE);
    assert_eq!(
        sha256_hex(canonical(&parts, A4_HEADERS).as_bytes()),
        "680f7dc5471d4cab32a95ea4cd9edd2ea1321e7476a2ea89cc115a568127063c"
    );
    parts.check(SECRET).unwrap();
}

/// As the asynchronous Java SDK writes it.
#[test]
fn a_scope_with_the_whole_date_of_the_request_is_taken() {
    let parts = a4("2024-03-01T08:30:00Z/cn-hangzhou/Kms/aliyun_v4_request");
    parts.check(SECRET).unwrap();
}

#[test]
fn a_scope_of_another_day_product_or_form_is_refused() {
    for scope in [
        "20240302/cn-hangzhou/Kms/aliyun_v4_request",
        "2024-03-01T08:30:01Z/cn-hangzhou/Kms/aliyun_v4_request",
        "2024-03-01/cn-hangzhou/Kms/aliyun_v4_request",
        "20240301/cn-hangzhou/Ecs/aliyun_v4_request",
        "20240301/cn-hangzhou/kms/aliyun_v4_request",
        "20240301//Kms/aliyun_v4_request",
        "20240301/cn-hangzhou/Kms/aliyun_v3_request",
        "20240301/cn-hangzhou/Kms/aliyun_v4_request/x",
        "20240301/cn-hangzhou/Kms",
    ] {
        assert_eq!(a4(scope).refusal(), ErrorCode::IncompleteSignature, "{scope}");
    }
    let other_region = a4("20240301/cn-beijing/Kms/aliyun_v4_request");
    assert_eq!(other_region.refusal(), ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn other_spellings_of_the_same_query_are_signed_alike() {
    let mut parts = a1();
    // As the asynchronous Python client sends it.
    parts.query = parts.query.replace("%20", "+").replace("%2A", "*").replace("%2F", "/");
    parts.set("content-type", "application/octet-stream");
    parts.check(SECRET).unwrap();
    let pieces: Vec<&str> = QUERY.split('&').rev().collect();
    parts.query = pieces.join("&&");
    parts.check(SECRET).unwrap();
}

#[test]
fn a_request_is_refused_when_any_parameter_is_dropped_doubled_changed_or_added() {
    let pieces: Vec<&str> = QUERY.split('&').collect();
    let with = |pieces: &[&str]| Parts { query: pieces.join("&"), ..a1() }.check(SECRET);
    for (at, piece) in pieces.iter().enumerate() {
        let mut dropped = pieces.clone();
        dropped.remove(at);
        assert!(with(&dropped).is_err(), "dropped {piece}");
        assert!(with(&[&pieces[..], &[piece]].concat()).is_err(), "doubled {piece}");
        let mut changed = pieces.clone();
        let longer = format!("{piece}A");
        changed[at] = &longer;
        assert!(with(&changed).is_err(), "changed {piece}");
    }
    assert!(with(&[&pieces[..], &["Z=1"]].concat()).is_err());
    assert!(Parts { method: Method::GET, ..a1() }.check(SECRET).is_err());
}

#[test]
fn a_request_is_refused_when_any_signed_header_is_dropped_doubled_or_changed() {
    for (name, value) in headers() {
        assert!(a1().without(name).check(SECRET).is_err(), "dropped {name}");
        let mut doubled = a1();
        doubled.headers.push((name, value.clone()));
        assert!(doubled.check(SECRET).is_err(), "doubled {name}");
        let mut changed = a1();
        changed.set(name, &format!("{value}0"));
        assert!(changed.check(SECRET).is_err(), "changed {name}");
    }
}

#[test]
fn a_body_that_was_exchanged_is_refused() {
    let mut parts = a2();
    parts.body.push_str("&DryRun=true");
    let error = parts.check("exampleTempSecret987").unwrap_err();
    assert_eq!(error.code(), ErrorCode::SignatureDoesNotMatch);
    assert!(error.message().contains(':'));
}

#[test]
fn what_carries_meaning_must_be_signed() {
    let without_meaning = ["host", "x-acs-credentials-provider"];
    for name in A4_HEADERS.split(';').filter(|name| !without_meaning.contains(name)) {
        let signed = A4_HEADERS.split(';').filter(|other| *other != name);
        let signed = signed.collect::<Vec<_>>().join(";");
        let parts = authorized(ACS3, "ak", &signed, A1_SIGNATURE);
        assert_eq!(parts.refusal(), ErrorCode::IncompleteSignature, "{name}");
    }
    let mut token = a1();
    token.set("x-acs-security-token", "token");
    assert_eq!(token.refusal(), ErrorCode::IncompleteSignature);
    let mut typed = a1();
    typed.body.push_str("A=1");
    typed.set("content-type", "application/x-www-form-urlencoded");
    assert_eq!(typed.refusal(), ErrorCode::IncompleteSignature);
}

#[test]
fn each_missing_header_has_its_code() {
    for (name, code) in [
        ("x-acs-action", ErrorCode::MissingAction),
        ("x-acs-version", ErrorCode::MissingVersion),
        ("x-acs-date", ErrorCode::MissingTimestamp),
        ("x-acs-signature-nonce", ErrorCode::MissingSignatureNonce),
        ("x-acs-content-sha256", ErrorCode::IncompleteSignature),
        ("host", ErrorCode::IncompleteSignature),
    ] {
        assert_eq!(a1().without(name).refusal(), code, "{name}");
    }
    let mut parts = a1();
    parts.set("x-acs-date", "Fri, 01 Mar 2024 08:30:00 GMT");
    assert_eq!(parts.refusal(), ErrorCode::InvalidTimeStampFormat);
}

#[test]
fn a_malformed_authorization_is_refused_by_what_is_wrong_with_it() {
    let field = format!("Credential=ak,SignedHeaders={A1_HEADERS},Signature={A1_SIGNATURE}");
    for (text, code) in [
        ("ACS3-HMAC-SM3 x".to_owned(), ErrorCode::InvalidSignatureMethod),
        (format!("ACS3-RSA-SHA256 {field}"), ErrorCode::InvalidSignatureMethod),
        (ACS3.to_owned(), ErrorCode::IncompleteSignature),
        (format!("{ACS3} Credential=ak"), ErrorCode::IncompleteSignature),
        (format!("{ACS3} {field},Signature=00"), ErrorCode::IncompleteSignature),
        (format!("{ACS3} {field},Other=1"), ErrorCode::IncompleteSignature),
        (format!("{ACS3} {}", field.replace("=ak", "=")), ErrorCode::MissingAccessKeyId),
        (format!("{ACS3} {}", field.replace("dd95", "zz95")), ErrorCode::IncompleteSignature),
        (format!("{ACS3} {}", field.replace("host;", "host;;")), ErrorCode::IncompleteSignature),
    ] {
        let mut parts = a1();
        parts.set("authorization", &text);
        assert_eq!(parts.refusal(), code, "{text}");
    }
    let mut twice = a1();
    let first = twice.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
    twice.headers.push(("authorization", first.1.clone()));
    assert_eq!(twice.refusal(), ErrorCode::IncompleteSignature);
}

#[test]
fn a_space_after_the_commas_is_tolerated() {
    let mut parts = a1();
    let (_, text) = parts.headers.pop().unwrap();
    parts.set("authorization", &text.replace(',', ", "));
    parts.check(SECRET).unwrap();
}

#[test]
fn the_order_of_the_signed_headers_is_the_clients() {
    let mut names: Vec<&str> = A1_HEADERS.split(';').collect();
    names.reverse();
    let parts = authorized(ACS3, "ak", &names.join(";"), A1_SIGNATURE);
    assert_eq!(parts.refusal(), ErrorCode::SignatureDoesNotMatch);
    assert!(canonical(&parts, &names.join(";")).contains("\nx-acs-version:2016-01-20\nx-acs-sig"));
}
