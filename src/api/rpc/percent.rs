//! Percent-encoding: strict decoding of input, and the canonical form that is signed (`enc` in the
//! documentation): `A-Z a-z 0-9 - _ . ~` stay, every other byte is `%XX`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text that is not percent-encoded UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not percent-encoded UTF-8")]
pub struct BadEncoding;

/// Decodes form text: `%XX` is a byte, `+` is a space, other bytes stay. Borrows if nothing is
/// encoded.
///
/// # Errors
/// When a `%` is not followed by two hex digits, or the result is not UTF-8.
pub fn decode(text: &[u8]) -> Result<Cow<'_, str>, BadEncoding> {
    let Some(first) = memchr::memchr2(b'%', b'+', text) else {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_source| BadEncoding);
    };
    let (plain, mut rest) = text.split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    loop {
        match rest {
            [] => break,
            [b'%', high, low, tail @ ..] => {
                decoded.push(hex_value(*high)? << 4 | hex_value(*low)?);
                rest = tail;
            }
            [b'%', ..] => return Err(BadEncoding),
            [b'+', tail @ ..] => {
                decoded.push(b' ');
                rest = tail;
            }
            _ => {
                let run = memchr::memchr2(b'%', b'+', rest).unwrap_or(rest.len());
                let (plain, tail) = rest.split_at(run);
                decoded.extend_from_slice(plain);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_source| BadEncoding)
}

/// Appends `enc(text)`.
pub fn encode_into(out: &mut String, text: &str) {
    out.extend(utf8_percent_encode(text, RESERVED));
}

/// Appends `enc(name)=enc(value)` for each pair, joined by `&`.
pub fn encode_pairs_into<'a>(
    out: &mut String,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode_into(out, name);
        out.push('=');
        encode_into(out, value);
    }
}

/// Appends `enc(enc(text))`, in one pass.
pub fn encode_twice_into(out: &mut String, text: &str) {
    for piece in utf8_percent_encode(text, RESERVED) {
        match piece.strip_prefix('%') {
            Some(digits) => {
                out.push_str("%25");
                out.push_str(digits);
            }
            None => out.push_str(piece),
        }
    }
}

/// Whether `text` is the `enc` of some bytes, UTF-8 or not.
pub fn is_encoded(text: &[u8]) -> bool {
    // First all bytes without a branch between them, many at a time; then the few escapes.
    let is_legal = |byte: u8| is_unreserved(byte) || byte == b'%';
    text.iter().fold(true, |all, byte| all & is_legal(*byte))
        && memchr::memchr_iter(b'%', text).all(|at| {
            let digits = text.get(at..).and_then(|rest| rest.get(1..3));
            matches!(digits, Some([high, low]) if is_canonical_escape(*high, *low))
        })
}

/// Whether a byte is not encoded in the canonical form.
pub const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn is_canonical_escape(high: u8, low: u8) -> bool {
    let is_upper = !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
    let byte = hex_value(high).and_then(|high| Ok(high << 4 | hex_value(low)?));
    is_upper && byte.is_ok_and(|byte| !is_unreserved(byte))
}

const fn hex_value(digit: u8) -> Result<u8, BadEncoding> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        let mut out = String::new();
        encode_into(&mut out, text);
        out
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(decode(b"SGVsbG8"), Ok(Cow::Borrowed("SGVsbG8"))));
    }

    #[test]
    fn both_spellings_of_a_space_are_one() {
        assert_eq!(decode(b"a+b%20c%2Bd").unwrap(), "a b c+d");
    }

    #[test]
    fn broken_escapes_and_bytes_that_are_not_utf_8_are_refused() {
        for text in ["%", "a%4", "%zz", "%2", "%%41", "%ff", "%c3", "%C0%80"] {
            assert_eq!(decode(text.as_bytes()), Err(BadEncoding), "{text}");
        }
        assert_eq!(decode(b"\xff"), Err(BadEncoding));
    }

    #[test]
    fn the_canonical_spelling_is_the_published_one() {
        assert_eq!(encode("a*b~c+d/e f_g.h-测"), "a%2Ab~c%2Bd%2Fe%20f_g.h-%E6%B5%8B");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC{0,40}") {
            let encoded = encode(&text);
            prop_assert!(is_encoded(encoded.as_bytes()));
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text.as_str());
            let mut twice = String::new();
            encode_twice_into(&mut twice, &text);
            prop_assert_eq!(twice, encode(&encoded));
        }

        #[test]
        fn only_the_canonical_spelling_counts_as_encoded(text in "[a-c~*+%0-9A-Fa-f/ ]{0,12}") {
            let is_canonical =
                decode(text.as_bytes()).is_ok_and(|decoded| encode(&decoded) == text);
            // Bytes that are not UTF-8 are the only difference; `decode` rejects them.
            if decode(text.as_bytes()).is_ok() {
                prop_assert_eq!(is_encoded(text.as_bytes()), is_canonical);
            }
        }
    }
}
