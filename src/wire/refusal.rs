//! The refusals that the HTTP library writes itself, in the form that the SDKs can read.
//!
//! The library answers a head that it cannot read with an empty body, which SDKs report as a
//! failure to parse. Such an answer is exchanged on its way out.

use bytes::Bytes;

use super::doors::Protocol;
use super::instance::{self, PROTOBUF};
use super::rpc::format;
use crate::error::{ApiError, ErrorCode};
use crate::model::RequestId;

/// Why the library refuses, where `answer` is a bodiless refusal of its own, and what to send in its
/// place to a client that speaks `wire`.
pub(super) fn replacement_for(answer: &[u8], protocol: Protocol) -> Option<(ErrorCode, Bytes)> {
    let text = std::str::from_utf8(answer.get(..256).unwrap_or(answer)).ok()?;
    let (line, headers) = text.strip_prefix("HTTP/1.1 ")?.split_once("\r\n")?;
    let code = match line.split(' ').next() {
        Some("400") => ErrorCode::ParseRequestParameter,
        Some("414" | "431") => ErrorCode::RequestTooLarge,
        _ => return None,
    };
    let is_bare = headers.contains("content-length: 0\r\n");
    let is_last = headers.contains("connection: close\r\n");
    (is_bare && is_last && text.ends_with("\r\n\r\n")).then(|| (code, written(code, protocol)))
}

fn written(code: ErrorCode, protocol: Protocol) -> Bytes {
    let (request_id, error) = (RequestId::random(), ApiError::from(code));
    let (headers, body) = match protocol {
        Protocol::Rpc => (
            format!(
                "content-type: application/json;charset=utf-8\r\nx-acs-request-id: {request_id}"
            ),
            format::failure_text(request_id, &error).into_bytes(),
        ),
        Protocol::Instance => {
            (format!("content-type: {PROTOBUF}"), instance::failure_message(request_id, &error).1)
        }
    };
    let (status, length) = (code.status(), body.len());
    let reason =
        if code == ErrorCode::RequestTooLarge { "Content Too Large" } else { "Bad Request" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\n{headers}\r\nx-content-type-options: nosniff\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.into_bytes(), body].concat().into()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_bare_refusal_gets_a_body_that_names_the_code() {
        for (status, code) in [
            ("400 Bad Request", "ParseRequestParameterException"),
            ("414 URI Too Long", "RequestEntityTooLarge"),
            ("431 Request Header Fields Too Large", "RequestEntityTooLarge"),
        ] {
            let bare =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let (_code, answer) = replacement_for(bare.as_bytes(), Protocol::Rpc).unwrap();
            let text = std::str::from_utf8(&answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["Code"], code);
            assert!(head.contains(body["RequestId"].as_str().unwrap()));
        }
    }

    #[test]
    fn a_client_of_the_instance_protocol_gets_an_error_message() {
        let bare = "HTTP/1.1 431 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (_code, answer) = replacement_for(bare.as_bytes(), Protocol::Instance).unwrap();
        let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap() + 4;
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", answer.len() - end)), "{head}");
        let error = instance::messages::Error::decode(&answer[end..]).unwrap();
        assert_eq!((error.status_code, &*error.error_code), (413, "RequestEntityTooLarge"));
    }

    #[test]
    fn every_other_answer_goes_out_as_it_is() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "",
        ] {
            assert_eq!(replacement_for(answer.as_bytes(), Protocol::Rpc), None);
        }
    }
}
