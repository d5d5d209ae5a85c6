//! Errors of the KMS instance protocol on a socket, and the required fields of each answer.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use hsmgate::api::instance::messages::{
    AdvanceGenerateDataKeyPairRequest, AdvanceGenerateDataKeyRequest, DecryptRequest,
    EncryptRequest, EncryptResponse, Error, GenerateDataKeyPairRequest, GenerateDataKeyRequest,
    GenerateRandomRequest, GenerateRandomResponse, GetPublicKeyRequest, SignRequest, SignResponse,
    VerifyRequest,
};
use hsmgate::api::instance::table::TABLE;

use crate::support::audit_file::records;
use crate::support::client_key::{ClientKey, PASSWORD};
use crate::support::gateway::{Gateway, refusal as refused, text};
use crate::support::installation::Installation;
use crate::support::instance_client::{InstanceClient, refusal, send};
use crate::support::process::LIMIT;

/// A request of every operation, for a key, a key pair, and what both have made.
fn bodies(
    key: &str,
    pair: &str,
    encrypted: &EncryptResponse,
    framed: &EncryptResponse,
    signature: &[u8],
) -> Vec<(&'static str, Vec<u8>)> {
    let encrypt = encrypt(key);
    let decrypt = DecryptRequest {
        ciphertext_blob: encrypted.ciphertext_blob.clone(),
        key_id: key.to_owned(),
        iv: encrypted.iv.clone(),
        ..DecryptRequest::default()
    };
    let advance_decrypt = DecryptRequest {
        ciphertext_blob: framed.ciphertext_blob.clone(),
        ..DecryptRequest::default()
    };
    let data_key = GenerateDataKeyRequest {
        key_id: key.to_owned(),
        number_of_bytes: 32,
        ..GenerateDataKeyRequest::default()
    };
    let advance_data_key = AdvanceGenerateDataKeyRequest {
        key_id: key.to_owned(),
        number_of_bytes: 32,
        ..AdvanceGenerateDataKeyRequest::default()
    };
    let data_pair = GenerateDataKeyPairRequest {
        key_id: key.to_owned(),
        key_pair_spec: "EC_P256".to_owned(),
        ..GenerateDataKeyPairRequest::default()
    };
    let advance_pair = AdvanceGenerateDataKeyPairRequest {
        key_id: key.to_owned(),
        key_pair_spec: "EC_P256".to_owned(),
        ..AdvanceGenerateDataKeyPairRequest::default()
    };
    let sign = sign(pair);
    let verify = VerifyRequest {
        key_id: pair.to_owned(),
        algorithm: sign.algorithm.clone(),
        message: sign.message.clone(),
        signature: signature.to_vec(),
        ..VerifyRequest::default()
    };
    vec![
        ("Encrypt", encrypt.encode_to_vec()),
        ("AdvanceEncrypt", encrypt.encode_to_vec()),
        ("Decrypt", decrypt.encode_to_vec()),
        ("AdvanceDecrypt", advance_decrypt.encode_to_vec()),
        ("GenerateDataKey", data_key.encode_to_vec()),
        ("AdvanceGenerateDataKey", advance_data_key.encode_to_vec()),
        ("GenerateDataKeyPair", data_pair.encode_to_vec()),
        ("GenerateDataKeyPairWithoutPlaintext", data_pair.encode_to_vec()),
        ("AdvanceGenerateDataKeyPair", advance_pair.encode_to_vec()),
        ("AdvanceGenerateDataKeyPairWithoutPlaintext", advance_pair.encode_to_vec()),
        ("GenerateRandom", GenerateRandomRequest { length: 8 }.encode_to_vec()),
        ("Sign", sign.encode_to_vec()),
        ("Verify", verify.encode_to_vec()),
        ("GetPublicKey", GetPublicKeyRequest { key_id: pair.to_owned() }.encode_to_vec()),
    ]
}

fn encrypt(key: &str) -> EncryptRequest {
    EncryptRequest {
        key_id: key.to_owned(),
        plaintext: b"x".to_vec(),
        algorithm: String::new(),
        aad: Vec::new(),
        iv: Vec::new(),
        padding_mode: String::new(),
    }
}

fn sign(pair: &str) -> SignRequest {
    SignRequest {
        key_id: pair.to_owned(),
        algorithm: "ECDSA_SHA_256".to_owned(),
        message: b"hello".to_vec(),
        ..SignRequest::default()
    }
}

/// Requests that succeed for who may use every key.
async fn good_bodies(
    gateway: &Gateway,
    instance_client: &InstanceClient,
) -> Vec<(&'static str, Vec<u8>)> {
    let key = gateway.create_key().await;
    let pair = [("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")];
    let pair = gateway.create_key_with(&pair).await;
    let encrypt = encrypt(&key);
    let (encrypted, _) = instance_client.call("Encrypt", &encrypt).await;
    let (framed, _) = instance_client.call("AdvanceEncrypt", &encrypt).await;
    let (signed, _): (SignResponse, _) = instance_client.call("Sign", &sign(&pair)).await;
    let bodies = bodies(&key, &pair, &encrypted, &framed, &signed.signature);
    // A secret is read in tests/it/secrets.
    for entry in TABLE.iter().filter(|entry| entry.name != "GetSecretValue") {
        assert!(bodies.iter().any(|(name, _)| *name == entry.name), "no request of {}", entry.name);
    }
    bodies
}

#[tokio::test]
async fn every_success_has_a_body_and_names_the_key_version_that_it_used() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    for (name, body) in good_bodies(&gateway, &instance_client).await {
        let answer = send(instance_client.request(name, body, &[])).await;
        assert_eq!(answer.status(), 200, "{name}: {:?}", Error::decode(&answer.body()[..]));
        assert_eq!(answer.headers()["content-type"], "application/x-protobuf");
        assert!(answer.body().len() > 36, "{name}: at least its request id");
        let version = answer.headers().get("x-kms-migrationkeyversionid");
        let length = version.map(HeaderValue::len);
        assert_eq!(length, (name != "GenerateRandom").then_some(36), "{name}");
    }
}

#[tokio::test]
async fn every_operation_is_refused_to_a_client_key_without_rights_and_recorded() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let outsider = InstanceClient::of(&gateway, "far", r#"["key/*"]"#, r#"["192.0.2.1"]"#).await;
    let bodies = good_bodies(&gateway, &instance_client).await;
    for (name, body) in &bodies {
        let answer = send(outsider.request(name, body.clone(), &[])).await;
        assert_eq!(refusal(&answer), refused(403, "Forbidden.NoPermission"), "{name}");
    }
    let records = records(&gateway.state().join("audit.jsonl"));
    for (name, _) in bodies {
        let of_other = |record: &&Value| {
            record["eventName"] == name
                && record["userIdentity"]["accessKeyId"] == *outsider.client_key.id
        };
        let record = records.iter().find(of_other);
        let record = record.unwrap_or_else(|| panic!("no record of {name}"));
        assert_eq!(record["errorCode"], "Forbidden.NoPermission", "{name}");
        if name.contains("KeyPair") {
            assert_eq!(record["requestParameters"]["KeyPairSpec"], "EC_P256", "{record}");
        }
    }
}

#[tokio::test]
async fn a_head_that_lacks_or_repeats_a_header_is_refused() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let random = GenerateRandomRequest { length: 8 };
    for (name, missing, repeated) in [
        // The name of the operation tells the protocol as well.
        ("content-type", refused(415, "InvalidContentType"), refused(400, "InvalidParam")),
        ("x-kms-apiversion", refused(400, "InvalidApiVersion"), refused(400, "InvalidParam")),
        ("x-kms-apiname", refused(400, "InvalidApiName"), refused(400, "InvalidParam")),
        ("date", refused(400, "InvalidParam"), refused(400, "InvalidParam")),
        ("x-kms-signaturemethod", refused(400, "InvalidParam"), refused(400, "InvalidParam")),
        ("x-kms-acccesskeyid", refused(400, "MissingParameter"), refused(400, "InvalidParam")),
        ("authorization", refused(400, "InvalidParam"), refused(400, "InvalidParam")),
        ("content-sha256", refused(401, "SignatureNotMatch"), refused(400, "InvalidParam")),
    ] {
        let remove = |request: &mut Request<Full<Bytes>>| {
            request.headers_mut().remove(name);
        };
        let answer = instance_client.refused_when("GenerateRandom", &random, &remove).await;
        assert_eq!(answer, missing, "without {name}");
        let repeat = |request: &mut Request<Full<Bytes>>| {
            let value = request.headers()[name].clone();
            request.headers_mut().append(HeaderName::from_static(name), value);
        };
        let answer = instance_client.refused_when("GenerateRandom", &random, &repeat).await;
        assert_eq!(answer, repeated, "{name} twice");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_not_repeated() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let random = GenerateRandomRequest { length: 8 };
    for (name, bytes, expected) in [
        ("x-kms-acccesskeyid", 64 * 1024, refused(404, "Unauthorized")),
        ("x-kms-apiname", 64 * 1024, refused(400, "InvalidApiName")),
        ("date", 64 * 1024, refused(400, "InvalidParam")),
        ("authorization", 64 * 1024, refused(400, "InvalidParam")),
        ("x-kms-added", 64 * 1024, refused(401, "SignatureNotMatch")),
        ("x-kms-added", 1024 * 1024, refused(413, "RequestEntityTooLarge")),
    ] {
        let value = HeaderValue::from_str(&"x".repeat(bytes)).unwrap();
        let mut request = instance_client.request("GenerateRandom", random.encode_to_vec(), &[]);
        request.headers_mut().insert(HeaderName::from_static(name), value);
        let answer = exchange(gateway.address(), &written(request).await).await;
        assert!(answer.body().len() < 1024, "{name} comes back");
        assert_eq!(refusal(&answer), expected, "{name}, {bytes} bytes");
    }
}

#[tokio::test]
async fn both_schemes_carry_the_signature() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let body = GenerateRandomRequest { length: 8 }.encode_to_vec();
    let mut request = instance_client.request("GenerateRandom", body, &[]);
    let bearer = request.headers()["authorization"].to_str().unwrap().to_owned();
    let token = bearer.replace("Bearer ", "TOKEN ");
    assert_ne!(token, bearer);
    request.headers_mut().insert("authorization", HeaderValue::from_str(&token).unwrap());
    let answer = send(request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(GenerateRandomResponse::decode(&answer.body()[..]).unwrap().random.len(), 8);
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_one_and_an_invalid_message_is_refused() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut request = instance_client.request("GenerateRandom", vec![8, 8], &[]);
        *request.method_mut() = method.parse().unwrap();
        let answer = send(request).await;
        assert_eq!(refusal(&answer), refused(405, "UnsupportedHTTPMethod"), "{method}");
        assert_eq!(answer.headers()["allow"], "POST");
    }
    for body in [&b"\xff"[..], b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x02\xff", b"{\"KeyId\":1}"] {
        let answer = send(instance_client.request("Encrypt", body.to_vec(), &[])).await;
        assert_eq!(refusal(&answer), refused(400, "InvalidParameter"), "{body:?}");
    }
    // An empty message is one in which every field is missing.
    for entry in TABLE.iter() {
        let answer = send(instance_client.request(entry.name, Vec::new(), &[])).await;
        assert_eq!(refusal(&answer), refused(400, "InvalidParameter"), "{}", entry.name);
    }
}

#[tokio::test]
async fn a_body_that_arrives_too_late_is_answered() {
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| text.push_str("[limits]\nheader_timeout_ms = 300\n"));
    let server = installation.serve();
    let client = server.client(&admin);
    let permissions = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;
    let policy = [("Name", "any"), ("Permissions", permissions), ("Resources", r#"["key/*"]"#)];
    client.call("CreatePolicy", &policy).await.unwrap();
    let point = [("Name", "any"), ("Policies", r#"["any"]"#)];
    client.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let key = [("AapName", "any"), ("Password", PASSWORD)];
    let key = ClientKey::open(&client.call("CreateClientKey", &key).await.unwrap());
    let now = crate::support::client_key::now();
    let request = key.signed(&server.endpoint, "GenerateRandom", vec![8, 8], &now, &[]);
    let mut bytes = written(request.map(Full::new)).await;
    bytes.pop();
    let address = server.endpoint.strip_prefix("http://").unwrap();
    let answer = exchange(address, &bytes).await;
    assert_eq!(refusal(&answer), refused(400, "ParseRequestParameterException"));
}

/// A request as it is written to a socket.
async fn written(request: Request<Full<Bytes>>) -> Vec<u8> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut text = format!("{} / HTTP/1.1\r\nhost: h\r\n", head.method);
    write!(text, "content-length: {}\r\n", body.len()).unwrap();
    for (name, value) in &head.headers {
        write!(text, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
    }
    text.push_str("\r\n");
    [text.as_bytes(), &body].concat()
}

/// Sends bytes over a connection of their own and reads the answer.
async fn exchange(address: &str, bytes: &[u8]) -> http::Response<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let bytes = bytes.to_vec();
    // A server that has answered and closed already is fine.
    let writing = tokio::spawn(async move { writer.write_all(&bytes).await.map(|()| writer) });
    let answer = tokio::time::timeout(LIMIT, read(&mut reader)).await;
    drop(writing.await.unwrap());
    answer.expect("an answer in time")
}

async fn read(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> http::Response<Bytes> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let length = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    let status: u16 = text(&head.split(' ').nth(1).unwrap().into()).parse().unwrap();
    let mut answer = http::Response::builder().status(status).body(Bytes::from(body)).unwrap();
    *answer.headers_mut() = headers;
    answer
}
