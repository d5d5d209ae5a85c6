//! Binary values that are sent and returned as Base64.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::text_form::{InvalidId, text_forms};

/// Bytes in standard Base64 with padding (RFC 4648, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64Bytes(pub Vec<u8>);

text_forms!(Base64Bytes: Deserialize, FromParam);

impl FromStr for Base64Bytes {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        STANDARD.decode(text).map(Self).map_err(|_source| InvalidId("Base64 value"))
    }
}

impl Serialize for Base64Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&base64::display::Base64Display::new(&self.0, &STANDARD))
    }
}

/// Maximum length of a plaintext of the public API in bytes, after Base64 decoding (Encrypt).
pub const MAX_PLAINTEXT_BYTES: usize = 6144;

/// A secret text that a caller sends or receives: data in Base64. Wiped when dropped, and never
/// logged.
///
/// The real service encrypts the Base64 text, not the decoded bytes, and Decrypt returns the same
/// text. Therefore the text is kept.
pub struct Plaintext(Zeroizing<String>);

text_forms!(Plaintext: FromParam);

impl Plaintext {
    /// Encodes `data` as Base64.
    pub fn encode(data: &[u8]) -> Self {
        Self(Zeroizing::new(STANDARD.encode(data)))
    }

    /// Converts text decrypted by the token. It must be UTF-8, as everything that this gateway
    /// encrypts is.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    pub fn from_decrypted(opened: &[u8]) -> Result<Self, InvalidId> {
        let text = std::str::from_utf8(opened).map_err(|_source| InvalidId("text"))?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The text. The only access to the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bytes of the text, wiped when dropped.
    pub fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut *self.0).into_bytes())
    }

    /// The decoded bytes of the Base64 text.
    ///
    /// # Errors
    /// When the text is not Base64.
    pub fn decode(&self) -> Result<Zeroizing<Vec<u8>>, InvalidId> {
        STANDARD
            .decode(self.0.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_source| InvalidId("Base64 value"))
    }
}

impl FromStr for Plaintext {
    type Err = InvalidId;

    /// Parses standard Base64 of 1 to [`MAX_PLAINTEXT_BYTES`] bytes.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let data =
            Zeroizing::new(STANDARD.decode(text).map_err(|_source| InvalidId("Base64 plaintext"))?);
        if data.is_empty() || data.len() > MAX_PLAINTEXT_BYTES {
            return Err(InvalidId("plaintext of 1 to 6144 bytes"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

impl Serialize for Plaintext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// A secret in a response. `Debug` does not show it.
#[derive(Debug)]
pub struct Secret(pub SecretString);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

/// A plaintext as sent: standard Base64 as the API requires, or other text, which some clients send
/// and a setting allows.
#[derive(Debug)]
pub enum PlaintextParam {
    /// Standard Base64.
    Base64(Plaintext),
    /// Any other text of at most [`MAX_PLAINTEXT_BYTES`].
    NonBase64(Plaintext),
}

text_forms!(PlaintextParam: FromParam);

impl FromStr for PlaintextParam {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse() {
            Ok(plaintext) => Ok(Self::Base64(plaintext)),
            Err(_) if !text.is_empty() && text.len() <= MAX_PLAINTEXT_BYTES => {
                Ok(Self::NonBase64(Plaintext(Zeroizing::new(text.to_owned()))))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_decoded_bytes() {
        assert!(STANDARD.encode([255; 6144]).parse::<Plaintext>().is_ok());
        assert!(STANDARD.encode([255; 6145]).parse::<Plaintext>().is_err());
    }

    #[test]
    fn text_that_is_not_standard_base64_is_refused() {
        for text in ["", "a", "hello world", "_-8=", "SGVsbG8", "SGVsbG8=\n"] {
            assert!(text.parse::<Plaintext>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let plaintext: Plaintext = "SGVsbG8=".parse().unwrap();
        assert!(!format!("{plaintext:?}").contains("SGVs"));
    }
}
