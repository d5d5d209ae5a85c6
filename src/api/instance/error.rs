//! Errors of the instance protocol: an `Error` message and nothing else.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use prost::Message as _;

use super::{PROTOBUF, messages};
use crate::error::{ApiError, ErrorCode};
use crate::model::RequestId;

/// Returns the response for a rejected or failed request.
pub fn failure(request_id: RequestId, error: &ApiError) -> Response<Bytes> {
    let (code, message) = protocol_error(error);
    let body = messages::Error {
        status_code: status(code).into(),
        error_code: code.as_str().to_owned(),
        error_message: message.into_owned(),
        request_id: request_id.to_string(),
    };
    let mut response = Response::new(Bytes::from(body.encode_to_vec()));
    *response.status_mut() =
        StatusCode::from_u16(status(code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if code == ErrorCode::UnsupportedHttpMethod {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The HTTP status of a code. The public API has a special one for a wrong method; this protocol
/// uses that of HTTP.
const fn status(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::UnsupportedHttpMethod => 405,
        other => other.status(),
    }
}

/// The code and text of this protocol, if they differ from those of the public API.
fn protocol_error(error: &ApiError) -> (ErrorCode, Cow<'_, str>) {
    match error.code() {
        ErrorCode::KeyNotFound | ErrorCode::KeyVersionNotFound | ErrorCode::AliasNotFound => {
            (ErrorCode::KeyNotFound, "The specified key does not exist.".into())
        }
        code @ (ErrorCode::RejectedUnsupportedOperation | ErrorCode::UnsupportedOperation) => {
            // The documented text comes first, then its reason.
            let text = error.message();
            let reason = text.strip_prefix(code.message()).unwrap_or(text).trim_start();
            let message = format!("Rejected.UnsupportedOperation {reason}");
            (ErrorCode::UnsupportedOperation, message.trim_end().to_owned().into())
        }
        code => (code, error.message().into()),
    }
}
