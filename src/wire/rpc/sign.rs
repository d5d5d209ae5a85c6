//! Which scheme a request is signed with, and what exactly it claims.
//!
//! It picks the parts out of the request and rebuilds the string that must have been signed. It
//! holds no secret and decides nothing: `authn` proves the claim.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use super::{sign_v1, sign_v3};

pub use super::sign_v1::string_to_sign as rpc1_string_to_sign;

use crate::authn::claim::Claim;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Params, Time};

/// The most bytes of a nonce; the SDKs send 32 or 36.
const MAX_NONCE_BYTES: usize = 128;

/// A request as it was received: all that signatures cover.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path as sent; `/` for every call of this API.
    pub path: &'a str,
    /// The query as sent, without the `?`.
    pub query: &'a [u8],
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
    /// The parameters of query and form, decoded.
    pub params: &'a Params<'a>,
}

impl<'a> SignedRequest<'a> {
    /// A parameter that is there and not empty.
    pub(super) fn param(&self, name: &str) -> Option<&'a str> {
        self.params.text(name).filter(|text| !text.is_empty())
    }
}

/// What a request calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiCall<'a> {
    /// The operation, as spelled by the client.
    pub action: &'a str,
    /// The version of the API.
    pub version: &'a str,
}

/// The claim that a request makes.
///
/// # Errors
/// Says what of the claim is missing, malformed or not covered by the signature, each with the
/// code of the public gateway.
pub fn claim<'a>(signed_request: &SignedRequest<'a>) -> Result<Claim<'a>, ApiError> {
    match authorization(signed_request.headers)? {
        Some(text) => sign_v3::claim(signed_request, text),
        None => sign_v1::claim(signed_request),
    }
}

/// What a request calls: its parameters decide, and where they are silent the headers of a scheme
/// that signs headers. Where both speak they must say the same, since a proxy may have decided by the
/// other one. With RPC 1.0 the headers are unsigned, so they count for nothing.
///
/// # Errors
/// `MissingAction`, `MissingVersion`, `InvalidParameter` where both speak and differ, or what `claim` says of the `Authorization` header.
pub fn api_call<'a>(signed_request: &SignedRequest<'a>) -> Result<ApiCall<'a>, ApiError> {
    let signs_headers = authorization(signed_request.headers)?.is_some();
    let part =
        |parameter: &'static str, header: &'static str, missing: ErrorCode| match signed_request
            .param(parameter)
        {
            Some(text) => {
                let mut others = signed_request.headers.get_all(header).iter();
                if signs_headers && others.any(|other| other.as_bytes() != text.as_bytes()) {
                    return Err(ApiError::invalid_parameter(parameter));
                }
                Ok(text)
            }
            None if signs_headers => sign_v3::required(signed_request.headers, header, missing),
            None => Err(missing.into()),
        };
    Ok(ApiCall {
        action: part("Action", "x-acs-action", ErrorCode::MissingAction)?,
        version: part("Version", "x-acs-version", ErrorCode::MissingVersion)?,
    })
}

/// The `Authorization` header, where it selects a scheme that signs headers.
fn authorization(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|error| incomplete("Authorization").because(error))?;
    if values.next().is_some() {
        return Err(incomplete("Authorization"));
    }
    Ok(Some(text).filter(|text| text.starts_with("ACS3-") || text.starts_with("ACS4-")))
}

/// The time in a request, in the one form that the API takes.
pub(super) fn timestamp(text: &str) -> Result<Time, ApiError> {
    text.parse().map_err(|error| ApiError::from(ErrorCode::InvalidTimeStampFormat).because(error))
}

/// A nonce of a length that may be kept.
pub(super) fn nonce(text: &str) -> Result<&str, ApiError> {
    if text.len() <= MAX_NONCE_BYTES {
        Ok(text)
    } else {
        Err(ApiError::invalid_parameter("SignatureNonce"))
    }
}

/// The refusal of a signature that is malformed or does not cover `part` of the request.
pub(super) fn incomplete(part: &str) -> ApiError {
    let message = format!("{} Check {part}.", ErrorCode::IncompleteSignature.message());
    ApiError::with_message(ErrorCode::IncompleteSignature, Cow::Owned(message))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::params;
    use super::*;
    use crate::authn::signature;

    pub(in super::super) const SECRET: &str = "exampleSecretDoNotUse0123456789";

    /// A request in parts that a test may change.
    #[derive(Clone)]
    pub(in super::super) struct Parts {
        pub(in super::super) method: Method,
        pub(in super::super) query: String,
        pub(in super::super) headers: Vec<(&'static str, String)>,
        pub(in super::super) body: String,
    }

    impl Parts {
        /// Reads the parts as the wire does and hands over what was received.
        pub(in super::super) fn receive<T>(
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

        /// Whether the request stands with this secret.
        pub(in super::super) fn check(&self, secret: &str) -> Result<(), ApiError> {
            self.receive(|signed_request| {
                let claim = claim(signed_request)?;
                if signature::verify(&claim, &secret.into()) {
                    Ok(())
                } else {
                    Err(claim.mismatch())
                }
            })
        }

        /// The code that the request is refused with.
        pub(in super::super) fn refusal(&self) -> ErrorCode {
            self.check(SECRET).unwrap_err().code()
        }

        pub(in super::super) fn set(&mut self, name: &'static str, value: &str) {
            self.headers.retain(|(other, _)| *other != name);
            self.headers.push((name, value.to_owned()));
        }

        pub(in super::super) fn without(&self, name: &str) -> Self {
            let mut other = self.clone();
            other.headers.retain(|(header, _)| *header != name);
            other
        }
    }

    #[test]
    fn a_request_without_any_signature_is_incomplete() {
        let bare = Parts {
            method: Method::GET,
            query: "Action=ListKeys".to_owned(),
            headers: Vec::new(),
            body: String::new(),
        };
        assert_eq!(bare.refusal(), ErrorCode::IncompleteSignature);
        let mut other = bare.clone();
        other.set("authorization", "Basic YTpi");
        assert_eq!(other.refusal(), ErrorCode::IncompleteSignature);
    }

    #[test]
    fn unsigned_headers_do_not_say_what_is_called() {
        let mut parts = Parts {
            method: Method::POST,
            query: "Action=Encrypt&Version=2016-01-20&Signature=x".to_owned(),
            headers: vec![("x-acs-action", "Decrypt".to_owned())],
            body: String::new(),
        };
        let action =
            parts.receive(|signed_request| Ok(api_call(signed_request)?.action.to_owned()));
        assert_eq!(action.unwrap(), "Encrypt");
        parts.query = "Version=2016-01-20&Signature=x".to_owned();
        let error = parts
            .receive(|signed_request| api_call(signed_request).map(|_api_call| ()))
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::MissingAction);
    }

    #[test]
    fn signed_headers_say_what_is_called_where_no_parameter_does() {
        let mut parts = Parts {
            method: Method::POST,
            query: String::new(),
            headers: vec![
                ("authorization", "ACS3-HMAC-SHA256 x".to_owned()),
                ("x-acs-action", "Encrypt".to_owned()),
                ("x-acs-version", "2016-01-20".to_owned()),
            ],
            body: String::new(),
        };
        let spelled = |signed_request: &SignedRequest<'_>| {
            let ApiCall { action, version } = api_call(signed_request)?;
            Ok(format!("{action} {version}"))
        };
        assert_eq!(parts.receive(spelled).unwrap(), "Encrypt 2016-01-20");
        for (query, outcome) in [
            ("Action=Encrypt", Ok("Encrypt 2016-01-20".to_owned())),
            ("Action=Decrypt", Err(ErrorCode::InvalidParameter)),
            ("Version=2016-01-21", Err(ErrorCode::InvalidParameter)),
        ] {
            parts.query = query.to_owned();
            assert_eq!(parts.receive(spelled).map_err(|error| error.code()), outcome, "{query}");
        }
        parts.query.clear();
        parts.headers.push(("x-acs-action", "Decrypt".to_owned()));
        assert_eq!(parts.receive(spelled).unwrap_err().code(), ErrorCode::InvalidParameter);
    }
}
