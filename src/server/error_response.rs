//! The errors of the HTTP layer itself, in a form that clients can read.
//!
//! What they look like is up to what is served: it gives an [`ErrorResponder`]. The HTTP library answers
//! a head that it cannot read with an empty body, which SDKs report as a failure to parse. Such a
//! response is exchanged on its way out.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

/// Why the server refuses a request, or fails at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The library cannot read the head.
    #[error("The head cannot be read.")]
    MalformedRequest,
    /// Head or request line are beyond the limits.
    #[error("The head is too large.")]
    HeaderTooLarge,
    /// The library and the splitter of request lines took different bytes for the end of the head.
    #[error("The end of the head is not clear.")]
    UnclearEnd,
    /// The head names two ends of the body.
    #[error("Content-Length and Transfer-Encoding are both there.")]
    ConflictingLengths,
    /// The body is coded in another way than in chunks, once.
    #[error("The only Transfer-Encoding is chunked, once.")]
    OtherCoding,
    /// A plain request came to a port with TLS.
    #[error("This port speaks TLS, and the request came as plain HTTP. Use https.")]
    TlsOnly,
    /// The connection is being closed to make room.
    #[error("The connection is being closed.")]
    Closing,
    /// The request was not answered in time.
    #[error("The request took too long. Whether it had an effect is not known.")]
    TimedOut,
    /// The service panicked.
    #[error("The request failed in a panic.")]
    Panicked,
}

/// A form of errors that some clients read.
pub trait ErrorForm: fmt::Debug + Sync {
    /// The response that tells of an error. `host` is the `Host` that the client used, as text; empty
    /// where it is not known.
    fn response(&self, host: &str, error: HttpError) -> Response<Bytes>;
}

/// Finds the form of errors for a client by what it sends.
#[derive(Debug, Clone, Copy)]
pub struct ErrorResponder {
    /// The form for a request with these headers.
    pub of_headers: fn(&HeaderMap) -> &'static dyn ErrorForm,
    /// The form that bytes of a head ask for, as far as they tell: of a head that could not be read
    /// there is no more.
    pub in_head: fn(&[u8]) -> Option<&'static dyn ErrorForm>,
}

impl ErrorResponder {
    /// The form for a client of whom nothing is known.
    pub(super) fn default_form(&self) -> &'static dyn ErrorForm {
        (self.of_headers)(&HeaderMap::new())
    }
}

/// Why the library refuses, where `response` is a bodiless refusal of its own.
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

/// A response as bytes, for a connection that it closes.
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
    fn a_bare_refusal_is_known_and_every_other_response_goes_out_as_it_is() {
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
