//! Responses as bytes: JSON by default, XML on request.
//!
//! It knows the two envelopes, for success and failure, but no operation.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::{ApiError, ErrorCode};
use crate::model::{Params, RequestId};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-acs-request-id");

/// The maximum bytes of a client's `Host` that an error repeats.
const MAX_HOST_BYTES: usize = 255;

/// The format of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json;charset=utf-8`.
    #[default]
    Json,
    /// `text/xml;charset=utf-8`: the exact text by which the SDKs recognize XML.
    Xml,
}

impl Format {
    /// The format that a request selects: its parameter `Format`, or else its first `accept`.
    ///
    /// # Errors
    /// `InvalidParameter.Format` for an unknown parameter value. An unknown `accept` is ignored.
    pub fn requested(params: &Params<'_>, headers: &HeaderMap) -> Result<Self, ApiError> {
        match params.text("Format").filter(|text| !text.is_empty()) {
            None => Ok(Self::accepted(headers)),
            Some(text) if text.eq_ignore_ascii_case("xml") => Ok(Self::Xml),
            // A deprecated call of the old Python SDK sends `None`.
            Some(text) if text.eq_ignore_ascii_case("json") || text == "None" => Ok(Self::Json),
            Some(_) => Err(ErrorCode::InvalidParameterFormat.into()),
        }
    }

    fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match accept.split([',', ';']).next().map(str::trim) {
            Some("application/xml" | "text/xml") => Self::Xml,
            _ => Self::Json,
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json;charset=utf-8"),
            Self::Xml => HeaderValue::from_static("text/xml;charset=utf-8"),
        }
    }
}

/// The response of a successful operation: `RequestId`, then the fields of `output`.
///
/// `output` must serialize as a struct or as nothing, without a field `Code`: pop-core treats any
/// response with one as an error, whatever its status.
pub fn success<T: Serialize>(
    format: Format,
    operation: &str,
    request_id: RequestId,
    output: &T,
) -> Response<Bytes> {
    let envelope = Success { request_id, output };
    match encode(format, &format!("{operation}Response"), &envelope) {
        Ok(body) => answer(StatusCode::OK, format, request_id, body),
        Err(error) => failure(format, request_id, "", &error),
    }
}

/// The response of a rejected or failed request. `host` is the `Host` that the client used, as
/// text.
pub fn failure(
    format: Format,
    request_id: RequestId,
    host: &str,
    error: &ApiError,
) -> Response<Bytes> {
    let envelope = Failure::new(request_id, host, error);
    let status = StatusCode::from_u16(error.code().status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = encode(format, "Error", &envelope).unwrap_or_default();
    let mut response = answer(status, format, request_id, body);
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[derive(Serialize)]
struct Success<'a, T> {
    #[serde(rename = "RequestId")]
    request_id: RequestId,
    #[serde(flatten)]
    output: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure<'a> {
    request_id: RequestId,
    host_id: &'a str,
    code: &'a str,
    message: &'a str,
    recommend: &'a str,
}

impl<'a> Failure<'a> {
    fn new(request_id: RequestId, host: &'a str, error: &'a ApiError) -> Self {
        Self {
            request_id,
            host_id: host.get(..MAX_HOST_BYTES).unwrap_or(host),
            code: error.code().as_str(),
            message: error.message(),
            recommend: "",
        }
    }
}

/// The bytes of a response. They may contain a plaintext, so they are zeroized after they were
/// sent.
type Encoded = Zeroizing<Vec<u8>>;

fn encode(format: Format, root: &str, envelope: &impl Serialize) -> Result<Encoded, ApiError> {
    let unwritable = |error: Box<dyn std::error::Error + Send + Sync>| {
        ApiError::from(ErrorCode::InternalFailure).because(error)
    };
    match format {
        Format::Json => {
            let mut body = Zeroizing::new(Vec::with_capacity(512));
            serde_json::to_writer(&mut *body, envelope)
                .map_err(|error| unwritable(error.into()))?;
            Ok(body)
        }
        Format::Xml => {
            let mut text = Zeroizing::new(String::with_capacity(512));
            quick_xml::se::to_writer_with_root(&mut *text, root, envelope)
                .map_err(|error| unwritable(error.into()))?;
            Ok(Zeroizing::new(legal_xml(&text).into_bytes()))
        }
    }
}

/// Replaces characters that are not allowed in XML 1.0, escaped or not (section 2.2), and keeps
/// carriage returns from being read as line feeds (section 2.11).
fn legal_xml(text: &str) -> String {
    let mut legal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\r' => legal.push_str("&#13;"),
            '\u{0}'..='\u{8}'
            | '\u{b}'
            | '\u{c}'
            | '\u{e}'..='\u{1f}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                legal.push(char::REPLACEMENT_CHARACTER);
            }
            _ => legal.push(character),
        }
    }
    legal
}

fn answer(
    status: StatusCode,
    format: Format,
    request_id: RequestId,
    body: Encoded,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_owner(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    // An error repeats text of the client.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A response may have a plaintext or a secret, also one to a GET.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::try_from(request_id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        key_id: &'static str,
        total_count: u32,
        is_last: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<u32>,
        keys: Keys,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Keys {
        key: Vec<Key>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Key {
        key_id: &'static str,
    }

    #[derive(Serialize)]
    struct Nothing {}

    fn output() -> Output {
        let key = vec![Key { key_id: "1" }, Key { key_id: "2" }];
        Output {
            key_id: "a<b&c\u{1}\r\"",
            total_count: 2,
            is_last: true,
            next: None,
            keys: Keys { key },
        }
    }

    fn text(response: Response<Bytes>) -> String {
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn a_success_is_one_json_object_that_begins_with_its_request_id() {
        let id = RequestId::random();
        let response = success(Format::Json, "ListKeys", id, &output());
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json;charset=utf-8");
        assert_eq!(response.headers()["x-acs-request-id"], id.to_string());
        assert_eq!(
            text(response),
            format!(
                "{{\"RequestId\":\"{id}\",\"KeyId\":\"a<b&c\\u0001\\r\\\"\",\"TotalCount\":2,\
                 \"IsLast\":true,\"Keys\":{{\"Key\":[{{\"KeyId\":\"1\"}},{{\"KeyId\":\"2\"}}]}}}}"
            )
        );
    }

    #[test]
    fn the_same_success_is_one_xml_element_per_field() {
        let id = RequestId::random();
        let response = success(Format::Xml, "ListKeys", id, &output());
        assert_eq!(response.headers()["content-type"], "text/xml;charset=utf-8");
        assert_eq!(
            text(response),
            format!(
                "<ListKeysResponse><RequestId>{id}</RequestId><KeyId>a&lt;b&amp;c\u{fffd}&#13;\"</KeyId>\
                 <TotalCount>2</TotalCount><IsLast>true</IsLast>\
                 <Keys><Key><KeyId>1</KeyId></Key><Key><KeyId>2</KeyId></Key></Keys></ListKeysResponse>"
            )
        );
    }

    #[test]
    fn an_operation_without_output_answers_with_its_request_id() {
        let id = RequestId::random();
        let json = format!("{{\"RequestId\":\"{id}\"}}");
        assert_eq!(text(success(Format::Json, "EnableKey", id, &Nothing {})), json);
        assert_eq!(text(success(Format::Json, "EnableKey", id, &())), json);
        assert_eq!(
            text(success(Format::Xml, "EnableKey", id, &Nothing {})),
            format!("<EnableKeyResponse><RequestId>{id}</RequestId></EnableKeyResponse>")
        );
    }

    #[test]
    fn a_failure_has_the_five_fields_that_the_sdks_read() {
        let id = RequestId::random();
        let error = ApiError::from(ErrorCode::Throttling);
        let response = failure(Format::Json, id, "127.0.0.1:8200", &error);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(
            text(response),
            format!(
                "{{\"RequestId\":\"{id}\",\"HostId\":\"127.0.0.1:8200\",\
                 \"Code\":\"Rejected.Throttling\",\"Message\":\"QPS Limit Exceeded\",\"Recommend\":\"\"}}"
            )
        );
        let error = ApiError::invalid_parameter("a\u{0}b");
        let response = failure(Format::Xml, id, "host", &error);
        assert!(!response.headers().contains_key("retry-after"));
        assert_eq!(
            text(response),
            format!(
                "<Error><RequestId>{id}</RequestId><HostId>host</HostId>\
                 <Code>InvalidParameter</Code><Message>The specified parameter \"a\u{fffd}b\" \
                 is not valid.</Message><Recommend/></Error>"
            )
        );
    }

    #[test]
    fn the_parameter_decides_and_then_the_header() {
        let requested = |parameter: Option<&str>, accept: Option<&str>| {
            let mut params = Params::default();
            if let Some(text) = parameter {
                params.insert("Format", text).unwrap();
            }
            let headers = accept.map(|text| (ACCEPT, text.parse().unwrap()));
            Format::requested(&params, &headers.into_iter().collect())
        };
        for (parameter, accept, expected) in [
            (None, None, Format::Json),
            (Some(""), Some("text/xml"), Format::Xml),
            (Some("json"), Some("text/xml"), Format::Json),
            (Some("None"), None, Format::Json),
            (Some("XML"), Some("application/json"), Format::Xml),
            (None, Some("application/xml;q=0.9"), Format::Xml),
            (None, Some("text/html,application/xml"), Format::Json),
        ] {
            assert_eq!(requested(parameter, accept).unwrap(), expected, "{parameter:?} {accept:?}");
        }
        let error = requested(Some("YAML"), None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameterFormat);
    }
}
