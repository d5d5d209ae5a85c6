//! Decodes query string and form body to one map of parameters.
//!
//! It decodes only: it knows no parameter by name.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::percent;
use crate::error::{ApiError, ErrorCode};
use crate::model::Params;

/// The maximum number of parameters of a request, in query and form together.
pub const MAX_PARAMETERS: usize = 256;

const FORM: &str = "application/x-www-form-urlencoded";

/// Decodes the query and the form into one map.
///
/// # Errors
/// `ParseRequestParameterException` for a bad encoding, an empty name or too many parameters, and
/// `InvalidParameter` for a repeated name, in query or form.
pub fn read<'a>(query: &'a [u8], form: &'a [u8]) -> Result<Params<'a>, ApiError> {
    let mut params = Params::default();
    let pairs = pairs(query).chain(pairs(form));
    for (count, (name, value)) in pairs.enumerate() {
        if count >= MAX_PARAMETERS {
            return Err(unreadable(&format!("more than {MAX_PARAMETERS} parameters")));
        }
        let name = decode_name(name)?;
        let Ok(value) = percent::decode(value) else {
            return Err(unreadable(&format!(
                "the value of \"{name}\" is not percent-encoded UTF-8"
            )));
        };
        params.insert(name, value)?;
    }
    Ok(params)
}

/// Returns the form in a body, or nothing if the body is empty.
///
/// The asynchronous Python client sends an empty body as `application/octet-stream`, so the type is
/// checked only for a body that is not empty.
///
/// # Errors
/// `ParseRequestParameterException` for a body without exactly one form content type.
pub fn form<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a [u8], ApiError> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_form = match (types.next(), types.next()) {
        (Some(one), None) => {
            let media_type = one.to_str().ok().and_then(|text| text.split(';').next());
            media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case(FORM))
        }
        _ => false,
    };
    if body.is_empty() || is_form {
        Ok(body)
    } else {
        Err(unreadable(&format!("the Content-Type of a body must be {FORM}")))
    }
}

/// The raw pairs of form text. A part without `=` is a name with an empty value; empty parts, for
/// instance after a trailing `&`, are skipped.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pieces(text).filter(|piece| !piece.is_empty()).map(|piece| {
        match memchr::memchr(b'=', piece).and_then(|at| piece.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
            None => (piece, Default::default()),
        }
    })
}

/// The parts of form text between the `&`. Searches by machine words: a plaintext is a part of many
/// thousand bytes.
pub(super) fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'&', text).unwrap_or(text.len());
        let (piece, tail) = text.split_at_checked(end)?;
        rest = tail.get(1..);
        Some(piece)
    })
}

fn decode_name(name: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    match percent::decode(name) {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err(unreadable("a parameter has no readable name")),
    }
}

fn unreadable(reason: &str) -> ApiError {
    let message = format!("{} {reason}.", ErrorCode::ParseRequestParameter.message());
    ApiError::with_message(ErrorCode::ParseRequestParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text<'a>(query: &'a str, form: &'a str) -> Result<Params<'a>, ApiError> {
        read(query.as_bytes(), form.as_bytes())
    }

    fn with_type(types: &[&str]) -> HeaderMap {
        types.iter().map(|text| (CONTENT_TYPE, text.parse().unwrap())).collect()
    }

    #[test]
    fn query_and_form_make_one_map() {
        let params = read_text("KeyId=alias%2Fdemo+key&Empty=&Bare&", "Plaintext=SGk%3D").unwrap();
        let all: Vec<_> = params.iter().collect();
        assert_eq!(
            all,
            [("Bare", ""), ("Empty", ""), ("KeyId", "alias/demo key"), ("Plaintext", "SGk=")]
        );
    }

    #[test]
    fn pieces_stand_between_the_ampersands() {
        for text in ["", "&", "a", "a&", "&a", "a=1&&b=2"] {
            let expected: Vec<_> = text.as_bytes().split(|byte| *byte == b'&').collect();
            assert_eq!(pieces(text.as_bytes()).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_raw_equals_sign_belongs_to_the_value() {
        assert_eq!(read_text("A=b==", "").unwrap().text("A"), Some("b=="));
    }

    #[test]
    fn a_repeated_name_is_refused_by_name_wherever_it_stands() {
        for (query, form) in [("A=1&A=1", ""), ("A=1", "A=2"), ("A=1&%41=2", "")] {
            let error = read_text(query, form).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidParameter);
            assert!(error.message().contains("\"A\""));
        }
    }

    #[test]
    fn a_value_that_does_not_decode_is_refused_by_name() {
        for query in ["Key=%", "Key=%ff"] {
            let error = read_text(query, "").unwrap_err();
            assert_eq!(error.code(), ErrorCode::ParseRequestParameter);
            assert!(error.message().contains("\"Key\""));
        }
        for query in ["=1", "%zz=1", "%ff"] {
            assert_eq!(
                read_text(query, "").unwrap_err().code(),
                ErrorCode::ParseRequestParameter,
                "{query}"
            );
        }
    }

    #[test]
    fn there_is_a_limit_to_the_number_of_parameters() {
        let query = |count: usize| {
            let pieces: Vec<String> = (0..count).map(|number| format!("P{number}=1")).collect();
            pieces.join("&")
        };
        assert!(read_text(&query(MAX_PARAMETERS), "").is_ok());
        assert!(read_text(&query(MAX_PARAMETERS), "Q=1").is_err());
    }

    #[test]
    fn only_a_declared_form_is_read() {
        assert_eq!(
            form(&with_type(&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"]), b"a").unwrap(),
            b"a"
        );
        assert!(form(&with_type(&["application/octet-stream"]), b"").unwrap().is_empty());
        for types in [&[][..], &["application/json"], &[FORM, FORM]] {
            let error = form(&with_type(types), b"a").unwrap_err();
            assert!(error.message().contains("Content-Type"), "{types:?}");
        }
    }
}
