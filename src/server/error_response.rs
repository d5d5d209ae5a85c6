//! Errors of the HTTP layer, in a format that clients can read.
//!
//! The application defines the format with an [`ErrorResponder`]. The HTTP library answers an
//! unreadable head with an empty body, which SDKs report as a parse error. Such a response is
//! replaced before it is sent.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

/// Why the server refuses a request, or fails to serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The library cannot parse the head.
    #[error("The request head is malformed.")]
    MalformedRequest,
    /// The head or the request line exceeds the limits.
    #[error("The request head is too large.")]
    HeaderTooLarge,
    /// The library and the splitter of request lines disagree about the end of the head.
    #[error("The end of the request head is ambiguous.")]
    UnclearEnd,
    /// The head defines two lengths of the body.
    #[error("The request has both Content-Length and Transfer-Encoding.")]
    ConflictingLengths,
    /// The body has another transfer coding than a single `chunked`.
    #[error("The only supported Transfer-Encoding is a single chunked.")]
    OtherCoding,
    /// A plain HTTP request arrived on a TLS port.
    #[error("The request is plain HTTP, and this port requires TLS. Use https.")]
    TlsOnly,
    /// The connection is being closed to make room.
    #[error("The connection is being closed.")]
    Closing,
    /// The request timed out.
    #[error("The request took too long. It may have taken effect.")]
    TimedOut,
    /// The service panicked.
    #[error("The request failed because of an internal error.")]
    Panicked,
}

/// An error format that some clients read.
pub trait ErrorForm: fmt::Debug + Sync {
    /// Returns the response for an error. `host` is the `Host` that the client used, as text; empty
    /// if unknown.
    fn response(&self, host: &str, error: HttpError) -> Response<Bytes>;
}

/// Selects the error format for a client.
#[derive(Debug, Clone, Copy)]
pub struct ErrorResponder {
    /// The format for a request with these headers.
    pub of_headers: fn(&HeaderMap) -> &'static dyn ErrorForm,
    /// The format that an unparsable head seems to request, from its bytes.
    pub in_head: fn(&[u8]) -> Option<&'static dyn ErrorForm>,
}

impl ErrorResponder {
    /// The format for an unknown client.
    pub(super) fn default_form(&self) -> &'static dyn ErrorForm {
        (self.of_headers)(&HeaderMap::new())
    }
}

/// The reason, if `response` is an empty error response of the library.
pub(super) fn refusal_of_library(response: &[u8]) -> Option<HttpError> {
    let text = std::str::from_utf8(response.get(..256).unwrap_or(response)).ok()?;
    let (line, headers) = text.strip_prefix("HTTP/1.1 ")?.split_once("\r\n")?;
    let error = match line.split(' ').next() {
        Some("400") => HttpError::MalformedRequest,
        Some("414" | "431") => HttpError::HeaderTooLarge,
        _ => return None,
    };
    let is_bare = headers.contains("content-length: 0\r\n");
    let is_last = headers.contains("connection: close\r\n");
    (is_bare && is_last && text.ends_with("\r\n\r\n")).then_some(error)
}

/// A response as bytes, which closes the connection.
pub(super) fn written(response: &Response<Bytes>) -> Bytes {
    let status = response.status();
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        other => other.canonical_reason().unwrap_or_default(),
    };
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
    for (name, value) in response.headers() {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let length = response.body().len();
    let _ = write!(head, "content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), response.body()].concat().into()
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn an_empty_refusal_is_recognized_and_other_responses_are_unchanged() {
        for (status, error) in [
            ("400 Bad Request", HttpError::MalformedRequest),
            ("414 URI Too Long", HttpError::HeaderTooLarge),
            ("431 Request Header Fields Too Large", HttpError::HeaderTooLarge),
        ] {
            let bare =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            assert_eq!(refusal_of_library(bare.as_bytes()), Some(error));
        }
        for response in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "",
        ] {
            assert_eq!(refusal_of_library(response.as_bytes()), None);
        }
    }

    #[test]
    fn a_response_is_written_with_its_headers_its_length_and_the_end_of_the_connection() {
        let response = Response::builder().status(413).header(CONTENT_TYPE, "text/plain");
        let text = written(&response.body(Bytes::from_static(b"too large")).unwrap());
        let expected = "HTTP/1.1 413 Content Too Large\r\ncontent-type: text/plain\r\n\
                        content-length: 9\r\nconnection: close\r\n\r\ntoo large";
        assert_eq!(text, expected);
    }
}
