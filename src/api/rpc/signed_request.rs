//! A request as signed, and the parsers that both signature schemes share.

use std::borrow::Cow;

use http::{HeaderMap, Method};

use crate::error::{ApiError, ErrorCode};
use crate::model::{Params, Time};

/// The maximum bytes of a nonce; the SDKs send 32 or 36.
const MAX_NONCE_BYTES: usize = 128;

/// A request as received: all that signatures cover.
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
    /// A parameter that is present and not empty.
    pub(super) fn param(&self, name: &str) -> Option<&'a str> {
        self.params.text(name).filter(|text| !text.is_empty())
    }
}

/// Parses the time in a request, in the only format of the API.
pub(super) fn timestamp(text: &str) -> Result<Time, ApiError> {
    text.parse().map_err(|error| ApiError::from(ErrorCode::InvalidTimeStampFormat).because(error))
}

/// Checks the length of a nonce.
pub(super) fn nonce(text: &str) -> Result<&str, ApiError> {
    if text.len() <= MAX_NONCE_BYTES {
        Ok(text)
    } else {
        Err(ApiError::invalid_parameter("SignatureNonce"))
    }
}

/// The error for a signature that is malformed or does not cover `part` of the request.
pub(super) fn incomplete(part: &str) -> ApiError {
    let message = format!("{} Check {part}.", ErrorCode::IncompleteSignature.message());
    ApiError::with_message(ErrorCode::IncompleteSignature, Cow::Owned(message))
}
