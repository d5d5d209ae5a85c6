//! Which scheme a request is signed with, and what exactly it claims.
//!
//! It picks the parts out of the request and rebuilds the string that must have been signed. It
//! holds no secret and decides nothing: `authn` proves the claim.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::signed_request::incomplete;
use super::{sign_v1, sign_v3};

pub use super::sign_v1::string_to_sign as rpc1_string_to_sign;
pub use super::signed_request::SignedRequest;

use crate::authn::claim::Claim;
use crate::error::{ApiError, ErrorCode};

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
