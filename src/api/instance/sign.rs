//! Reads the operation and the claim of the sender from the headers of a request.
//!
//! The order of the checks is that of the protocol's error table.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, Method};

use super::PROTOBUF;
use crate::authn::ClientKeyClaim;
use crate::error::{ApiError, ErrorCode};
use crate::model::{KeyVersionId, Time};

/// The only version of the protocol.
const API_VERSION: &str = "dkms-gcs-0.2";
const SIGNATURE_METHOD: &str = "RSA_PKCS1_SHA_256";

/// The header with the name of the operation.
pub(in crate::api) const API_NAME: &str = "x-kms-apiname";
/// The header with a key version, in requests and responses.
pub(super) const KEY_VERSION: &str = "x-kms-migrationkeyversionid";
const BODY_DIGEST: &str = "content-sha256";
/// Spelled with three c's, as in every SDK.
const CLIENT_KEY_ID: &str = "x-kms-acccesskeyid";
/// The prefix of every header of the protocol.
pub(in crate::api) const SIGNED_PREFIX: &str = "x-kms-";

/// The maximum bytes of a client's header that an error repeats.
const MAX_ECHO_BYTES: usize = 64;

/// Returns the name of the operation that a request calls.
///
/// # Errors
/// `InvalidContentType`, `InvalidApiVersion`, `InvalidApiName`.
pub fn api_name(headers: &HeaderMap) -> Result<&str, ApiError> {
    let content_type = single(headers, CONTENT_TYPE.as_str())?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim_end();
    if !media_type.eq_ignore_ascii_case(PROTOBUF) {
        let message = format!("Content-Type \"{}\" is unsupported.", echo(content_type));
        return Err(ApiError::with_message(ErrorCode::InvalidContentType, message));
    }
    let version = single(headers, "x-kms-apiversion")?;
    if version != API_VERSION {
        let message = format!("The ApiVersion \"{}\" is invalid.", echo(version));
        return Err(ApiError::with_message(ErrorCode::InvalidApiVersion, message));
    }
    single(headers, API_NAME)
}

/// Returns the error for an unknown operation.
pub(super) fn unknown_api_name(name: &str) -> ApiError {
    let message = format!("The ApiName \"{}\" is invalid.", echo(name));
    ApiError::with_message(ErrorCode::InvalidApiName, message)
}

/// Returns the claim of the sender.
///
/// # Errors
/// `InvalidParam` for a malformed header, `MissingParameter` without a client key id.
pub fn claim<'a>(method: &Method, headers: &'a HeaderMap) -> Result<ClientKeyClaim<'a>, ApiError> {
    let date = single(headers, DATE.as_str())?;
    let timestamp = Time::from_http_date(date).map_err(|error| invalid("Date").because(error))?;
    check_signature_method(single(headers, "x-kms-signaturemethod")?)?;
    let client_key_id = single(headers, CLIENT_KEY_ID)?;
    if client_key_id.is_empty() {
        let message = format!("Parameter {CLIENT_KEY_ID} does not exist in http header or body.");
        return Err(ApiError::with_message(ErrorCode::MissingParameter, message));
    }
    Ok(ClientKeyClaim {
        client_key_id,
        timestamp,
        string_to_sign: string_to_sign(method, headers)?,
        signature: signature(single(headers, AUTHORIZATION.as_str())?)?,
    })
}

/// Checks that the body has the digest that was signed.
///
/// # Errors
/// `InvalidParam`.
pub fn check_body(headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let actual = hex::encode(digest(&SHA256, body));
    if single(headers, BODY_DIGEST)?.eq_ignore_ascii_case(&actual) {
        Ok(())
    } else {
        Err(invalid("Content-SHA256"))
    }
}

/// Returns the key version that a request names.
///
/// # Errors
/// `Forbidden.KeyVersionNotFound` for a malformed id.
pub fn key_version(headers: &HeaderMap) -> Result<Option<KeyVersionId>, ApiError> {
    match single(headers, KEY_VERSION)? {
        "" => Ok(None),
        text => match text.parse() {
            Ok(version) => Ok(Some(version)),
            Err(error) => Err(ApiError::from(ErrorCode::KeyVersionNotFound).because(error)),
        },
    }
}

fn check_signature_method(method: &str) -> Result<(), ApiError> {
    match method {
        SIGNATURE_METHOD => Ok(()),
        "" => Err(invalid("x-kms-signaturemethod")),
        other => {
            let message =
                format!("The Param x-kms-signaturemethod is invalid. message:\"{}\".", echo(other));
            Err(ApiError::with_message(ErrorCode::InvalidParam, message))
        }
    }
}

/// Decodes the signature in `Bearer <Base64>`; the documentation calls the scheme `TOKEN`.
fn signature(authorization: &str) -> Result<Vec<u8>, ApiError> {
    let (scheme, base64) = authorization.split_once(' ').unwrap_or_default();
    let is_known = ["Bearer", "TOKEN"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    match STANDARD.decode(base64.trim()) {
        Ok(signature) if is_known && !signature.is_empty() => Ok(signature),
        _ => Err(invalid("Authorization")),
    }
}

/// The signed text. It contains every header of the protocol, including unknown ones.
fn string_to_sign(method: &Method, headers: &HeaderMap) -> Result<Vec<u8>, ApiError> {
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| name.starts_with(SIGNED_PREFIX));
    names.sort_unstable();
    let mut text = format!("{method}\n");
    for name in [BODY_DIGEST, CONTENT_TYPE.as_str(), DATE.as_str()] {
        text.push_str(single(headers, name)?);
        text.push('\n');
    }
    for name in names {
        text.extend([name, ":", single(headers, name)?, "\n"]);
    }
    text.push('/');
    Ok(text.into_bytes())
}

/// The text of a header without outer whitespace; empty if it is absent. A repeated header is
/// rejected, because two parsers could use different values.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(invalid(name));
    }
    let text = first.map(|value| std::str::from_utf8(value.as_bytes())).transpose();
    match text {
        Ok(text) => Ok(text.unwrap_or_default().trim()),
        Err(error) => Err(invalid(name).because(error)),
    }
}

/// Creates an error with the exact text that the transfer SDKs compare for `Date` and
/// `Authorization`.
fn invalid(param: &str) -> ApiError {
    ApiError::with_message(ErrorCode::InvalidParam, format!("The Param {param} is invalid."))
}

fn echo(text: &str) -> &str {
    text.get(..MAX_ECHO_BYTES).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"\x0a\x0aalias/demo\x12\x02hi";

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", PROTOBUF),
            ("content-sha256", "BEEEF7D1BD69EB4C8B9A818C6775F1B1C3F2ED0A9EECAF7E815749083231EA4F"),
            ("date", "Mon, 27 Sep 2021 11:47:26 GMT"),
            ("x-kms-apiversion", API_VERSION),
            ("x-kms-apiname", "Encrypt"),
            ("x-kms-signaturemethod", SIGNATURE_METHOD),
            ("x-kms-acccesskeyid", "KAAP.00000000-0000-4000-8000-000000000001"),
            ("authorization", "Bearer QUJD"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_string_to_sign_is_the_one_of_the_sdks() {
        let mut headers = headers();
        for (length, expected) in [
            (277, "ad9c90c8c1eb458cce2cf311e3898bbac99255f9156b4508494d3478094fbbe2"),
            (342, "460a148ee049d3e0e5602d32ccb8b2cf6dbc6dba7d3260973e0dd7aee3912d4d"),
        ] {
            let text = claim(&Method::POST, &headers).unwrap().string_to_sign;
            assert_eq!(text.len(), length);
            assert_eq!(hex::encode(digest(&SHA256, &text)), expected);
            let version = "b047bccc-e43d-420b-8ae1-1bb3e2066d53";
            headers.insert(KEY_VERSION, version.parse().unwrap());
        }
        assert!(check_body(&headers, BODY).is_ok());
        assert!(check_body(&headers, b"").is_err());
    }

    #[test]
    fn both_schemes_carry_a_signature() {
        for scheme in ["Bearer", "TOKEN", "bearer"] {
            assert_eq!(signature(&format!("{scheme} QUJD")).unwrap(), b"ABC");
        }
        for text in ["", "Bearer", "Bearer ", "Basic QUJD", "QUJD", "Bearer QUJ", "Bearer_QUJD"] {
            let refused = signature(text).unwrap_err();
            assert_eq!(refused.message(), "The Param Authorization is invalid.", "{text}");
        }
    }

    type Check<'a> = &'a dyn Fn(&HeaderMap) -> Result<(), ApiError>;

    #[test]
    fn a_header_of_a_wrong_form_has_the_documented_refusal() {
        let api = |headers: &HeaderMap| api_name(headers).map(drop);
        let claimed = |headers: &HeaderMap| claim(&Method::POST, headers).map(drop);
        let cases: [(Check<'_>, &str, &str, u16, &str, &str); 8] = [
            (
                &api,
                "content-type",
                "text/plain",
                415,
                "InvalidContentType",
                "Content-Type \"text/plain\" is unsupported.",
            ),
            (
                &api,
                "x-kms-apiversion",
                "dkms-gcs-0.3",
                400,
                "InvalidApiVersion",
                "The ApiVersion \"dkms-gcs-0.3\" is invalid.",
            ),
            (
                &api,
                "x-kms-apiversion",
                "",
                400,
                "InvalidApiVersion",
                "The ApiVersion \"\" is invalid.",
            ),
            (
                &claimed,
                "date",
                "2021-09-27T11:47:26Z",
                400,
                "InvalidParam",
                "The Param Date is invalid.",
            ),
            (
                &claimed,
                "x-kms-signaturemethod",
                "",
                400,
                "InvalidParam",
                "The Param x-kms-signaturemethod is invalid.",
            ),
            (
                &claimed,
                "x-kms-signaturemethod",
                "X",
                400,
                "InvalidParam",
                "The Param x-kms-signaturemethod is invalid. message:\"X\".",
            ),
            (
                &claimed,
                "x-kms-acccesskeyid",
                "",
                400,
                "MissingParameter",
                "Parameter x-kms-acccesskeyid does not exist in http header or body.",
            ),
            (
                &claimed,
                "authorization",
                "X",
                400,
                "InvalidParam",
                "The Param Authorization is invalid.",
            ),
        ];
        for (check, name, value, status, code, message) in cases {
            let mut headers = headers();
            headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            let refused = check(&headers).unwrap_err();
            let shown = (refused.code().status(), refused.code().as_str(), refused.message());
            assert_eq!(shown, (status, code, message));
        }
    }

    #[test]
    fn a_repeated_header_is_refused() {
        for name in ["date", "content-sha256", "x-kms-apiname", "x-kms-added", "authorization"] {
            let mut headers = headers();
            headers.append(name, "a".parse().unwrap());
            headers.append(name, "b".parse().unwrap());
            let refused = api_name(&headers).and_then(|_| claim(&Method::POST, &headers));
            assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidParam, "{name}");
        }
    }
}
