//! Tokens of identity providers that must not be accepted, each with its code, its record and without
//! a session.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::audit_file::{events, records};
use crate::support::calls::{code, until_code};
use crate::support::gateway::{refusal, text};
use crate::support::identity::{AUDIENCE, Federation, ISSUER, Issuer, PROVIDER, SUBJECT, encode};

const UNLIMITED: &str = "authentication_failures_per_second = 0\n";
const INVALID: &str = "AuthenticationFail.OIDCToken.Invalid";
const SIGNATURE: &str = "AuthenticationFail.OIDCToken.InvalidSignature";
const EXPIRED: &str = "AuthenticationFail.OIDCToken.Expired";
const AUDIENCE_CODE: &str = "AuthenticationFail.OIDCToken.AudienceNotMatch";
const ISSUER_CODE: &str = "AuthenticationFail.OIDCToken.IssuerNotMatch";
const NO_PERMISSION: &str = "AuthenticationFail.NoPermission";
const RSA_HEADER: &str = r#"{"alg":"RS256","kid":"rsa-1"}"#;

type Case = (String, String, &'static str);

fn case(name: &str, token: String, code: &'static str) -> Case {
    (name.to_owned(), token, code)
}

/// The claims with one of them changed.
fn with(name: &str, value: Value) -> Value {
    let mut claims = Issuer::claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = Issuer::claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn algorithms(issuer: &Issuer) -> Vec<Case> {
    let claims = encode(Issuer::claims().to_string());
    let unsigned = |header: &str| format!("{}.{claims}.", encode(header));
    let mut cases = Vec::new();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","kid":"rsa-1"}"#, r#"{"kid":"rsa-1"}"#] {
        cases.push(case(header, unsigned(header), INVALID));
        let signed = issuer.signed(header, &Issuer::claims().to_string());
        cases.push(case(&format!("signed {header}"), signed, INVALID));
    }
    for header in [
        r#"{"alg":256,"kid":"rsa-1"}"#,
        r#"{"alg":["RS256"],"kid":"rsa-1"}"#,
        r#"{"alg":null,"kid":"rsa-1"}"#,
        r#"{"alg":"rs256","kid":"rsa-1"}"#,
        r#"{"alg":"RS512","kid":"rsa-1"}"#,
        r#"{"alg":"PS256","kid":"rsa-1"}"#,
        r#"{"alg":"RS256","kid":"rsa-1","crit":["exp"],"exp":1}"#,
        r#"{"alg":"RS256","kid":"rsa-1","crit":[]}"#,
        r#"{"alg":"RS256","kid":"rsa-1","b64":false}"#,
        r#"{"alg":"RS256","kid":"rsa-1","zip":"DEF"}"#,
        r#"{"alg":"HS256","alg":"RS256","kid":"rsa-1"}"#,
        r#"{"alg":"RS256","kid":"other","kid":"rsa-1"}"#,
        r#"["RS256"]"#,
        r#"{"alg":"RS256","kid":["rsa-1"]}"#,
    ] {
        cases.push(case(header, issuer.signed(header, &Issuer::claims().to_string()), INVALID));
    }
    let (modulus, _exponent) = issuer.rsa_components();
    let spki = issuer.rsa_spki();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(&spki)
    );
    let set = issuer.key_set().to_string();
    for secret in [
        &modulus[..],
        encode(&modulus).as_bytes(),
        &spki,
        pem.as_bytes(),
        pem.trim().as_bytes(),
        format!(" {pem}").as_bytes(),
        set.as_bytes(),
        b"",
    ] {
        let signed = format!("{}.{claims}", encode(r#"{"alg":"HS256","kid":"rsa-1"}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        cases.push(case("HS256 with the public key", format!("{signed}.{}", encode(tag)), INVALID));
        let signed = format!("{}.{claims}", encode(RSA_HEADER));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        cases.push(case("HMAC as RS256", format!("{signed}.{}", encode(tag)), SIGNATURE));
    }
    cases
}

/// `url` is an address of the test, which nothing may call.
fn keys(issuer: &Issuer, url: &str) -> Vec<Case> {
    let other = Issuer::new();
    let claims = Issuer::claims().to_string();
    let long = "x".repeat(10_000);
    let mut cases = Vec::new();
    for (kid, code) in [
        ("rsa-2", SIGNATURE),
        ("", SIGNATURE),
        ("../../x", SIGNATURE),
        ("ec-1", SIGNATURE),
        ("RSA-1", SIGNATURE),
        (long.as_str(), INVALID),
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        cases.push(case(&format!("kid {kid:.9}"), issuer.signed(&header, &claims), code));
    }
    cases.push(case("key of another issuer", other.signed(RSA_HEADER, &claims), SIGNATURE));
    let own_key = &other.key_set()["keys"][0];
    for header in [
        json!({"alg": "RS256", "kid": "rsa-1", "jwk": own_key}),
        json!({"alg": "RS256", "jwk": own_key}),
        json!({"alg": "RS256", "kid": "rsa-1", "jku": url, "x5u": url, "x5c": ["AAAA"]}),
        json!({"alg": "RS256", "kid": url, "jku": url}),
    ] {
        let header = header.to_string();
        cases.push(case(&header, other.signed(&header, &claims), SIGNATURE));
    }
    cases.push(case("ES256 of another issuer", other.ec_token(&Issuer::claims()), SIGNATURE));
    let es = encode(r#"{"alg":"ES256","kid":"rsa-1"}"#);
    let signed = format!("{es}.{}", encode(&claims));
    let signature = encode(issuer.rsa_signature(&signed));
    cases.push(case("RSA key as ES256", format!("{signed}.{signature}"), SIGNATURE));
    let es = encode(r#"{"alg":"ES256","kid":"ec-1"}"#);
    let signed = format!("{es}.{}", encode(&claims));
    let good = issuer.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    for (name, signature, code) in [
        ("zeros", vec![0; 64], SIGNATURE),
        ("63 bytes", good.as_ref()[..63].to_vec(), SIGNATURE),
        ("65 bytes", [good.as_ref(), &[0]].concat(), SIGNATURE),
        ("4 kB", vec![1; 4000], SIGNATURE),
        ("21 kB", vec![1; 21_000], INVALID),
        ("DER", der_signature(good.as_ref()), SIGNATURE),
    ] {
        let token = format!("{signed}.{}", encode(signature));
        cases.push(case(&format!("ES256 signature: {name}"), token, code));
    }
    cases
}

/// A signature of two numbers of 32 bytes as DER.
fn der_signature(fixed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        let sign = &[0][..usize::from(digits[0] > 127)];
        [&[2, u8::try_from(sign.len() + digits.len()).unwrap()], sign, digits].concat()
    };
    let numbers = [number(&fixed[..32]), number(&fixed[32..])].concat();
    [&[0x30, u8::try_from(numbers.len()).unwrap()], &numbers[..]].concat()
}

fn claims(issuer: &Issuer) -> Vec<Case> {
    let now = hsmgate::model::clock::now().unix();
    let mut cases = Vec::new();
    let mut add = |name: &str, claims: Value, code| {
        cases.push(case(&format!("{name} {:.60}", claims[name]), issuer.token(&claims), code));
    };
    for name in ["exp", "iat", "iss", "sub", "aud"] {
        add(name, without(name), INVALID);
    }
    for name in ["exp", "iat", "nbf"] {
        for value in [json!("1900000000"), json!(-1), json!(1.5), json!(null), json!([now])] {
            add(name, with(name, value), INVALID);
        }
    }
    add("exp", with("exp", json!(now - 61)), EXPIRED);
    add("exp", with("exp", json!(0)), EXPIRED);
    add("exp", with("exp", json!(now + 30 * 24 * 3600)), EXPIRED);
    add("exp", with("exp", json!(i64::MAX)), EXPIRED);
    add("exp", with("exp", json!(u64::MAX)), INVALID);
    add("nbf", with("nbf", json!(now + 120)), EXPIRED);
    add("iat", with("iat", json!(now + 120)), EXPIRED);
    add("iat", with("iat", json!(now - 24 * 3600 - 120)), EXPIRED);
    for value in [json!([ISSUER]), json!({"0": ISSUER}), json!(7)] {
        add("iss", with("iss", value), INVALID);
    }
    for value in [
        "",
        "https://kubernetes.default",
        "https://kubernetes.default.svc/",
        "https://KUBERNETES.default.svc",
        "https://kubernetes.default.svc\0",
    ] {
        add("iss", with("iss", json!(value)), ISSUER_CODE);
    }
    for value in [
        json!([]),
        json!([1, 2]),
        json!([AUDIENCE, 1]),
        json!(null),
        json!([[AUDIENCE]]),
        json!(vec![AUDIENCE; 1000]),
        json!(vec!["a"; 10_000]),
    ] {
        add("aud", with("aud", value), INVALID);
    }
    for value in [
        json!("kms"),
        json!(["a", "b"]),
        json!("sts.aliyuncs.com,other"),
        json!("STS.aliyuncs.com"),
        json!(""),
    ] {
        add("aud", with("aud", value), AUDIENCE_CODE);
    }
    for value in [json!(""), json!([SUBJECT]), json!("s".repeat(2000))] {
        add("sub", with("sub", value), INVALID);
    }
    for value in ["system:serviceaccount:shop:other", "system:serviceaccount:shop:api ", "*"] {
        add("sub", with("sub", json!(value)), NO_PERMISSION);
    }
    let text = Issuer::claims().to_string();
    let repeated = text.replacen('{', r#"{"sub":"system:serviceaccount:shop:admin","#, 1);
    cases.push(case("repeated sub", issuer.signed(RSA_HEADER, &repeated), INVALID));
    let huge = text.replacen("\"iat\":", "\"more\":1e400,\"iat\":", 1);
    cases.push(case("1e400", issuer.signed(RSA_HEADER, &huge), INVALID));
    for name in ["exp", "iat", "nbf"] {
        let (start, rest) = text.split_once(&format!("\"{name}\":")).unwrap();
        let rest = rest.trim_start_matches(|char: char| char.is_ascii_digit());
        let huge = format!("{start}\"{name}\":1e400{rest}");
        cases.push(case(&format!("{name} 1e400"), issuer.signed(RSA_HEADER, &huge), INVALID));
    }
    let repeated = text.replacen('{', r#"{"jti":"1","jti":"1","#, 1);
    cases.push(case("repeated jti", issuer.signed(RSA_HEADER, &repeated), INVALID));
    let deep = format!(r#"{{"a":{}1{},{}"#, "[".repeat(5000), "]".repeat(5000), &text[1..]);
    cases.push(case("deep JSON", issuer.signed(RSA_HEADER, &deep), INVALID));
    cases.push(case("no JSON", issuer.signed(RSA_HEADER, "claims"), INVALID));
    cases
}

fn forms(issuer: &Issuer) -> Vec<Case> {
    let token = issuer.token(&Issuer::claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let mut flipped = claims.to_owned().into_bytes();
    flipped[40] = if flipped[40] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let last = signature.chars().next_back().unwrap();
    let trailing = if last == 'A' { 'B' } else { char::from_u32(u32::from(last) + 1).unwrap() };
    let trailing = format!("{}{trailing}", &signature[..signature.len() - 1]);
    let serialized = json!({"protected": header, "payload": claims, "signature": signature});
    vec![
        case("empty", String::new(), INVALID),
        case("two parts", signed.to_owned(), INVALID),
        case("five parts", format!("{token}.a.b"), INVALID),
        case("20,000 dots", ".".repeat(20_000), INVALID),
        case("20,001 characters", "a".repeat(20_001), INVALID),
        case("JSON serialization", serialized.to_string(), INVALID),
        case("padding", format!("{token}=="), INVALID),
        case("a line feed inside", token.replacen('.', ".\n", 1), SIGNATURE),
        case("standard alphabet", format!("{header}.{claims}.{}", "+/".repeat(171)), INVALID),
        case("empty signature", format!("{signed}."), SIGNATURE),
        case("changed claims", format!("{header}.{flipped}.{signature}"), SIGNATURE),
        case("trailing bits", format!("{signed}.{trailing}"), INVALID),
        case("another signature", format!("{signed}.{}", encode([1; 256])), SIGNATURE),
    ]
}

/// Sends a token that must be refused. Returns the request id.
async fn assert_refused(federation: &Federation, source: &str, case: &Case) -> String {
    let (name, token, code) = case;
    let answer = federation.exchange_from(source, token).await;
    assert!(!answer.body.contains("Credentials"), "{name}: {}", answer.body);
    let (status, found) = answer.refusal();
    assert_eq!((status, found.as_str()), (401, *code), "{name}: {}", answer.body);
    let message = answer.message();
    let repeated =
        token.split('.').filter(|part| part.len() > 20).find(|part| message.contains(part));
    assert_eq!(repeated, None, "{name}: the message has a part of the token");
    text(&answer.json()["RequestId"]).to_owned()
}

/// The record of a refusal has what was proven, and nothing that the token claims.
fn assert_record(record: &Value, case: &Case) {
    let (name, _token, code) = case;
    assert_eq!(record["eventName"], "AssumeRoleWithOIDC", "{name}");
    assert_eq!(record["errorCode"], *code, "{name}");
    assert_eq!(record["responseElements"], Value::Null, "{name}");
    if *code != NO_PERMISSION {
        let unknown = json!({"type": "unknown", "accessKeyId": null});
        assert_eq!(record["userIdentity"], unknown, "{name}");
        assert!(!record.to_string().contains(SUBJECT), "{name}: {record}");
    }
    assert!(!record.to_string().contains("OIDCToken\":"), "{name}: {record}");
}

#[tokio::test]
async fn a_token_that_proves_nothing_makes_no_session() {
    let federation = Federation::open(UNLIMITED).await;
    let issuer = &federation.issuer;
    let good = [
        issuer.token(&Issuer::claims()),
        issuer.ec_token(&Issuer::claims()),
        format!("  {}\r\n", issuer.token(&Issuer::claims())),
        issuer.token(&with("aud", json!(AUDIENCE))),
        issuer.token(&with("aud", json!(["a", AUDIENCE, "b"]))),
        issuer.token(&without("nbf")),
        // The clocks may differ by a minute.
        issuer.token(&with("exp", json!(hsmgate::model::clock::now().unix() - 30))),
        issuer.signed(r#"{"alg":"RS256"}"#, &Issuer::claims().to_string()),
    ];
    for token in &good {
        let answer = federation.exchange(token).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let mut cases =
        [algorithms(issuer), keys(issuer, &url), claims(issuer), forms(issuer)].concat();
    assert!(cases.len() > 120, "{}", cases.len());
    let file = federation.installation.audit_file();
    let mut sources = (2..=u16::MAX).map(|number| {
        let [high, low] = number.to_be_bytes();
        format!("127.0.{high}.{low}")
    });
    // Of many refusals a second some are only counted: these are sent again.
    while !cases.is_empty() {
        let mut refused = Vec::new();
        for case in &cases {
            let source = sources.next().unwrap();
            refused.push(assert_refused(&federation, &source, case).await);
        }
        let all: HashMap<String, Value> = records(&file)
            .into_iter()
            .filter_map(|record| Some((record["requestId"].as_str()?.to_owned(), record)))
            .collect();
        let mut ids = refused.iter();
        cases.retain(|case| {
            let record = all.get(ids.next().unwrap());
            record.map(|record| assert_record(record, case)).is_none()
        });
    }
    let large = format!("{}{}", good[0], "a".repeat(1 << 20));
    assert_eq!(federation.exchange(&large).await.status, 413, "a token of 1 MB");
    let called = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(called.is_err(), "an address of a token was called");
    let all = records(&file);
    let text = format!("{all:?}{}", federation.server.log());
    for token in good {
        let signature = token.rsplit('.').next().unwrap().trim();
        assert!(!text.contains(&signature[..40]), "a token is on record or in the log");
    }
}

#[tokio::test]
async fn a_session_ends_when_its_token_would_not_be_accepted_any_more() {
    let federation = Federation::open(UNLIMITED).await;
    let token = federation.issuer.token(&Issuer::claims());
    let encrypt = [("KeyId", federation.key.as_str()), ("Plaintext", "SGVsbG8=")];
    let absent = "InvalidAccessKeyId.NotFound";
    let session = async || {
        let answer = federation.exchange(&token).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        federation.client(&answer.json())
    };
    let run = |arguments: &[&str]| federation.installation.configured(arguments).done();
    let first = session().await;
    until_code(&first, "Encrypt", &encrypt, "").await;

    // The trust policy names another subject.
    federation.trust("shop", "system:serviceaccount:shop:other");
    until_code(&first, "Encrypt", &encrypt, absent).await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, NO_PERMISSION));
    federation.trust("shop", SUBJECT);
    until_code(&first, "Encrypt", &encrypt, "").await;

    // The key of the issuer is replaced: new tokens are refused, and sessions remain.
    let other = Issuer::new();
    let keys = federation.file("other.json", &other.key_set());
    run(&["identity-provider", "replace-keys", "k8s", "--jwks", &keys]);
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, SIGNATURE));
    until_code(&first, "Encrypt", &encrypt, "").await;
    run(&["role", "end-sessions", "shop"]);
    until_code(&first, "Encrypt", &encrypt, absent).await;
    let answer = federation.exchange(&other.token(&Issuer::claims())).await;
    let second = federation.client(&answer.json());
    until_code(&second, "Encrypt", &encrypt, "").await;

    // The provider is removed, and another one has its name.
    run(&["identity-provider", "delete", "k8s"]);
    until_code(&second, "Encrypt", &encrypt, absent).await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, NO_PERMISSION));
    federation.create_provider("k8s", ISSUER);
    until_code(&second, "Encrypt", &encrypt, absent).await;
    let third = session().await;
    until_code(&third, "Encrypt", &encrypt, "").await;

    // A token for one provider is none for another with the same keys.
    federation.create_provider("ci", "https://ci.example");
    let by_other = [
        ("OIDCToken", token.as_str()),
        ("OIDCProviderArn", "acs:ram::1234567890123456:oidc-provider/ci"),
    ];
    assert_eq!(federation.exchange_with(&by_other).await.refusal(), refusal(401, ISSUER_CODE));

    // The key of another provider verifies nothing here, whatever its kid.
    let ci = Issuer::new();
    let mut keys = ci.key_set();
    keys["keys"][0]["kid"] = json!("ci-1");
    let keys = federation.file("ci.json", &keys);
    run(&["identity-provider", "replace-keys", "ci", "--jwks", &keys]);
    for kid in ["ci-1", "rsa-1"] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let token = ci.signed(&header, &Issuer::claims().to_string());
        assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, SIGNATURE), "{kid}");
    }
    let header = json!({"alg": "RS256", "kid": "ci-1"}).to_string();
    let of_ci = with("iss", json!("https://ci.example"));
    let signed = ci.signed(&header, &of_ci.to_string());
    let of_ci = [
        ("OIDCToken", signed.as_str()),
        ("OIDCProviderArn", "acs:ram::1234567890123456:oidc-provider/ci"),
    ];
    let answer = federation.exchange_with(&of_ci).await;
    assert_eq!(answer.refusal(), refusal(401, NO_PERMISSION), "the role trusts another provider");

    run(&["role", "delete", "shop"]);
    until_code(&third, "Encrypt", &encrypt, absent).await;
    let gone = refusal(404, "EntityNotExist.Role");
    assert_eq!(federation.exchange(&token).await.refusal(), gone);
    let forged = Issuer::new().token(&Issuer::claims());
    assert_eq!(
        federation.exchange(&forged).await.refusal(),
        refusal(401, SIGNATURE),
        "without a valid token nobody learns which roles exist"
    );
}

/// Runs commands while neither the gateway nor the token is there.
async fn offline(federation: Federation, commands: &[&[&str]], sql: &'static str) -> Federation {
    let Federation { installation, server, issuer, key } = federation;
    assert_eq!(server.stop(), Some(0));
    fs::rename(installation.path("tokens"), installation.path("away")).unwrap();
    for arguments in commands {
        installation.configured(arguments).done();
    }
    installation.configured(&["role", "end-sessions", "none"]).failed(3);
    installation.configured(&["identity-provider", "delete", "none"]).failed(3);
    installation.configured(&["role", "update", "none", "--no-trust"]).failed(3);
    installation.tamper(sql).await;
    fs::rename(installation.path("away"), installation.path("tokens")).unwrap();
    let server = installation.serve();
    Federation { installation, server, issuer, key }
}

#[tokio::test]
async fn sessions_are_ended_without_a_gateway_and_without_the_token() {
    let mut federation = Federation::open(UNLIMITED).await;
    let token = federation.issuer.token(&Issuer::claims());
    let key = federation.key.clone();
    let encrypt = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
    let absent = "InvalidAccessKeyId.NotFound";
    let end: &[&str] = &["role", "end-sessions", "shop"];
    // Besides, somebody writes that the sessions of the next thousands of years have ended.
    let forever = "INSERT INTO revocations (id, kind, subject, policy, created) \
                   VALUES ('x', 'end-sessions', 'role/shop', '9999-01-01T00:00:00Z', 1)";
    for sql in [forever, "SELECT 1", "SELECT 1"] {
        let session = federation.exchange(&token).await.json();
        until_code(&federation.client(&session), "Encrypt", &encrypt, "").await;
        federation = offline(federation, &[end], sql).await;
        until_code(&federation.client(&session), "Encrypt", &encrypt, absent).await;
    }

    let session = federation.exchange(&token).await.json();
    until_code(&federation.client(&session), "Encrypt", &encrypt, "").await;
    let distrust: &[&str] = &["role", "update", "shop", "--no-trust"];
    federation = offline(federation, &[distrust], "SELECT 1").await;
    until_code(&federation.client(&session), "Encrypt", &encrypt, absent).await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, NO_PERMISSION));
    federation.trust("shop", SUBJECT);

    let session = federation.exchange(&token).await.json();
    until_code(&federation.client(&session), "Encrypt", &encrypt, "").await;
    let delete: &[&str] = &["identity-provider", "delete", "k8s"];
    federation = offline(federation, &[delete], "SELECT 1").await;
    until_code(&federation.client(&session), "Encrypt", &encrypt, absent).await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, NO_PERMISSION));
    federation.create_provider("k8s", ISSUER);
    assert_eq!(code(&federation.client(&session), "Encrypt", &encrypt).await, absent);
    assert_eq!(federation.exchange(&token).await.status, 200, "another provider with the name");
}

#[tokio::test]
async fn a_key_set_with_a_weak_or_a_secret_key_is_refused() {
    let federation = Federation::open(UNLIMITED).await;
    let set = federation.issuer.key_set();
    let rsa = |name: &str, value: Value| {
        let mut key = set["keys"][0].clone();
        key[name] = value;
        json!({"keys": [key]})
    };
    let bits = |count: usize| json!(encode(vec![0xff; count / 8]));
    let mut repeated = set.clone();
    repeated["keys"][1]["kid"] = json!("rsa-1");
    for (keys, fault) in [
        (rsa("n", bits(1024)), "2048 to 8192 bits"),
        (rsa("n", bits(16384)), "2048 to 8192 bits"),
        (rsa("e", json!(encode([1]))), "odd exponent"),
        (rsa("e", json!(encode([1, 0]))), "odd exponent"),
        (rsa("d", json!("AAAA")), "private key"),
        (rsa("use", json!("enc")), "no key for RS256 or ES256"),
        (rsa("alg", json!("RS512")), "no key for RS256 or ES256"),
        (rsa("kid", json!(7)), "not a JSON Web Key Set"),
        (json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}), "symmetric"),
        (json!({"keys": [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}]}), "no key for"),
        (json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}), "32 bytes"),
        (repeated, "same kid"),
        (json!({"keys": []}), "no key for"),
        (json!({"keys": vec![set["keys"][0].clone(); 101]}), "not a JSON Web Key Set"),
        (json!([]), "not a JSON Web Key Set"),
    ] {
        let file = federation.file("bad.json", &keys);
        let replace = ["identity-provider", "replace-keys", "k8s", "--jwks", &file];
        let told = federation.installation.configured(&replace).failed(2);
        assert!(told.contains(fault), "{told}, not {fault}");
    }
}

#[tokio::test]
async fn one_bad_pod_does_not_lock_out_its_neighbors_behind_the_same_address() {
    let federation = Federation::open("authentication_failures_per_second = 5\n").await;
    let good = federation.issuer.token(&Issuer::claims());
    assert_eq!(federation.exchange(&good).await.status, 200);
    // A pod whose token has expired asks again and again.
    let bad = with("sub", json!("system:serviceaccount:shop:broken"));
    let bad = Issuer::new().token(&bad);
    let mut throttled = 0;
    for _attempt in 0..60 {
        throttled += u32::from(federation.exchange(&bad).await.status == 429);
    }
    assert!(throttled > 20, "{throttled}");
    let renewed = federation.issuer.token(&with("jti", json!("2")));
    assert_eq!(federation.exchange(&renewed).await.status, 200, "a subject that was proven before");
    let file = federation.installation.audit_file();
    let assumed = events(&file, "AssumeRoleWithOIDC", 2).await;
    let identity = &assumed[0]["userIdentity"];
    assert_eq!(
        (&identity["type"], &identity["userName"]),
        (&json!("oidc-identity"), &json!(SUBJECT))
    );
    let context = json!({"provider": "k8s", "issuer": ISSUER, "subject": SUBJECT});
    assert_eq!(identity["sessionContext"], context);
    assert_eq!(assumed[0]["requestParameters"]["OIDCProviderArn"], PROVIDER);
}
