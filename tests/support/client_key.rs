//! A client key and its signatures, as an SDK of the KMS instance protocol makes them. The
//! benchmark uses it too.

#![expect(clippy::unwrap_used, reason = "who cannot sign shall fail")]

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper::body::Bytes;
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use serde_json::Value;

/// The password of its container.
pub(crate) const PASSWORD: &str = "opens-it-1";

/// A client key with its private key.
pub(crate) struct ClientKey {
    pub(crate) id: String,
    pair: KeyPair,
}

impl ClientKey {
    /// Opens the answer of CreateClientKey.
    pub(crate) fn open(made: &Value) -> Self {
        let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap();
        Self::open_with(text("ClientKeyId"), text("PrivateKeyData"), PASSWORD)
    }

    /// Opens the Base64 of a container.
    pub(crate) fn open_with(id: &str, container: &str, password: &str) -> Self {
        let container = STANDARD.decode(container).unwrap();
        let store = KeyStore::from_pkcs12(&container, password, Pkcs12ImportPolicy::Strict);
        let store = store.unwrap();
        let (_alias, chain) = store.private_key_chain().unwrap();
        let pair = KeyPair::from_pkcs8(chain.key().as_der()).unwrap();
        Self { id: id.to_owned(), pair }
    }

    /// A request whose signing date is `date`, with additional signed headers.
    pub(crate) fn signed(
        &self,
        endpoint: &str,
        name: &str,
        body: Vec<u8>,
        date: &str,
        more: &[(&'static str, &str)],
    ) -> Request<Bytes> {
        let mut hash = String::new();
        for byte in digest(&SHA256, &body).as_ref() {
            write!(hash, "{byte:02X}").unwrap();
        }
        let mut headers = HeaderMap::new();
        let own = [
            ("x-kms-apiversion", "dkms-gcs-0.2"),
            ("x-kms-apiname", name),
            ("x-kms-signaturemethod", "RSA_PKCS1_SHA_256"),
            ("x-kms-acccesskeyid", &self.id),
        ];
        for (name, value) in own.iter().chain(more) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let mut named: Vec<_> = headers.iter().collect();
        named.sort_unstable_by_key(|(name, _)| name.as_str());
        let mut text = format!("POST\n{hash}\napplication/x-protobuf\n{date}\n");
        for (name, value) in named {
            text.extend([name.as_str(), ":", value.to_str().unwrap(), "\n"]);
        }
        text.push('/');
        let mut request = Request::post(format!("{endpoint}/"))
            .header("content-type", "application/x-protobuf")
            .header("content-sha256", hash)
            .header("date", date)
            .header("authorization", format!("Bearer {}", self.signature(&text)))
            .body(body.into())
            .unwrap();
        request.headers_mut().extend(headers);
        request
    }

    /// Its signature of a text, in Base64.
    pub(crate) fn signature(&self, text: &str) -> String {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
        STANDARD.encode(signature)
    }
}

/// The current time in the format of requests.
pub(crate) fn now() -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap()
}
