//! A client of the HTTP API that signs requests as the SDKs do. It defines no operations.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme as UriScheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower::Service as _;

use crate::api::rpc::canonical::{ACS3, BODY_DIGEST, sha256_hex, string_to_sign};
use crate::api::rpc::percent;
use crate::api::rpc::sign::SignedRequest;
use crate::authn::claim::Scheme;
use crate::authn::signature;
use crate::error::ErrorCode;
use crate::model::{AccessKeyId, Api, Params, Time, clock, random};
use crate::server::outbound::client_config;
use crate::server::tls::TlsError;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Parameters that go into a form: proxies log addresses.
const NOT_IN_ADDRESS: [&str; 2] = ["Plaintext", "SecretData"];

/// Beyond this many bytes parameters go into a form: `http::Uri` takes 65,534.
const MAX_QUERY_BYTES: usize = 60_000;

const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Key pairs may take half a minute in an HSM.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The gateway refused it.
    #[error("{code}: {} (request {request_id})", advice(code).unwrap_or(message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The KMS error code.
        code: String,
        /// The text for people.
        message: String,
        /// The id of the request.
        request_id: String,
    },
    /// No connection, or no response in time.
    #[error("the gateway cannot be reached{}", remedy(&**.0))]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    /// The request cannot be encoded, or the response is not one of a KMS.
    #[error("the request or its response is malformed")]
    Malformed,
}

/// What a person has to do about a failed TLS connection, if that is known.
fn remedy(mut error: &(dyn StdError + 'static)) -> &'static str {
    use rustls::{CertificateError, Error, InvalidMessage};
    loop {
        match error.downcast_ref() {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                return " (it speaks no TLS there: use http://)";
            }
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return " (name the CA of its certificate: --ca-file or HSMGATE_CA_FILE)";
            }
            _ => {}
        }
        // An error of input and output is not the source of what is inside it.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let next = inside.map(|inside| inside as &(dyn StdError + 'static)).or(error.source());
        match next {
            Some(next) => error = next,
            None => return "",
        }
    }
}

/// What a code means for a person, where the message is for the author of a client: it repeats the
/// signed text.
fn advice(code: &str) -> Option<&'static str> {
    (code == ErrorCode::SignatureDoesNotMatch.as_str())
        .then_some("the secret of the AccessKey is another one")
}

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTarget {
    /// The endpoint is malformed.
    #[error("not of the form https://host:port or http://host:port")]
    Endpoint,
    /// The AccessKey id is malformed.
    #[error("not a valid AccessKey id")]
    AccessKeyId,
    /// The trusted CAs cannot be loaded.
    #[error("the gateway's certificate could not be checked")]
    Trust(#[source] TlsError),
}

/// A gateway, and the AccessKey that calls it.
#[derive(Debug, Clone)]
pub struct Target {
    scheme: UriScheme,
    authority: Authority,
    access_key_id: AccessKeyId,
    secret: SecretString,
    security_token: Option<SecretString>,
    api: Api,
}

/// Date and nonce, which make a signature unique. It is valid for a quarter of an hour.
#[derive(Debug, Clone, Copy)]
pub struct DateAndNonce<'a> {
    /// The time of signing.
    pub date: Time,
    /// A unique text of up to 128 letters or digits.
    pub nonce: &'a str,
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    connector: HttpsConnector<HttpConnector>,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client of the gateway at `endpoint`, `https://host:port` or `http://host:port`. It
    /// connects at the first call. Over TLS it trusts the CAs of the system.
    ///
    /// # Errors
    /// When `endpoint` or `access_key_id` has another form.
    pub fn new(
        endpoint: &str,
        access_key_id: &str,
        secret: SecretString,
    ) -> Result<Self, InvalidTarget> {
        Self::trusting(None, endpoint, access_key_id, secret)
    }

    /// As [`Client::new`], but over TLS it trusts only the CAs in the PEM file `ca`, if given.
    ///
    /// # Errors
    /// As [`Client::new`], and when the file cannot be used.
    pub fn trusting(
        ca: Option<&Path>,
        endpoint: &str,
        access_key_id: &str,
        secret: SecretString,
    ) -> Result<Self, InvalidTarget> {
        let target = Target::new(endpoint, access_key_id, secret)?;
        let is_https = target.scheme == UriScheme::HTTPS;
        let tls = client_config(ca.filter(|_ca| is_https), is_https);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.map_err(InvalidTarget::Trust)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = HttpClient::builder(TokioExecutor::new()).build(connector.clone());
        Ok(Self { target, connector, http })
    }

    /// Sends the security token of temporary credentials with every call.
    #[must_use]
    pub fn with_security_token(mut self, token: SecretString) -> Self {
        self.target = self.target.with_security_token(token);
        self
    }

    /// Calls the operations of this API.
    #[must_use]
    pub fn with_api(mut self, api: Api) -> Self {
        self.target.api = api;
        self
    }

    /// Calls an operation and returns its response, a JSON object.
    ///
    /// # Errors
    /// When the gateway refuses, does not respond in time, or its response is malformed.
    pub async fn call(&self, action: &str, params: &[(&str, &str)]) -> Result<Value, CallError> {
        let request = self.signed_with_host(action, params)?;
        match tokio::time::timeout(CALL_TIMEOUT, self.send(request)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(CallError::Unreachable(elapsed.into())),
        }
    }

    /// Calls an operation whose caller a token proves. It is not signed, and its parameters are in the
    /// form, so that no address contains the token.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_unsigned(
        &self,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        let version = self.target.api.version();
        let query = encoded(&[("Action", action), ("Format", "JSON"), ("Version", version)]);
        let uri = self.target.uri(&query).map_err(|_source| CallError::Malformed)?;
        let request = Request::post(uri)
            .header(CONTENT_TYPE, FORM)
            .header(ACCEPT, "application/json")
            .body(Full::from(encoded(params)))
            .map_err(|_source| CallError::Malformed)?;
        match tokio::time::timeout(CALL_TIMEOUT, self.send(request)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(CallError::Unreachable(elapsed.into())),
        }
    }

    fn signed_with_host(
        &self,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let nonce = random::uuid().simple().to_string();
        let date_and_nonce = DateAndNonce { date: clock::now(), nonce: &nonce };
        signed_request(&self.target, action, params, date_and_nonce)
            .map_err(|_source| CallError::Malformed)
    }

    /// A call as [`Client::call`] sends it, for a connection of [`Client::connect`].
    pub(super) fn signed(
        &self,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = self.signed_with_host(action, params)?;
        let line = request.uri().path_and_query().cloned();
        *request.uri_mut() = line.map(Uri::from).unwrap_or_default();
        Ok(request)
    }

    /// Opens a separate connection.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let uri = self.target.uri("").map_err(|_source| CallError::Malformed)?;
        let stream = self.connector.clone().call(uri).await.map_err(CallError::Unreachable)?;
        let opened = http1::handshake(stream).await;
        let (sender, connection) = opened.map_err(|error| CallError::Unreachable(error.into()))?;
        // It ends with the connection, or with an error that the next request returns.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Value, CallError> {
        let sent = self.http.request(request).await;
        read_response(sent.map_err(|error| CallError::Unreachable(error.into()))?).await
    }
}

impl Target {
    /// The gateway at `endpoint`, `https://host:port` or `http://host:port`, and an AccessKey.
    ///
    /// # Errors
    /// When `endpoint` or `access_key_id` has another form.
    pub fn new(
        endpoint: &str,
        access_key_id: &str,
        secret: SecretString,
    ) -> Result<Self, InvalidTarget> {
        let uri: Uri = endpoint.parse().map_err(|_source| InvalidTarget::Endpoint)?;
        let is_root = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let parts = uri.into_parts();
        let authority = parts.authority.filter(|authority| !authority.as_str().contains('@'));
        let is_known = |scheme: &UriScheme| [UriScheme::HTTP, UriScheme::HTTPS].contains(scheme);
        let scheme = parts.scheme.filter(is_known);
        let access_key_id = access_key_id.parse().map_err(|_source| InvalidTarget::AccessKeyId)?;
        match (scheme, authority) {
            (Some(scheme), Some(authority)) if is_root => Ok(Self {
                scheme,
                authority,
                access_key_id,
                secret,
                security_token: None,
                api: Api::Kms,
            }),
            _ => Err(InvalidTarget::Endpoint),
        }
    }

    /// With the security token of temporary credentials.
    #[must_use]
    pub fn with_security_token(mut self, token: SecretString) -> Self {
        self.security_token = Some(token);
        self
    }

    fn uri(&self, query: &str) -> Result<Uri, http::Error> {
        let question_mark = if query.is_empty() { "" } else { "?" };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("/{question_mark}{query}"))
            .build()
    }
}

/// A request signed with ACS3-HMAC-SHA256: a POST with the parameters in its query, or in a form if they
/// are too long for a URI or contain a value that no address may contain.
///
/// # Errors
/// When the action or the nonce cannot be a header value.
pub fn signed_request(
    target: &Target,
    action: &str,
    params: &[(&str, &str)],
    date_and_nonce: DateAndNonce<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let text = encoded(params);
    let is_confidential = params.iter().any(|(name, _value)| NOT_IN_ADDRESS.contains(name));
    let is_form = text.len() > MAX_QUERY_BYTES || is_confidential;
    let (query, body) = if is_form { (String::new(), text) } else { (text, String::new()) };
    signed_post(target, action, &query, body, date_and_nonce)
}

/// As [`signed_request`], with all parameters in the query and no body, as the SDKs for Go and Java send
/// them. For benchmarks.
///
/// # Errors
/// As [`signed_request`], and when they are too long for a URI.
pub fn signed_in_query(
    target: &Target,
    action: &str,
    params: &[(&str, &str)],
    date_and_nonce: DateAndNonce<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    signed_post(target, action, &encoded(params), String::new(), date_and_nonce)
}

fn signed_post(
    target: &Target,
    action: &str,
    query: &str,
    body: String,
    date_and_nonce: DateAndNonce<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(target.authority.as_str())?);
    headers.insert("x-acs-action", HeaderValue::from_str(action)?);
    headers.insert("x-acs-version", HeaderValue::from_static(target.api.version()));
    headers.insert("x-acs-date", HeaderValue::try_from(date_and_nonce.date.to_string())?);
    headers.insert("x-acs-signature-nonce", HeaderValue::from_str(date_and_nonce.nonce)?);
    if let Some(token) = &target.security_token {
        let mut value = HeaderValue::from_str(token.expose_secret())?;
        value.set_sensitive(true);
        headers.insert("x-acs-security-token", value);
    }
    headers.insert(BODY_DIGEST, HeaderValue::try_from(sha256_hex(body.as_bytes()))?);
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, FORM);
    }
    let authorization = authorization(target, query, &headers, &body);
    headers.insert(AUTHORIZATION, HeaderValue::try_from(authorization)?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut request = Request::post(target.uri(query)?).body(Full::from(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The `Authorization` header of a POST with these parts. All present headers are signed.
fn authorization(target: &Target, query: &str, headers: &HeaderMap, body: &str) -> String {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let signed_headers = names.join(";");
    let signed = SignedRequest {
        method: &Method::POST,
        path: "/",
        query: query.as_bytes(),
        headers,
        body: body.as_bytes(),
        params: &Params::default(),
    };
    let digest = headers.get(BODY_DIGEST).and_then(|value| value.to_str().ok());
    // It fails only for a missing header or a query that is not encoded.
    let text = string_to_sign(ACS3, &signed, &signed_headers, digest.unwrap_or_default());
    let signature = signature::sign(Scheme::Acs3, &target.secret, &text.unwrap_or_default());
    let signature = hex::encode(&signature);
    format!(
        "{ACS3} Credential={},SignedHeaders={signed_headers},Signature={signature}",
        target.access_key_id
    )
}

/// The parameters in the canonical encoding, sorted by name.
fn encoded(params: &[(&str, &str)]) -> String {
    let mut sorted = params.to_vec();
    sorted.sort_unstable();
    let mut text = String::new();
    percent::encode_pairs_into(&mut text, sorted);
    text
}

async fn read_response(response: Response<Incoming>) -> Result<Value, CallError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
    let body = body.map_err(CallError::Unreachable)?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).map_err(|_source| CallError::Malformed)?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    match text("Code") {
        Some(code) => Err(CallError::Refused {
            status: status.as_u16(),
            code,
            message: text("Message").unwrap_or_default(),
            request_id: text("RequestId").unwrap_or_default(),
        }),
        None if status == StatusCode::OK && answer.is_object() => Ok(answer),
        None => Err(CallError::Malformed),
    }
}

#[cfg(test)]
mod tests;
