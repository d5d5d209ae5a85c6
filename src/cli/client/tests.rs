//! The client against a server that checks what it gets, as the gateway does.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;

use super::*;
use crate::api::ERRORS;
use crate::api::rpc::format::{Format, failure, success};
use crate::api::rpc::params;
use crate::api::rpc::sign::{self, rpc1_string_to_sign};
use crate::error::{ApiError, ErrorCode};
use crate::model::{Api, RequestId, clock};
use crate::server::http::{ConnectionLimits, HttpApp, HttpSettings, collect_body, serve};

const SECRET: &str = "exampleSecretDoNotUse0123456789";
const NONCE: &str = "c0ffee00112233445566778899aabbcc";

fn date_and_nonce() -> DateAndNonce<'static> {
    DateAndNonce { date: clock::now(), nonce: NONCE }
}

fn target(endpoint: &str) -> Result<Target, InvalidTarget> {
    Target::new(endpoint, "LTAIexampleAccessKeyId01", SECRET.into())
}

/// A call signed as RPC 1.0, as the older SDKs do: a GET with all parameters in its query, or a
/// POST with all of them in a form.
fn signed_request_v1(
    target: &Target,
    method: &Method,
    action: &str,
    params: &[(&str, &str)],
    date_and_nonce: DateAndNonce<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let date = date_and_nonce.date.to_string();
    let common = [
        ("AccessKeyId", target.access_key_id.as_str()),
        ("Action", action),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", date_and_nonce.nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &date),
        ("Version", Api::Kms.version()),
    ];
    let mut all = [&common, params].concat();
    let mut signed = Params::default();
    if let Some(token) = &target.security_token {
        all.push(("SecurityToken", token.expose_secret()));
    }
    for (name, value) in &all {
        // A name that stands twice is refused by the gateway; the first is as good as any.
        let _first_stays = signed.insert(*name, *value);
    }
    let text = rpc1_string_to_sign(method, &signed);
    let signature = STANDARD.encode(signature::sign(Scheme::Rpc1, &target.secret, &text));
    all.push(("Signature", &signature));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(target.authority.as_str())?);
    if method == Method::GET {
        return request(method, target.uri(&encoded(&all))?, headers, String::new());
    }
    headers.insert(CONTENT_TYPE, FORM);
    request(method, target.uri("")?, headers, encoded(&all))
}

fn request(
    method: &Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder().method(method).uri(uri).body(Full::from(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Proves the request as the protocol and `authn` do, and gives its action and its parameters.
async fn prove(request: Request<Body>) -> Result<(String, Vec<String>), ApiError> {
    let (head, body) = request.into_parts();
    let body = collect_body(body, 256 * 1024).await?;
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let params = params::read(query, params::form(&head.headers, &body)?)?;
    let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
    let signed = SignedRequest { method, path, query, headers, body: &body, params: &params };
    let claim = sign::claim(&signed)?;
    if !signature::verify(&claim, &SECRET.into()) {
        return Err(claim.mismatch());
    }
    let pairs = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok((sign::api_call(&signed)?.action.to_owned(), pairs))
}

#[tokio::test]
async fn each_signed_request_is_proved() {
    let target = target("http://127.0.0.1:8200").unwrap();
    let long = "ä/".repeat(10_000);
    for value in ["a b+c/*~", "", &long] {
        let params = [("Plaintext", value), ("KeyId", "alias/x")];
        for request in [
            signed_request(&target, "Encrypt", &params, date_and_nonce()).unwrap(),
            signed_request_v1(&target, &Method::POST, "Encrypt", &params, date_and_nonce())
                .unwrap(),
        ] {
            let (action, pairs) = prove(request.map(Body::new)).await.unwrap();
            assert_eq!(action, "Encrypt");
            assert!(pairs.contains(&format!("Plaintext={value}")));
        }
    }
    let get =
        signed_request_v1(&target, &Method::GET, "ListKeys", &[("A", "b c")], date_and_nonce())
            .unwrap();
    assert_eq!(prove(get.map(Body::new)).await.unwrap().0, "ListKeys");
}

#[test]
fn a_call_goes_into_the_query_as_from_the_sdks() {
    let target = target("http://127.0.0.1:8200/").unwrap();
    let params = [("Digest", "SGk="), ("KeyId", "alias/x y")];
    let request = signed_request(&target, "AsymmetricSign", &params, date_and_nonce()).unwrap();
    assert_eq!(request.uri(), "http://127.0.0.1:8200/?Digest=SGk%3D&KeyId=alias%2Fx%20y");
    assert_eq!(request.headers()["host"], "127.0.0.1:8200");
    assert!(!request.headers().contains_key("content-type"));
}

#[test]
fn only_a_plain_endpoint_is_taken() {
    for endpoint in ["http://127.0.0.1:8200", "http://kms.example", "https://[::1]:80/"] {
        assert!(target(endpoint).is_ok(), "{endpoint}");
    }
    for endpoint in [
        "",
        "127.0.0.1:8200",
        "ftp://h",
        "http://h/path",
        "http://h/?a",
        "http://a:b@h",
        "http:///",
    ] {
        assert!(matches!(target(endpoint), Err(InvalidTarget::Endpoint)), "{endpoint}");
    }
    let client = Client::new("http://h", "a b", SECRET.into());
    assert!(matches!(client, Err(InvalidTarget::AccessKeyId)));
}

/// A gateway of three operations, and a client of it.
async fn client() -> Client {
    let router = Router::new().fallback(async |request: Request<Body>| {
        let id = RequestId::random();
        match prove(request).await {
            Ok((action, _)) if action == "Garble" => "no JSON".into_response(),
            Ok((action, _)) if action == "Refuse" => {
                failure(Format::Json, id, "h", &ErrorCode::KeyDisabled.into()).map(Body::from)
            }
            Ok((action, pairs)) => {
                let output = serde_json::json!({ "Pairs": pairs });
                success(Format::Json, &action, id, &output).map(Body::from)
            }
            Err(error) => failure(Format::Json, id, "h", &error).map(Body::from),
        }
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let second = Duration::from_secs(1);
    let settings = HttpSettings {
        connections: ConnectionLimits::of_all(8),
        header_timeout: second,
        request_timeout: second,
        drain: second,
        finish: second,
        proxies: crate::server::TrustedProxies::default(),
    };
    tokio::spawn(serve(
        listener,
        HttpApp { application: Arc::new(router), errors: ERRORS },
        settings,
        std::future::pending(),
    ));
    Client::new(&format!("http://{address}"), "ak", SECRET.into()).unwrap()
}

#[tokio::test]
async fn an_answer_is_told_from_a_refusal_and_from_neither() {
    let client = client().await;
    let answer = client.call("Encrypt", &[("KeyId", "alias/x")]).await.unwrap();
    assert_eq!(answer["Pairs"][0], "KeyId=alias/x");
    let refused = client.call("Refuse", &[]).await.unwrap_err();
    let CallError::Refused { status, code, message, request_id } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((status, code.as_str()), (409, "Rejected.Disabled"));
    assert!(message.contains("Disabled") && request_id.len() == 36);
    assert!(matches!(client.call("Garble", &[]).await, Err(CallError::Malformed)));
    assert!(matches!(client.call("Bad\nName", &[]).await, Err(CallError::Malformed)));
}

#[tokio::test]
async fn a_gateway_that_is_not_there_cannot_be_reached() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&format!("http://{address}"), "ak", SECRET.into()).unwrap();
    assert!(matches!(client.call("Encrypt", &[]).await, Err(CallError::Unreachable(_))));
}

#[tokio::test]
async fn a_gateway_without_tls_is_told_from_one_that_is_not_there() {
    let address = client().await.target.authority.to_string();
    let client = Client::new(&format!("https://{address}"), "ak", SECRET.into()).unwrap();
    let error = client.call("Encrypt", &[]).await.unwrap_err().to_string();
    assert_eq!(error, "the gateway cannot be reached (it speaks no TLS there: use http://)");
}

#[test]
fn a_wrong_secret_is_told_without_the_signed_text() {
    let refused = CallError::Refused {
        status: 400,
        code: "SignatureDoesNotMatch".to_owned(),
        message: "server string to sign is: ...".to_owned(),
        request_id: "1".to_owned(),
    };
    let told = "SignatureDoesNotMatch: the secret of the AccessKey is another one (request 1)";
    assert_eq!(refused.to_string(), told);
}

/// Proxies keep addresses in their logs.
#[tokio::test]
async fn a_confidential_value_is_not_in_the_address() {
    let target = target("http://127.0.0.1:1").unwrap();
    for (action, name) in [("PutSecretValue", "SecretData"), ("Encrypt", "Plaintext")] {
        let params = [("SecretName", "db"), (name, "hunter2")];
        let request = signed_request(&target, action, &params, date_and_nonce()).unwrap();
        assert_eq!(request.uri().query(), None);
        let (proved, pairs) = prove(request.map(Body::new)).await.unwrap();
        assert_eq!(proved, action);
        assert!(pairs.contains(&format!("{name}=hunter2")), "{pairs:?}");
    }
}
