//! The canonical request of ACS3 and ACS4, which the signature covers.
//!
//! Public because the command-line client signs with the same text.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use zeroize::Zeroizing;

use super::signed_request::{SignedRequest, incomplete};
use super::{params, percent};
use crate::error::ApiError;

/// The scheme whose HMAC key is the secret itself.
pub const ACS3: &str = "ACS3-HMAC-SHA256";
/// The scheme with a derived HMAC key.
pub const ACS4: &str = "ACS4-HMAC-SHA256";
/// The header with the lowercase hex digest of the body.
pub const BODY_DIGEST: &str = "x-acs-content-sha256";

/// The string that is signed: the algorithm and the digest of the canonical request. `body_digest`
/// is the value of `BODY_DIGEST`.
///
/// # Errors
/// When a signed header is absent, or the query cannot be decoded.
pub fn string_to_sign(
    algorithm: &str,
    signed_request: &SignedRequest<'_>,
    signed_headers: &str,
    body_digest: &str,
) -> Result<String, ApiError> {
    // The query may contain a plaintext.
    let request = canonical_request(signed_request, signed_headers, body_digest)?;
    let request = Zeroizing::new(request);
    let digest = sha256_hex(&request);
    let mut text = String::with_capacity(algorithm.len() + 1 + digest.len());
    text.push_str(algorithm);
    text.push('\n');
    text.push_str(&digest);
    Ok(text)
}

/// Hex(SHA-256(data)), lowercase.
pub fn sha256_hex(data: &[u8]) -> String {
    let mut digits = vec![0; 2 * SHA256_OUTPUT_LEN];
    // The digits have room for the digest, and are text.
    let encoded = hex::encode_to_slice(digest(&SHA256, data), &mut digits);
    encoded.ok().and_then(|()| String::from_utf8(digits).ok()).unwrap_or_default()
}

/// The canonical request, byte for byte.
///
/// # Errors
/// As [`string_to_sign`].
pub fn canonical_request(
    signed_request: &SignedRequest<'_>,
    signed_headers: &str,
    body_digest: &str,
) -> Result<Vec<u8>, ApiError> {
    let mut request = Vec::with_capacity(signed_request.query.len() + 1024);
    request.extend_from_slice(signed_request.method.as_str().as_bytes());
    request.push(b'\n');
    request.extend_from_slice(signed_request.path.as_bytes());
    request.push(b'\n');
    request.extend_from_slice(&canonical_query(signed_request.query)?);
    request.push(b'\n');
    let headers: Vec<(&[u8], &[u8])> = signed_request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes().trim_ascii()))
        .collect();
    for name in signed_headers.as_bytes().split(|byte| *byte == b';') {
        append_header(&mut request, &headers, name)?;
    }
    request.push(b'\n');
    request.extend_from_slice(signed_headers.as_bytes());
    request.push(b'\n');
    request.extend_from_slice(body_digest.as_bytes());
    Ok(request)
}

/// Appends `name:value\n`; several values are sorted and joined by a comma. The names of the headers
/// are in lowercase.
fn append_header(
    request: &mut Vec<u8>,
    headers: &[(&[u8], &[u8])],
    name: &[u8],
) -> Result<(), ApiError> {
    let is_named = |header: &&(&[u8], &[u8])| header.0.eq_ignore_ascii_case(name);
    let mut values = headers.iter().filter(is_named).map(|(_name, value)| *value);
    let first = values.next();
    let first = first.ok_or_else(|| incomplete("SignedHeaders, which names a missing header"))?;
    let start = request.len();
    request.extend_from_slice(name);
    if let Some(name) = request.get_mut(start..) {
        name.make_ascii_lowercase();
    }
    request.push(b':');
    match values.next() {
        None => request.extend_from_slice(first),
        Some(second) => {
            let mut values: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
            values.sort_unstable();
            request.extend_from_slice(&values.join(&b','));
        }
    }
    request.push(b'\n');
    Ok(())
}

/// The query in its canonical form, sorted by name. Form parameters are not part of it; the digest
/// of the body covers them.
fn canonical_query(query: &[u8]) -> Result<Cow<'_, [u8]>, ApiError> {
    if is_canonical(query) {
        return Ok(Cow::Borrowed(query));
    }
    let mut text = String::with_capacity(query.len() + query.len() / 8);
    percent::encode_pairs_into(&mut text, params::read(query, &[])?.iter());
    Ok(Cow::Owned(text.into_bytes()))
}

/// Whether a query is in canonical form already: plain names in ascending order, canonical values.
fn is_canonical(query: &[u8]) -> bool {
    let mut previous: &[u8] = &[];
    query.is_empty()
        || params::pieces(query).all(|piece| {
            let at = memchr::memchr(b'=', piece).unwrap_or(piece.len());
            let Some((name, [b'=', value @ ..])) = piece.split_at_checked(at) else {
                return false;
            };
            let is_plain = name.iter().all(|byte| percent::is_unreserved(*byte));
            let is_next = is_plain && name > previous && percent::is_encoded(value);
            previous = name;
            is_next
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};

    use super::*;
    use crate::model::Params;

    fn canonical(name: &'static str, values: &[&str]) -> String {
        let headers = values.iter().map(|value| (HeaderName::from_static(name), *value));
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap())).collect();
        let signed_request = SignedRequest {
            method: &Method::GET,
            path: "/",
            query: b"",
            headers: &headers,
            body: b"",
            params: &Params::default(),
        };
        String::from_utf8(canonical_request(&signed_request, name, "").unwrap()).unwrap()
    }

    #[test]
    fn several_values_of_a_header_are_sorted_and_joined() {
        assert!(canonical("x-acs-extra", &["b ", "a"]).contains("\nx-acs-extra:a,b\n"));
    }

    /// A client with a whole URL as its endpoint sends and signs that text as its host.
    #[test]
    fn the_host_is_signed_as_sent() {
        let request = canonical("host", &["http://127.0.0.1:8199"]);
        assert!(request.contains("\nhost:http://127.0.0.1:8199\n"));
    }

    #[test]
    fn an_empty_value_keeps_its_equals_sign() {
        for (query, expected) in
            [("", ""), ("B&A=", "A=&B="), ("A.2=x&A.1=%7e", "A.1=~&A.2=x"), ("%41=1", "A=1")]
        {
            assert_eq!(canonical_query(query.as_bytes()).unwrap().as_ref(), expected.as_bytes());
        }
    }
}
