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
