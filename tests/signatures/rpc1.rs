//! RPC 1.0: the published vectors, and changes of a signed request that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::rpc::params;
use hsmgate::api::rpc::sign::{claim, rpc1_string_to_sign};
use hsmgate::authn::claim::{Scheme, SignedWith};
use hsmgate::authn::signature;
use hsmgate::error::ErrorCode;
use http::Method;

use crate::parts::{Parts, SECRET};

const COMMON: &str = "AccessKeyId=LTAIexampleAccessKeyId01&Version=2016-01-20\
    &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=2024-03-01T08:30:00Z";
const ENCRYPT: &str = "Action=Encrypt&KeyId=alias/demo+key&Plaintext=SGVsbG8gd29ybGQ%3D\
    &EncryptionContext=%7B%22Owner%22%3A%22a*b~c%2Bd%22%2C%22Purpose%22%3A%22%e6%b5%8b%E8%AF%95%22%7D";
const V1_EXTRA: &str = "Format=JSON&RegionId=cn-hangzhou&SignatureType=\
    &SignatureNonce=5f1c9d7e0b3a4c2d8e6f7a9b0c1d2e3f";
const V1_SIGNATURE: &str = "Signature=rjOkBvLLpYW68JKOEe5OEqXxGxI%3D";

fn request(method: Method, query: &[&str], form: &str) -> Parts {
    let mut parts =
        Parts { method, query: query.join("&"), headers: Vec::new(), body: form.to_owned() };
    if !form.is_empty() {
        parts.set("content-type", "application/x-www-form-urlencoded");
    }
    parts
}

fn v1() -> Parts {
    request(Method::POST, &[ENCRYPT, COMMON, V1_EXTRA, V1_SIGNATURE], "")
}

fn signed_text(parts: &Parts) -> String {
    parts
        .receive(|signed_request| {
            Ok(rpc1_string_to_sign(signed_request.method, signed_request.params))
        })
        .unwrap()
}

#[test]
fn vector_v1_the_old_python_sdk() {
    assert_eq!(
        signed_text(&v1()),
        "POST&%2F&AccessKeyId%3DLTAIexampleAccessKeyId01%26Action%3DEncrypt%26EncryptionContext%3D%257B%2522Owner%2522%253A%2522a%252Ab~c%252Bd%2522%252C%2522Purpose%2522%253A%2522%25E6%25B5%258B%25E8%25AF%2595%2522%257D%26Format%3DJSON%26KeyId%3Dalias%252Fdemo%2520key%26Plaintext%3DSGVsbG8gd29ybGQ%253D%26RegionId%3Dcn-hangzhou%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D5f1c9d7e0b3a4c2d8e6f7a9b0c1d2e3f%26SignatureType%3D%26SignatureVersion%3D1.0%26Timestamp%3D2024-03-01T08%253A30%253A00Z%26Version%3D2016-01-20"
    );
    v1().check(SECRET).unwrap();
}

#[test]
fn vector_v2_a_get_of_pop_core() {
    let parts = request(
        Method::GET,
        &[
            COMMON,
            "Action=ListKeys&Filters=[{\"Key\":\"KeyState\",\"Values\":[\"Enabled\"]}]",
            "PageNumber=1&PageSize=20&Format=JSON",
            "SignatureNonce=b7d0b4c0f6afad1d2bb0b2e99a02bb17",
            "Signature=Vw%2B%2FUAZGi%2FpNjWK6QhCDYSE1zNs%3D",
        ],
        "",
    );
    assert_eq!(
        signed_text(&parts),
        "GET&%2F&AccessKeyId%3DLTAIexampleAccessKeyId01%26Action%3DListKeys%26Filters%3D%255B%257B%2522Key%2522%253A%2522KeyState%2522%252C%2522Values%2522%253A%255B%2522Enabled%2522%255D%257D%255D%26Format%3DJSON%26PageNumber%3D1%26PageSize%3D20%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3Db7d0b4c0f6afad1d2bb0b2e99a02bb17%26SignatureVersion%3D1.0%26Timestamp%3D2024-03-01T08%253A30%253A00Z%26Version%3D2016-01-20"
    );
    parts.check(SECRET).unwrap();
}

#[test]
fn vectors_v2b_and_v4_the_same_parameters_elsewhere() {
    let form = [
        ENCRYPT,
        COMMON,
        "Format=JSON&SignatureNonce=b7d0b4c0f6afad1d2bb0b2e99a02bb17",
        "Signature=naBzcgwCecDTkOvGk313sb0wapg=",
    ];
    request(Method::POST, &[], &form.join("&")).check(SECRET).unwrap();
    let query = [
        ENCRYPT,
        COMMON,
        "Format=json&SignatureNonce=c0ffee00112233445566778899aabbcc",
        "Signature=uqeE7IbWwk5m8XJpK2beHI14ifA%3D",
    ];
    request(Method::POST, &query, "").check(SECRET).unwrap();
}

#[test]
fn vector_v3_temporary_credentials_with_query_and_form() {
    let common = COMMON.replace("LTAIexampleAccessKeyId01", "STS.NexampleTempKeyId");
    let query = [
        common.as_str(),
        "Action=Encrypt&SecurityToken=CAIS%2Btoken%2Fwith%3Dchars",
        V1_EXTRA,
        "Signature=%2BZqzYY65aCR%2FkgvxK4gIsxo%2FIKA%3D",
    ];
    let parts =
        request(Method::POST, &query, "KeyId=alias%2Fdemo+key&Plaintext=SGVsbG8gd29ybGQ%3D");
    parts.check("exampleTempSecret987").unwrap();
    let token = parts
        .receive(|signed_request| Ok(claim(signed_request)?.security_token.map(ToOwned::to_owned)));
    assert_eq!(token.unwrap().as_deref(), Some("CAIS+token/with=chars"));
}

/// The example of the public documentation has no nonce, so it is no claim here.
#[test]
fn vector_v5_the_published_example() {
    let query = "Action=CreateKey&Format=json&AccessKeyId=testid&Version=2016-01-20\
        &SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&Timestamp=2016-03-28T03:13:08Z";
    let params = params::read(query.as_bytes(), b"").unwrap();
    let text = rpc1_string_to_sign(&Method::GET, &params);
    let signature = signature::sign(Scheme::Rpc1, &"testsecret".into(), &text);
    assert_eq!(STANDARD.encode(signature), "41wk2SSX1GJh7fwnc5eqOfiJPFg=");
    let parts = request(Method::GET, &[query, "Signature=41wk2SSX1GJh7fwnc5eqOfiJPFg%3D"], "");
    assert_eq!(parts.refusal(), ErrorCode::MissingSignatureNonce);
}

#[test]
fn a_request_is_refused_when_any_parameter_is_dropped_doubled_changed_or_added() {
    let original = v1();
    let pieces: Vec<&str> = original.query.split('&').collect();
    let with = |pieces: &[&str]| request(Method::POST, pieces, "");
    for (at, piece) in pieces.iter().enumerate() {
        let mut dropped = pieces.clone();
        dropped.remove(at);
        assert!(with(&dropped).check(SECRET).is_err(), "dropped {piece}");
        let mut doubled = pieces.clone();
        doubled.push(piece);
        assert!(with(&doubled).check(SECRET).is_err(), "doubled {piece}");
        assert!(with(&pieces).tap_body(piece).check(SECRET).is_err(), "also in form: {piece}");
        let mut changed = pieces.clone();
        let longer = format!("{piece}A");
        changed[at] = &longer;
        assert!(with(&changed).check(SECRET).is_err(), "changed {piece}");
    }
    assert!(with(&pieces).tap_body("DryRun=true").check(SECRET).is_err());
    let mut as_get = original.clone();
    as_get.method = Method::GET;
    assert_eq!(as_get.refusal(), ErrorCode::SignatureDoesNotMatch);
}

impl Parts {
    fn tap_body(mut self, form: &str) -> Self {
        form.clone_into(&mut self.body);
        self.set("content-type", "application/x-www-form-urlencoded");
        self
    }
}

#[test]
fn the_order_of_parameters_and_their_spelling_mean_nothing() {
    let original = v1();
    let mut pieces: Vec<&str> = original.query.split('&').collect();
    pieces.reverse();
    request(Method::POST, &pieces, "").check(SECRET).unwrap();
    let query = original.query.replace("demo+key", "d%65mo%20key");
    request(Method::POST, &[&query], "").check(SECRET).unwrap();
}

#[test]
fn each_missing_part_has_its_code() {
    let without = |name: &str| {
        let query = v1().query;
        let kept: Vec<&str> =
            query.split('&').filter(|piece| piece.split('=').next() != Some(name)).collect();
        request(Method::POST, &kept, "").refusal()
    };
    assert_eq!(without("AccessKeyId"), ErrorCode::MissingAccessKeyId);
    assert_eq!(without("Signature"), ErrorCode::MissingSignature);
    assert_eq!(without("SignatureNonce"), ErrorCode::MissingSignatureNonce);
    assert_eq!(without("Timestamp"), ErrorCode::MissingTimestamp);
    assert_eq!(without("SignatureMethod"), ErrorCode::InvalidSignatureMethod);
    assert_eq!(without("SignatureVersion"), ErrorCode::InvalidSignatureMethod);
}

#[test]
fn each_malformed_part_has_its_code() {
    let with = |from: &str, to: &str| {
        request(Method::POST, &[&v1().query.replace(from, to)], "").refusal()
    };
    for (from, to) in [
        ("HMAC-SHA1", "HMAC-SHA256"),
        ("HMAC-SHA1", "SHA256withRSA"),
        ("HMAC-SHA1", "hmac-sha1"),
        ("Version=1.0", "Version=2.0"),
        ("Type=", "Type=BEARERTOKEN"),
        ("Type=", "Type=PRIVATEKEY"),
    ] {
        assert_eq!(with(from, to), ErrorCode::InvalidSignatureMethod, "{to}");
    }
    assert_eq!(with("T08:30:00Z", "+08:30:00"), ErrorCode::InvalidTimeStampFormat);
    assert_eq!(with("GxI%3D", "GxI"), ErrorCode::IncompleteSignature);
    assert_eq!(with("5f1c", &"5f1c".repeat(40)), ErrorCode::InvalidParameter);
}

#[test]
fn the_signature_of_a_client_key_is_told_by_method_version_and_type_together() {
    let rsa = v1().query.replace("HMAC-SHA1", "SHA256withRSA");
    let rsa = rsa.replace("SignatureType=", "SignatureType=PRIVATEKEY");
    let signed_with = |query: &str| {
        let parts = request(Method::POST, &[query], "");
        parts.receive(|signed_request| {
            Ok(claim(signed_request)?.signed_with == SignedWith::ClientKey)
        })
    };
    assert!(signed_with(&rsa).unwrap());
    assert!(!signed_with(&v1().query).unwrap());
    for (from, to) in [
        ("SHA256withRSA", "RSA_PKCS1_SHA_256"),
        ("SHA256withRSA", "sha256withrsa"),
        ("SHA256withRSA", ""),
        ("Type=PRIVATEKEY", "Type=privatekey"),
        ("Type=PRIVATEKEY", "Type="),
        ("Version=1.0", "Version=1.1"),
        ("Version=1.0", "Version="),
    ] {
        let refused = signed_with(&rsa.replace(from, to)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidSignatureMethod, "{from} {to}");
    }
    // No secret, however it came to be known, makes such a signature.
    let parts = request(Method::POST, &[&rsa], "");
    assert_eq!(parts.refusal(), ErrorCode::SignatureDoesNotMatch);
}

/// The old Python SDK crashes on a message without a colon and reads what follows it.
#[test]
fn the_refusal_shows_the_string_to_sign_after_its_first_colon() {
    let error = v1().check("another").unwrap_err();
    let (before, after) = error.message().split_once(':').unwrap();
    assert!(before.ends_with("server string to sign is"));
    assert_eq!(after, signed_text(&v1()));
}
