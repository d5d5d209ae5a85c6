//! The claim of a request about its sender: the id of a key, and a signature that is not verified
//! yet.
//!
//! It knows the schemes by name, but not where the parts were in a request; the protocol has
//! extracted them.

use std::fmt;

use crate::error::{ApiError, ErrorCode};
use crate::model::Time;

/// A signature scheme, with the parts of its key derivation that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// RPC 1.0: HMAC-SHA1 over the sorted parameters, keyed with the secret and `&`.
    Rpc1,
    /// ACS3-HMAC-SHA256, keyed with the secret as it is.
    Acs3,
    /// ACS4-HMAC-SHA256, keyed with a key derived for a day, a region and a product.
    Acs4 {
        /// The digits of the day, `YYYYMMDD`, UTC.
        day: [u8; 8],
        /// The client's region, or `center`.
        region: &'a str,
        /// The product, `Kms`.
        product: &'a str,
    },
}

/// The kind of key that a request is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedWith<'a> {
    /// The secret of an AccessKey, by one of the HMAC schemes.
    AccessKey(Scheme<'a>),
    /// The private key of a client key: RSA PKCS#1 v1.5 with SHA-256 over the string of RPC 1.0.
    ClientKey,
}

/// The unverified claim of a request about its sender, and its proof.
pub struct Claim<'a> {
    /// The kind of key that signed.
    pub signed_with: SignedWith<'a>,
    /// The id of the AccessKey or client key as sent; not empty, otherwise unchecked.
    pub access_key_id: &'a str,
    /// The text that must be signed, computed from the request as received. For RPC 1.0 it contains
    /// every parameter, including plaintexts: never log it.
    pub string_to_sign: String,
    /// The signature as sent, decoded from Base64 or hex.
    pub signature: Vec<u8>,
    /// When the sender signed it, by its own clock.
    pub timestamp: Time,
    /// The sender's nonce: 1 to 128 bytes.
    pub nonce: &'a str,
    /// The security token, for temporary credentials.
    pub security_token: Option<&'a str>,
}

impl Claim<'_> {
    /// The error for a signature that does not match.
    ///
    /// The old Python and Go SDKs search the text for a colon and compare what follows with their
    /// own string to sign, so for RPC 1.0 it must be in the text; for the other schemes it is the
    /// digest.
    pub fn mismatch(&self) -> ApiError {
        let message = format!(
            "{} server string to sign is:{}",
            ErrorCode::SignatureDoesNotMatch.message(),
            self.string_to_sign
        );
        ApiError::with_message(ErrorCode::SignatureDoesNotMatch, message)
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("signed_with", &self.signed_with)
            .field("access_key_id", &self.access_key_id)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
