//! The parsers that meet the bytes of strangers first, each as a function of bytes that panics
//! where the parser breaks its promise.
//!
//! `fuzz_targets/` drives them with new bytes, `tests/corpora.rs` with those that are kept.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a broken promise is a panic, which the fuzzer looks for"
)]

use hsmgate::api::instance::{messages, sign as instance_sign};
use hsmgate::api::rpc::sign::{SignedRequest, api_call, claim as rpc_claim};
use hsmgate::api::rpc::{params, percent};
use hsmgate::model::policy::{KeyPolicy, Policy};
use hsmgate::model::{
    AccountId, Alias, CiphertextBlob, EncryptionContext, KeyId, KeyRef, Params, TagKeyList, TagList,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost::Message;

/// One parser: its name, which is that of its corpus, and its function.
pub type Entrance = (&'static str, fn(&[u8]));

/// Every parser.
pub const ENTRANCES: &[Entrance] = &[
    ("query", query),
    ("claim", claim),
    ("context", context),
    ("blob", blob),
    ("names", names),
    ("policy", policy),
    ("instance_head", instance_head),
    ("instance_body", instance_body),
];

/// Query and form, a newline between them: what is read reads back from its canonical spelling.
pub fn query(data: &[u8]) {
    let (query, form) = split(data, b'\n');
    let Ok(read) = params::read(query, form) else { return };
    let mut canonical = String::new();
    for (name, value) in read.iter() {
        assert!(!name.is_empty());
        assert_eq!(read.text(name), Some(value));
        if !canonical.is_empty() {
            canonical.push('&');
        }
        percent::encode_into(&mut canonical, name);
        canonical.push('=');
        percent::encode_into(&mut canonical, value);
    }
    let again = params::read(canonical.as_bytes(), b"").expect("the canonical spelling is good");
    assert!(read.iter().eq(again.iter()));
}

/// A request of the RPC API: method, query, headers, an empty line, body. What it calls and what
/// it claims is found or refused, and the string to sign is there for every claim.
pub fn claim(data: &[u8]) {
    let Some((method, query, headers, body)) = request(data) else { return };
    let read = params::form(&headers, body).and_then(|form| params::read(query, form));
    let Ok(params) = read else { return };
    let signed_request = SignedRequest {
        method: &method,
        path: "/",
        query,
        headers: &headers,
        body,
        params: &params,
    };
    let _ = api_call(&signed_request);
    if let Ok(claim) = rpc_claim(&signed_request) {
        assert!(!claim.string_to_sign.is_empty() && !claim.access_key_id.is_empty());
    }
}

/// An encryption context: what is read has additional data unless it is empty.
pub fn context(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(context) = text.parse::<EncryptionContext>() {
        assert_eq!(context.aad().is_none(), context.pairs().next().is_none());
    }
    let mut params = Params::default();
    if params.insert("EncryptionContext", text).is_ok() {
        let _ = EncryptionContext::from_params(&params, "EncryptionContext");
    }
}

/// A ciphertext blob, as bytes and as Base64: it has one spelling.
pub fn blob(data: &[u8]) {
    if let Ok(blob) = CiphertextBlob::from_bytes(data) {
        assert_eq!(blob.to_bytes(), data);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(blob) = text.parse::<CiphertextBlob>()
    {
        assert_eq!(CiphertextBlob::from_bytes(&blob.to_bytes()).ok(), Some(blob));
    }
}

/// Ids, aliases, ARNs and lists of tags.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(alias) = text.parse::<Alias>() {
        assert_eq!(alias.to_string(), text);
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string().parse::<KeyId>().ok(), Some(id));
    }
    let _ = text.parse::<KeyRef>();
    let _ = text.parse::<AccountId>();
    let mut params = Params::default();
    if params.insert("Tags", text).is_ok() && params.insert("TagKeys", text).is_ok() {
        let _ = params.optional::<TagList>("Tags");
        let _ = params.optional::<TagKeyList>("TagKeys");
    }
}

/// Policy documents of all kinds; a fault can be told.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(fault) = Policy::parse(text) {
        assert!(!fault.to_string().is_empty());
    }
    if let Err(fault) = KeyPolicy::parse(text) {
        assert!(!fault.to_string().is_empty());
    }
}

/// The headers and the body of a request of the instance protocol.
pub fn instance_head(data: &[u8]) {
    let Some((method, _query, headers, body)) = request(data) else { return };
    let _ = instance_sign::api_name(&headers);
    let _ = instance_sign::key_version(&headers);
    let _ = instance_sign::check_body(&headers, body);
    if let Ok(claim) = instance_sign::claim(&method, &headers) {
        assert!(!claim.client_key_id.is_empty() && !claim.signature.is_empty());
    }
}

/// A message of the instance protocol; the first byte tells which. What is read writes back to
/// what reads the same.
pub fn instance_body(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    match which % 8 {
        0 => message::<messages::EncryptRequest>(body),
        1 => message::<messages::DecryptRequest>(body),
        2 => message::<messages::GenerateDataKeyRequest>(body),
        3 => message::<messages::AdvanceGenerateDataKeyRequest>(body),
        4 => message::<messages::SignRequest>(body),
        5 => message::<messages::VerifyRequest>(body),
        6 => message::<messages::GetPublicKeyRequest>(body),
        _ => message::<messages::GenerateRandomRequest>(body),
    }
}

fn message<M: Message + Default>(body: &[u8]) {
    if let Ok(message) = M::decode(body) {
        let written = message.encode_to_vec();
        let again = M::decode(&*written).expect("what was written reads");
        assert_eq!(again.encode_to_vec(), written);
    }
}

/// Method, query, headers and body, each line ended by a newline, the headers by an empty one.
fn request(data: &[u8]) -> Option<(Method, &[u8], HeaderMap, &[u8])> {
    let (method, rest) = split(data, b'\n');
    let (query, mut rest) = split(rest, b'\n');
    let mut headers = HeaderMap::new();
    loop {
        let (line, after) = split(rest, b'\n');
        rest = after;
        if line.is_empty() {
            break;
        }
        let (name, value) = split(line, b':');
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.trim_ascii()).ok()?);
    }
    Some((Method::from_bytes(method).ok()?, query, headers, rest))
}

fn split(data: &[u8], at: u8) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == at) {
        Some(position) => (&data[..position], &data[position + 1..]),
        None => (data, &[]),
    }
}
