//! Selects the signature scheme of a request, and builds its claim.
//!
//! It reads the parts of the claim from the request and builds the string that must have been
//! signed. It has no secret and decides nothing: `authn` verifies the claim.

use super::signature_headers::{Header, SignatureHeaders};
use super::{sign_v1, sign_v3};

pub use super::sign_v1::string_to_sign as rpc1_string_to_sign;
pub use super::signed_request::SignedRequest;

use crate::authn::claim::Claim;
use crate::error::{ApiError, ErrorCode};

/// The action and version that a request calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiCall<'a> {
    /// The action, as spelled by the client.
    pub action: &'a str,
    /// The version of the API.
    pub version: &'a str,
}

/// Builds the claim of a request.
///
/// # Errors
/// The part of the claim that is missing, malformed or not covered by the signature, each with the
/// code of the public gateway.
pub fn claim<'a>(signed_request: &SignedRequest<'a>) -> Result<Claim<'a>, ApiError> {
    let headers = SignatureHeaders::of(signed_request.headers);
    match headers.authorization()? {
        Some(text) => sign_v3::claim(signed_request, &headers, text),
        None => sign_v1::claim(signed_request),
    }
}

/// Returns the action and version that a request calls, from its parameters, or else from the
/// headers if the scheme signs headers. If both are present they must be equal, because a proxy may
/// have used the other one. With RPC 1.0 the headers are not signed, and are ignored.
///
/// # Errors
/// `MissingAction`, `MissingVersion`, `InvalidParameter` if both are present and differ, or the
/// error of `claim` for the `Authorization` header.
pub fn api_call<'a>(signed_request: &SignedRequest<'a>) -> Result<ApiCall<'a>, ApiError> {
    let headers = SignatureHeaders::of(signed_request.headers);
    let signs_headers = headers.authorization()?.is_some();
    let part =
        |parameter: &'static str, header: Header<'a>, missing: ErrorCode| match signed_request
            .param(parameter)
        {
            Some(text) => {
                let mut others = header.values_in(signed_request.headers);
                if signs_headers && others.any(|other| other.as_bytes() != text.as_bytes()) {
                    return Err(ApiError::invalid_parameter(parameter));
                }
                Ok(text)
            }
            None if signs_headers => header.required(missing),
            None => Err(missing.into()),
        };
    Ok(ApiCall {
        action: part("Action", headers.action, ErrorCode::MissingAction)?,
        version: part("Version", headers.version, ErrorCode::MissingVersion)?,
    })
}
