//! A caller that speaks the KMS instance protocol like an SDK.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use prost::Message;

use hsmgate::wire::instance::messages::Error;

use crate::harness::{Gateway, text};

const PASSWORD: &str = "opens-it-1";
const VERSION: &str = "x-kms-migrationkeyversionid";

/// A client key and the gateway that it is for.
pub(crate) struct Visitor {
    endpoint: String,
    pub(crate) client_key_id: String,
    key: KeyPair,
}

/// What a request does otherwise than an SDK.
pub(crate) type Change<'a> = &'a dyn Fn(&mut Request<Full<Bytes>>);

impl Visitor {
    /// With a new client key of an access point whose one policy is about `resources`, from the
    /// addresses of `rule` if there is one.
    pub(crate) async fn of(gateway: &Gateway, name: &str, resources: &str, rule: &str) -> Self {
        let mut policy = vec![
            ("Name", name),
            ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
            ("Resources", resources),
        ];
        let rules = format!(r#"{{"NetworkRules":["{name}"]}}"#);
        if !rule.is_empty() {
            let rule = [("Name", name), ("Type", "Private"), ("SourcePrivateIp", rule)];
            gateway.call("CreateNetworkRule", &rule).await;
            policy.push(("AccessControlRules", &rules));
        }
        gateway.call("CreatePolicy", &policy).await;
        let point = [("Name", name), ("Policies", &*format!(r#"["{name}"]"#))];
        gateway.call("CreateApplicationAccessPoint", &point).await;
        Self::with_key(gateway, &[("AapName", name), ("Password", PASSWORD)]).await
    }

    /// With any key.
    pub(crate) async fn with_any_key(gateway: &Gateway) -> Self {
        Self::of(gateway, "any", r#"["key/*"]"#, "").await
    }

    /// With a new client key.
    pub(crate) async fn with_key(gateway: &Gateway, params: &[(&str, &str)]) -> Self {
        let made = gateway.call("CreateClientKey", params).await;
        let container = STANDARD.decode(text(&made["PrivateKeyData"])).unwrap();
        let store = KeyStore::from_pkcs12(&container, PASSWORD, Pkcs12ImportPolicy::Strict);
        let store = store.unwrap();
        let (_alias, chain) = store.private_key_chain().unwrap();
        Self {
            endpoint: gateway.dev.endpoint.clone(),
            client_key_id: text(&made["ClientKeyId"]).to_owned(),
            key: KeyPair::from_pkcs8(chain.key().as_der()).unwrap(),
        }
    }

    /// The answer, and the key version that its head names.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        name: &str,
        message: &impl Message,
    ) -> (A, Option<String>) {
        self.call_with_version(name, message, None).await
    }

    /// As [`Visitor::call`], with a key version in the head of the request.
    pub(crate) async fn call_with_version<A: Message + Default>(
        &self,
        name: &str,
        message: &impl Message,
        version: Option<&str>,
    ) -> (A, Option<String>) {
        let version = version.map(|version| (VERSION, version));
        let request = self.request(name, message.encode_to_vec(), version.as_slice());
        let response = send(request).await;
        let body = response.body();
        assert!(response.status() == 200, "{name}: {:?}", Error::decode(&body[..]));
        let version = response.headers().get(VERSION);
        let version = version.map(|version| version.to_str().unwrap().to_owned());
        (A::decode(&body[..]).unwrap(), version)
    }

    /// Status and code of a call that must be refused.
    pub(crate) async fn refused(&self, name: &str, message: &impl Message) -> (u16, String) {
        refusal(&send(self.request(name, message.encode_to_vec(), &[])).await)
    }

    /// As [`Visitor::refused`], with a key version in the head of the request.
    pub(crate) async fn refused_with_version(
        &self,
        name: &str,
        message: &impl Message,
        version: &str,
    ) -> (u16, String) {
        refusal(&send(self.request(name, message.encode_to_vec(), &[(VERSION, version)])).await)
    }

    /// Status and code of a request that is changed after it was signed.
    pub(crate) async fn refused_when(
        &self,
        name: &str,
        message: &impl Message,
        change: Change<'_>,
    ) -> (u16, String) {
        let mut request = self.request(name, message.encode_to_vec(), &[]);
        change(&mut request);
        refusal(&send(request).await)
    }

    /// A request that is signed now, with more headers.
    pub(crate) fn request(
        &self,
        name: &str,
        body: Vec<u8>,
        more: &[(&'static str, &str)],
    ) -> Request<Full<Bytes>> {
        let now = jiff::fmt::rfc2822::DateTimePrinter::new();
        let now = now.timestamp_to_rfc9110_string(&jiff::Timestamp::now()).unwrap();
        self.signed(name, body, &now, more)
    }

    /// A request that says that it was signed at `date`.
    pub(crate) fn signed(
        &self,
        name: &str,
        body: Vec<u8>,
        date: &str,
        more: &[(&'static str, &str)],
    ) -> Request<Full<Bytes>> {
        let hash = digest(&SHA256, &body);
        let hash: String = hash
            .as_ref()
            .iter()
            .flat_map(|byte| format!("{byte:02X}").into_bytes())
            .map(char::from)
            .collect();
        let mut headers = HeaderMap::new();
        let own = [
            ("x-kms-apiversion", "dkms-gcs-0.2"),
            ("x-kms-apiname", name),
            ("x-kms-signaturemethod", "RSA_PKCS1_SHA_256"),
            ("x-kms-acccesskeyid", &self.client_key_id),
        ];
        for (name, value) in own.iter().chain(more) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let mut text = format!("POST\n{hash}\napplication/x-protobuf\n{date}\n");
        for name in names {
            text.extend([name, ":", headers[name].to_str().unwrap(), "\n"]);
        }
        text.push('/');
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .unwrap();
        let mut request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-protobuf")
            .header("content-sha256", hash)
            .header("date", date)
            .header("authorization", format!("Bearer {}", STANDARD.encode(signature)))
            .body(Full::from(body))
            .unwrap();
        request.headers_mut().extend(headers);
        request
    }
}

/// Sends a request and reads its whole answer.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Response<Bytes> {
    let client = HttpClient::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// Status and code of a refusal, which is an `Error` message that repeats its status.
pub(crate) fn refusal(response: &Response<Bytes>) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    let error = Error::decode(&response.body()[..]).unwrap();
    assert_eq!(error.status_code, i32::from(status), "{error:?}");
    assert_eq!(error.request_id.len(), 36, "{error:?}");
    assert!(!error.error_message.is_empty(), "{error:?}");
    (status, error.error_code)
}
