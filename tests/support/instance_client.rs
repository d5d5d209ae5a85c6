//! A client of the KMS instance protocol that behaves like an SDK.

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use prost::Message;

use hsmgate::api::instance::messages::Error;

use super::client_key::{ClientKey, PASSWORD, now};
use super::gateway::Gateway;

const VERSION: &str = "x-kms-migrationkeyversionid";

/// A client key and its gateway.
pub(crate) struct InstanceClient {
    pub(crate) endpoint: String,
    pub(crate) client_key: ClientKey,
}

/// How a request differs from one of an SDK.
pub(crate) type Change<'a> = &'a dyn Fn(&mut Request<Full<Bytes>>);

impl InstanceClient {
    /// With a new client key of an access point with one policy for `resources`, limited to the
    /// addresses of `rule` if it is given.
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

    /// With a client key that may use every key.
    pub(crate) async fn with_any_key(gateway: &Gateway) -> Self {
        Self::of(gateway, "any", r#"["key/*"]"#, "").await
    }

    /// With a new client key.
    pub(crate) async fn with_key(gateway: &Gateway, params: &[(&str, &str)]) -> Self {
        let made = gateway.call("CreateClientKey", params).await;
        Self::at(gateway, ClientKey::open(&made))
    }

    /// With an existing client key.
    pub(crate) fn at(gateway: &Gateway, client_key: ClientKey) -> Self {
        Self { endpoint: gateway.dev.endpoint.clone(), client_key }
    }

    /// The answer, and the key version that its headers name.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        name: &str,
        message: &impl Message,
    ) -> (A, Option<String>) {
        self.call_with_version(name, message, None).await
    }

    /// As [`InstanceClient::call`], with a key version in the headers of the request.
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

    /// The answer, or the `Error` of a call that was refused.
    pub(crate) async fn outcome<A: Message + Default>(
        &self,
        name: &str,
        message: &impl Message,
    ) -> Result<A, Error> {
        let response = send(self.request(name, message.encode_to_vec(), &[])).await;
        if response.status() == 200 {
            Ok(A::decode(&response.body()[..]).unwrap())
        } else {
            Err(error(&response))
        }
    }

    /// Status and code of a call that must be refused.
    pub(crate) async fn refused(&self, name: &str, message: &impl Message) -> (u16, String) {
        refusal(&send(self.request(name, message.encode_to_vec(), &[])).await)
    }

    /// As [`InstanceClient::refused`], with a key version in the headers of the request.
    pub(crate) async fn refused_with_version(
        &self,
        name: &str,
        message: &impl Message,
        version: &str,
    ) -> (u16, String) {
        refusal(&send(self.request(name, message.encode_to_vec(), &[(VERSION, version)])).await)
    }

    /// Status and code of a request that is changed after signing.
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

    /// A request signed now, with additional headers.
    pub(crate) fn request(
        &self,
        name: &str,
        body: Vec<u8>,
        more: &[(&'static str, &str)],
    ) -> Request<Full<Bytes>> {
        self.signed(name, body, &now(), more)
    }

    /// A request whose signing date is `date`.
    pub(crate) fn signed(
        &self,
        name: &str,
        body: Vec<u8>,
        date: &str,
        more: &[(&'static str, &str)],
    ) -> Request<Full<Bytes>> {
        self.client_key.signed(&self.endpoint, name, body, date, more).map(Full::new)
    }
}

/// Sends a request and reads the complete answer.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Response<Bytes> {
    let client = HttpClient::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// Status and code of a refusal.
pub(crate) fn refusal(response: &Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), error(response).error_code)
}

/// The `Error` message of a refusal, which repeats its status.
fn error(response: &Response<Bytes>) -> Error {
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    let error = Error::decode(&response.body()[..]).unwrap();
    assert_eq!(error.status_code, i32::from(response.status().as_u16()), "{error:?}");
    assert_eq!(error.request_id.len(), 36, "{error:?}");
    assert!(!error.error_message.is_empty(), "{error:?}");
    error
}
