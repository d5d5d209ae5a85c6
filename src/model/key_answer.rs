//! What a key answers to a fixed question: the same key gives the same answer in every token, and no other key
//! does.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

use super::text_form::{InvalidId, api_enum};

api_enum! {
    /// The question.
    AnswerKind, "kind of key answer" {
        /// The encryption of a fixed block with AES.
        AesBlock = "aes-block",
        /// The AES-CMAC of a fixed message.
        AesCmac = "aes-cmac",
        /// A fixed message, encrypted with AES-GCM: another key does not decrypt it.
        AesGcm = "aes-gcm",
        /// The MAC of a fixed message with HMAC-SHA-224.
        HmacSha224 = "hmac-sha-224",
        /// With HMAC-SHA-256.
        HmacSha256 = "hmac-sha-256",
        /// With HMAC-SHA-384.
        HmacSha384 = "hmac-sha-384",
        /// With HMAC-SHA-512.
        HmacSha512 = "hmac-sha-512",
        /// The public key of a pair.
        PublicKey = "public-key",
    }
}

/// What a key answers. It reveals nothing of a secret key: it is a SHA-256 digest of the answer, or, of
/// [`AnswerKind::AesGcm`], a ciphertext of a known message. As text: the kind, a colon, and hexadecimal
/// digits.
///
/// ```
/// use hsmgate::model::{AnswerKind, KeyAnswer};
/// let answer = KeyAnswer::digest(AnswerKind::AesBlock, &[7; 16]);
/// assert_eq!(answer.to_string().parse(), Ok(answer.clone()));
/// assert_ne!(answer, KeyAnswer::digest(AnswerKind::AesCmac, &[7; 16]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAnswer {
    kind: AnswerKind,
    bytes: Box<[u8]>,
}

impl KeyAnswer {
    /// The digest of what the key made of the question.
    pub fn digest(kind: AnswerKind, made: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"hsmgate key answer\0");
        context.update(kind.as_str().as_bytes());
        context.update(b"\0");
        context.update(made);
        Self { kind, bytes: context.finish().as_ref().into() }
    }

    /// A message that only this key decrypts: IV and ciphertext.
    pub fn ciphertext(message: &[u8]) -> Self {
        Self { kind: AnswerKind::AesGcm, bytes: message.into() }
    }

    /// The question.
    pub const fn kind(&self) -> AnswerKind {
        self.kind
    }

    /// The digest, or the message.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for KeyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, hex::encode(&self.bytes))
    }
}

impl FromStr for KeyAnswer {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("key answer");
        let (kind, digits) = text.split_once(':').ok_or(invalid)?;
        let bytes = hex::decode(digits).map_err(|_source| invalid)?;
        Ok(Self { kind: kind.parse()?, bytes: bytes.into() })
    }
}
