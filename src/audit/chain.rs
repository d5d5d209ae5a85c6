//! The hash chain: each record has a value over the previous value and its own bytes.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::model::text_form::{InvalidId, text_forms};

const VALUE_BYTES: usize = 32;

/// A chain value: SHA-256 over the previous value and the bytes of a record. Written as 64
/// lowercase hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ChainValue([u8; VALUE_BYTES]);

/// The last record of a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The sequence number, from 1; 0 for an empty chain.
    pub sequence: u64,
    /// The chain value.
    pub chain: ChainValue,
}

impl Head {
    /// The start of a chain: no record, and 32 zero bytes.
    pub const START: Self = Self { sequence: 0, chain: ChainValue([0; VALUE_BYTES]) };

    /// The head after a record with these bytes. The bytes contain the sequence number, so the
    /// chain covers it too.
    #[must_use]
    pub fn followed_by(self, record: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.chain.0);
        context.update(record);
        // SHA-256 always has this length.
        let value = context.finish().as_ref().try_into().unwrap_or_default();
        Self { sequence: self.sequence.saturating_add(1), chain: ChainValue(value) }
    }
}

text_forms!(ChainValue: Serialize, Deserialize);

impl fmt::Display for ChainValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * VALUE_BYTES];
        // The digits have room for the bytes.
        hex::encode_to_slice(self.0, &mut digits).map_err(|_too_short| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for ChainValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainValue({self})")
    }
}

impl FromStr for ChainValue {
    type Err = InvalidId;

    /// Accepts only the form that is written.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let mut value = [0; VALUE_BYTES];
        match hex::decode_to_slice(text, &mut value) {
            Ok(()) if is_lower => Ok(Self(value)),
            _ => Err(InvalidId("chain value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_all_records_affects_the_value() {
        let one = Head::START.followed_by(b"one").followed_by(b"two");
        assert_eq!(one.sequence, 2);
        assert_ne!(one.chain, Head::START.followed_by(b"onf").followed_by(b"two").chain);
        assert_ne!(one.chain, Head::START.followed_by(b"one").followed_by(b"twp").chain);
        assert_ne!(one.chain, Head::START.followed_by(b"onet").followed_by(b"wo").chain);
    }

    #[test]
    fn the_value_is_plain_sha_256() {
        // printf '%064d' 0 | xxd -r -p | cat - <(printf 'record') | sha256sum
        let value = Head::START.followed_by(b"record").chain;
        let mut bytes = vec![0; 32];
        bytes.extend_from_slice(b"record");
        let digest = aws_lc_rs::digest::digest(&SHA256, &bytes);
        assert_eq!(value.to_string(), hex::encode(digest));
        assert_eq!(value.to_string().parse(), Ok(value));
    }

    #[test]
    fn another_form_of_a_value_is_refused() {
        let text = Head::START.chain.to_string();
        for other in [text.replace('0', "G"), text.replacen('0', "A", 1), format!("{text}0")] {
            assert!(other.parse::<ChainValue>().is_err(), "{other}");
        }
    }
}
