//! What can go wrong with a key, and what the caller is told.

use crate::error::{ApiError, ErrorCode};
use crate::model::id::InvalidId;
use crate::store::StoreError;
use crate::token::TokenError;

/// Why a key could not be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key's state forbids it, or it is refused by another rule of the API.
    #[error("the key does not allow this: {}", .0.as_str())]
    Refused(ErrorCode),
    /// The key's usage, spec or origin forbids it; the text says what does.
    #[error("the key does not allow this: {0}")]
    NotForKey(&'static str),
    /// The key must not be deleted, says its owner.
    #[error("the key's deletion protection is on")]
    Protected,
    /// The key version has encrypted as often as random IVs allow.
    #[error("the key version must not encrypt any more")]
    InvocationsExhausted,
    /// The ciphertext does not open: altered, of another key, or with another context. One answer
    /// for all, so that nobody learns which.
    #[error("the ciphertext does not open")]
    BadCiphertext,
    /// What the token opened is not what this gateway encrypts.
    #[error("the opened text is malformed")]
    Malformed(#[from] InvalidId),
    /// A public key or signature of the token cannot be written in DER.
    #[error("what the token gave cannot be encoded")]
    Encoding(#[from] der::Error),
    /// A key pair for a caller is being made, and another one at the same time is too much.
    #[error("a data key pair is being made already")]
    PairInProgress,
    /// No key pair came of it.
    #[error("a data key pair could not be made")]
    PairFailed,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[source] TokenError),
}

impl KeyringError {
    /// The refusal of an algorithm.
    pub(super) const OTHER_ALGORITHM: Self =
        Self::NotForKey("The parameter \"Algorithm\" does not go with the KeySpec of the key");

    /// The error for the caller, where what the token cannot do was asked for by this parameter.
    pub fn of_parameter(self, name: &str) -> ApiError {
        match self {
            Self::Token(TokenError::Unsupported(what)) => {
                let reason = format!("the token of this gateway can not do {what}");
                ApiError::unsupported_parameter(name, &reason).because(self)
            }
            other => other.into(),
        }
    }
}

impl From<TokenError> for KeyringError {
    fn from(error: TokenError) -> Self {
        if error.is_bad_ciphertext() { Self::BadCiphertext } else { Self::Token(error) }
    }
}

impl From<ErrorCode> for KeyringError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl From<KeyringError> for ApiError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Refused(code) => code.into(),
            KeyringError::NotForKey(reason) => Self::not_for_key(reason),
            KeyringError::Protected => {
                Self::not_for_key("The deletion protection of the key is on")
            }
            KeyringError::InvocationsExhausted => Self::with_message(
                ErrorCode::LimitExceeded,
                "The request was rejected because this version of the key has encrypted as often as \
                 is safe. It still decrypts. Create a new version of the key.",
            ),
            KeyringError::BadCiphertext | KeyringError::Malformed(_) => {
                Self::invalid_parameter("CiphertextBlob")
            }
            KeyringError::PairInProgress => {
                Self::with_message(ErrorCode::Throttling, "Concurrency Limit Exceeded.")
            }
            KeyringError::Encoding(_) | KeyringError::PairFailed => {
                Self::from(ErrorCode::InternalFailure).because(error)
            }
            KeyringError::Store(StoreError::NotFound) => {
                Self::from(ErrorCode::KeyNotFound).because(error)
            }
            KeyringError::Store(source) => Self::from(source),
            KeyringError::Token(source) => Self::from(source),
        }
    }
}
