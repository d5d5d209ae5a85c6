//! Requests signed by each scheme with their parameters in each place. A test may change each part
//! before or after signing.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::rpc::canonical::{
    ACS3, ACS4, BODY_DIGEST, sha256_hex, string_to_sign as canonical_string_to_sign,
};
use hsmgate::api::rpc::sign::{SignedRequest, rpc1_string_to_sign};
use hsmgate::api::rpc::{params, percent};
use hsmgate::authn::claim::Scheme;
use hsmgate::authn::signature;
use hsmgate::model::{Params, clock};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use uuid::Uuid;

use super::gateway::Gateway;
use super::raw_http::{self, RawResponse};

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// A scheme of signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Rpc1,
    Acs3,
    Acs4,
}

/// Where the parameters are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParamLocation {
    GetQuery,
    PostQuery,
    PostForm,
}

/// One of the nine ways in which a client may sign a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SigningVariant(pub(crate) Signing, pub(crate) ParamLocation);

impl SigningVariant {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let schemes = [Signing::Rpc1, Signing::Acs3, Signing::Acs4];
        let places = [ParamLocation::GetQuery, ParamLocation::PostQuery, ParamLocation::PostForm];
        schemes.into_iter().flat_map(move |scheme| places.map(|location| Self(scheme, location)))
    }

    pub(crate) fn is_rpc1(self) -> bool {
        self.0 == Signing::Rpc1
    }
}

/// A request in parts.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    variant: SigningVariant,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// As sent, without the `?`.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    access_key_id: String,
    secret: SecretString,
}

impl Call {
    /// A call of the gateway's own user, not yet signed.
    pub(crate) fn new(
        gateway: &Gateway,
        variant: SigningVariant,
        action: &str,
        params: &[(&str, &str)],
    ) -> Self {
        let dev = &gateway.dev;
        let user = (dev.access_key_id.as_str(), dev.access_key_secret.as_str());
        Self::to(gateway.address(), user, variant, action, params)
    }

    /// A call of a user (id and secret of its AccessKey), not yet signed.
    pub(crate) fn to(
        address: &str,
        (access_key_id, secret): (&str, &str),
        variant: SigningVariant,
        action: &str,
        params: &[(&str, &str)],
    ) -> Self {
        let mut call = Self {
            variant,
            method: if variant.1 == ParamLocation::GetQuery { Method::GET } else { Method::POST },
            path: "/",
            query: String::new(),
            headers: vec![("host".to_owned(), address.to_owned())],
            body: String::new(),
            access_key_id: access_key_id.to_owned(),
            secret: SecretString::from(secret),
        };
        if variant.1 == ParamLocation::PostForm {
            call.set_header("content-type", FORM);
        }
        for (name, value) in params {
            call.set(name, value);
        }
        call.set_common(action);
        call
    }

    fn set_common(&mut self, action: &str) {
        let (date, nonce) = (clock::now().to_string(), Uuid::new_v4().simple().to_string());
        if !self.variant.is_rpc1() {
            self.set_header("x-acs-action", action);
            self.set_header("x-acs-version", "2016-01-20");
            self.set_header("x-acs-date", &date);
            self.set_header("x-acs-signature-nonce", &nonce);
            return;
        }
        for (name, value) in [
            ("AccessKeyId", self.access_key_id.clone().as_str()),
            ("Action", action),
            ("Format", "JSON"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", &nonce),
            ("SignatureVersion", "1.0"),
            ("Timestamp", &date),
            ("Version", "2016-01-20"),
        ] {
            self.set(name, value);
        }
    }

    /// Replaces the user by another AccessKey id and secret.
    pub(crate) fn by(mut self, access_key_id: &str, secret: &str) -> Self {
        access_key_id.clone_into(&mut self.access_key_id);
        self.secret = SecretString::from(secret);
        if self.variant.is_rpc1() {
            self.set("AccessKeyId", access_key_id);
        }
        self
    }

    /// The time of signing, as text.
    pub(crate) fn at(mut self, date: &str) -> Self {
        let name = if self.variant.is_rpc1() { "Timestamp" } else { "x-acs-date" };
        self.set_common_part(name, date);
        self
    }

    /// Calls an operation of this version of the API.
    pub(crate) fn of_version(mut self, version: &str) -> Self {
        let name = if self.variant.is_rpc1() { "Version" } else { "x-acs-version" };
        self.set_common_part(name, version);
        self
    }

    pub(crate) fn with_nonce(mut self, nonce: &str) -> Self {
        let name = if self.variant.is_rpc1() { "SignatureNonce" } else { "x-acs-signature-nonce" };
        self.set_common_part(name, nonce);
        self
    }

    pub(crate) fn with_security_token(mut self, token: &str) -> Self {
        let name = if self.variant.is_rpc1() { "SecurityToken" } else { "x-acs-security-token" };
        self.set_common_part(name, token);
        self
    }

    fn set_common_part(&mut self, name: &str, value: &str) {
        if self.variant.is_rpc1() { self.set(name, value) } else { self.set_header(name, value) }
    }

    /// The parameters as sent: the query or the form.
    pub(crate) fn params_text(&mut self) -> &mut String {
        if self.variant.1 == ParamLocation::PostForm { &mut self.body } else { &mut self.query }
    }

    /// Sets a parameter: replaces the one with this name, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Adds a parameter after all others.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let text = self.params_text();
        if !text.is_empty() {
            text.push('&');
        }
        percent::encode_into(text, name);
        text.push('=');
        percent::encode_into(text, value);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let start = format!("{name}=");
        let text = self.params_text();
        let kept: Vec<&str> = text.split('&').filter(|pair| !pair.starts_with(&start)).collect();
        *text = kept.join("&");
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _value)| other != name);
    }

    /// Changes the `Authorization` header, or the parameter `Signature`.
    pub(crate) fn edit_signature(&mut self, edit: impl Fn(&str) -> String) {
        if self.variant.is_rpc1() {
            let text = self.params_text();
            let at = text.find("Signature=").unwrap();
            let edited = edit(&text[at..]);
            text.replace_range(at.., &edited);
            return;
        }
        let (_name, value) =
            self.headers.iter_mut().find(|(name, _value)| name == "authorization").unwrap();
        *value = edit(value);
    }

    /// The string to sign. It covers all headers that are set so far.
    pub(crate) fn string_to_sign(&self) -> String {
        let headers = self.header_map();
        let form: &[u8] =
            if self.variant.1 == ParamLocation::PostForm { self.body.as_bytes() } else { &[] };
        let params = params::read(self.query.as_bytes(), form).unwrap();
        if self.variant.is_rpc1() {
            return rpc1_string_to_sign(&self.method, &params);
        }
        let signed_request = SignedRequest {
            method: &self.method,
            path: self.path,
            query: self.query.as_bytes(),
            headers: &headers,
            body: self.body.as_bytes(),
            params: &Params::default(),
        };
        let algorithm = if self.variant.0 == Signing::Acs3 { ACS3 } else { ACS4 };
        let digest = sha256_hex(self.body.as_bytes());
        canonical_string_to_sign(algorithm, &signed_request, &self.header_names(), &digest).unwrap()
    }

    /// Signs it. Later changes are not covered by the signature.
    pub(crate) fn signed(mut self) -> Self {
        if self.variant.is_rpc1() {
            let text = self.string_to_sign();
            let signature = STANDARD.encode(signature::sign(Scheme::Rpc1, &self.secret, &text));
            self.add("Signature", &signature);
            return self;
        }
        self.set_header(BODY_DIGEST, &sha256_hex(self.body.as_bytes()));
        let text = self.string_to_sign();
        let date =
            self.header_map().get("x-acs-date").map(|date| date.to_str().unwrap().to_owned());
        let day: String =
            date.unwrap_or_default().chars().filter(char::is_ascii_digit).take(8).collect();
        let (algorithm, scheme, scope) = match self.variant.0 {
            Signing::Acs4 => {
                let digits = day.as_bytes().try_into().unwrap_or([0; 8]);
                let scheme = Scheme::Acs4 { day: digits, region: "cn-hangzhou", product: "Kms" };
                (ACS4, scheme, format!("/{day}/cn-hangzhou/Kms/aliyun_v4_request"))
            }
            _ => (ACS3, Scheme::Acs3, String::new()),
        };
        let signature = hex::encode(signature::sign(scheme, &self.secret, &text));
        let authorization = format!(
            "{algorithm} Credential={}{scope},SignedHeaders={},Signature={signature}",
            self.access_key_id,
            self.header_names()
        );
        self.set_header("authorization", &authorization);
        self
    }

    /// Signs it, unless its parameters cannot be parsed.
    pub(crate) fn signed_or_as_it_is(self) -> Self {
        if self.query.contains("%zz") { self } else { self.signed() }
    }

    /// The signature alone, decoded.
    pub(crate) fn signature(&self) -> String {
        if self.variant.is_rpc1() {
            let text = if self.query.is_empty() { &self.body } else { &self.query };
            let params = params::read(text.as_bytes(), &[]).unwrap();
            return params.text("Signature").unwrap().to_owned();
        }
        let header = self.header_map()["authorization"].to_str().unwrap().to_owned();
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// Sends it over a new connection.
    pub(crate) async fn send(&self, gateway: &Gateway) -> RawResponse {
        raw_http::exchange(gateway.address(), &self.bytes()).await
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let question_mark = if self.query.is_empty() { "" } else { "?" };
        let mut text =
            format!("{} {}{question_mark}{} HTTP/1.1\r\n", self.method, self.path, self.query);
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        write!(text, "content-length: {}\r\n\r\n{}", self.body.len(), self.body).unwrap();
        text.into_bytes()
    }

    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn header_names(&self) -> String {
        let mut names: Vec<&str> =
            self.headers.iter().map(|(name, _value)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(";")
    }
}
