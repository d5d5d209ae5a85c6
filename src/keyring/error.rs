//! The errors of the keyring, and the error codes for the caller.

use crate::error::{ApiError, ErrorCode};
use crate::model::InvalidId;
use crate::store::StoreError;
use crate::token::TokenError;

/// Why a key could not be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key's state or another rule of the API forbids it.
    #[error("the key does not allow the operation: {}", .0.as_str())]
    Refused(ErrorCode),
    /// The key's usage, spec or origin forbids it; the text says which.
    #[error("the key does not allow the operation: {0}")]
    NotForKey(&'static str),
    /// The key has deletion protection.
    #[error("the key's deletion protection is on")]
    Protected,
    /// The key version has used its number of random IVs.
    #[error("the key version has reached the limit of encryptions")]
    InvocationsExhausted,
    /// The token has used the key version as often as it allows, and the key gets no new version by
    /// itself.
    #[error("the token does not use the key version any more")]
    VersionUsedUp(#[source] TokenError),
    /// The ciphertext cannot be decrypted: altered, of another key, or with another context. The
    /// same error for all, so that it does not reveal the cause.
    #[error("the ciphertext cannot be decrypted")]
    BadCiphertext,
    /// The decrypted plaintext is not in a form that this gateway encrypts.
    #[error("the decrypted plaintext is malformed")]
    Malformed(#[from] InvalidId),
    /// A public key or signature of the token cannot be encoded in DER.
    #[error("cannot encode a public key or signature of the token in DER")]
    Encoding(#[from] der::Error),
    /// A data key pair is being generated, and only one is generated at a time.
    #[error("another data key pair is being generated")]
    PairInProgress,
    /// The generation of a key pair failed.
    #[error("could not generate a data key pair")]
    PairFailed,
    /// A secret value or its data key is not what was encrypted for this secret and version.
    #[error("the secret is damaged: it cannot be decrypted as that of its name, version and key")]
    DamagedSecret,
    /// What was encrypted could not be decrypted again. Nothing was stored.
    #[error("the encrypted secret could not be decrypted again")]
    UnverifiedSecret,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token failed.
    #[error("the token failed")]
    Token(#[source] TokenError),
}

impl KeyringError {
    /// The error for an algorithm that the key does not support.
    pub(super) const OTHER_ALGORITHM: Self =
        Self::NotForKey("The parameter \"Algorithm\" does not go with the KeySpec of the key");

    /// The token makes IVs of another length than those of the key version.
    pub(super) const OTHER_IV_LENGTH: Self = Self::NotForKey(
        "The token makes IVs of another length since this version of the key was created, and the \
         key needs a new version",
    );

    /// The error for the caller, if this parameter requested what the token cannot do.
    pub fn of_parameter(self, name: &str) -> ApiError {
        match self {
            Self::Token(TokenError::Unsupported(what)) => {
                let reason = format!("the token of this gateway does not support {what}");
                ApiError::unsupported_parameter(name, &reason).because(self)
            }
            other => other.into(),
        }
    }
}

impl From<TokenError> for KeyringError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::BadCiphertext => Self::BadCiphertext,
            error if error.is_key_exhausted() => Self::VersionUsedUp(error),
            error => Self::Token(error),
        }
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
                "The request was rejected because this version of the key has reached the limit of \
                 encryptions. It still decrypts. Create a new version of the key.",
            ),
            KeyringError::VersionUsedUp(_) => Self::with_message(
                ErrorCode::LimitExceeded,
                "The request was rejected because the token of this gateway has used this version of \
                 the key as often as it allows. Create a new key, or a new version of the key.",
            )
            .because(error),
            KeyringError::BadCiphertext | KeyringError::Malformed(_) => {
                Self::invalid_parameter("CiphertextBlob")
            }
            KeyringError::PairInProgress => {
                Self::with_message(ErrorCode::Throttling, "Concurrency Limit Exceeded.")
            }
            // A client that stops repeating at once: the fault is permanent.
            KeyringError::DamagedSecret => Self::damaged_secret().because(error),
            KeyringError::Encoding(_)
            | KeyringError::PairFailed
            | KeyringError::UnverifiedSecret => {
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
