//! A request of the RPC API in parts that a test may change.

use hsmgate::api::rpc::params;
use hsmgate::api::rpc::sign::{SignedRequest, claim};
use hsmgate::authn::signature;
use hsmgate::error::{ApiError, ErrorCode};
use http::{HeaderMap, Method};

pub(crate) const SECRET: &str = "exampleSecretDoNotUse0123456789";

/// A request in parts that a test may change.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Parts {
    /// Reads the parts as the gateway does and hands over what was received.
    pub(crate) fn receive<T>(
        &self,
        then: impl FnOnce(&SignedRequest<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, value.parse().unwrap());
        }
        let form = params::form(&headers, self.body.as_bytes())?;
        let params = params::read(self.query.as_bytes(), form)?;
        then(&SignedRequest {
            method: &self.method,
            path: "/",
            query: self.query.as_bytes(),
            headers: &headers,
            body: self.body.as_bytes(),
            params: &params,
        })
    }

    /// Whether the signature was made with this secret.
    pub(crate) fn check(&self, secret: &str) -> Result<(), ApiError> {
        self.receive(|signed_request| {
            let claim = claim(signed_request)?;
            if signature::verify(&claim, &secret.into()) { Ok(()) } else { Err(claim.mismatch()) }
        })
    }

    /// The code that the request is refused with.
    pub(crate) fn refusal(&self) -> ErrorCode {
        self.check(SECRET).unwrap_err().code()
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(header, _)| *header != name);
        other
    }
}
