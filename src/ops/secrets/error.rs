//! The errors of operations on secrets.

use crate::error::{ApiError, ErrorCode};
use crate::model::{SecretFault, SecretRecord};
use crate::store::StoreError;

/// An error of a change of a secret, as its caller gets it.
#[derive(Debug)]
pub(super) struct SecretError(pub(super) ApiError);

impl From<StoreError> for SecretError {
    fn from(error: StoreError) -> Self {
        Self(match error {
            StoreError::NotFound => ApiError::from(ErrorCode::ResourceNotFound).because(error),
            StoreError::Exists => ApiError::from(ErrorCode::ResourceExist).because(error),
            StoreError::Corrupt { .. } => {
                tracing::error!(
                    event = "secret.damaged",
                    error = &error as &dyn std::error::Error,
                    "a secret was refused, because its rows are not what the gateway wrote"
                );
                ApiError::damaged_secret().because(error)
            }
            other => other.into(),
        })
    }
}

impl From<ApiError> for SecretError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<SecretError> for ApiError {
    fn from(SecretError(error): SecretError) -> Self {
        error
    }
}

/// The error for labels that a version cannot have. `name` is the parameter.
pub(super) fn of_stages(fault: SecretFault, name: &str) -> ApiError {
    let (code, text) = match fault {
        SecretFault::TooManyStages => {
            (ErrorCode::LimitExceeded, ErrorCode::LimitExceeded.message().to_owned())
        }
        SecretFault::NoSuchVersion => return ErrorCode::ResourceNotFound.into(),
        _ => (
            ErrorCode::InvalidParameter,
            format!("The specified parameter \"{name}\" is not valid"),
        ),
    };
    ApiError::with_message(code, format!("{text}: {fault}."))
}

/// Refuses a secret whose deletion is scheduled.
pub(super) fn require_live(record: &SecretRecord) -> Result<(), ApiError> {
    let Some(date) = record.delete_at else { return Ok(()) };
    let code = ErrorCode::ResourceInDeleteWindow;
    let text = code.message();
    let message = format!("{text} It will be deleted at {date}. RestoreSecret cancels that.");
    Err(ApiError::with_message(code, message))
}

/// The error for what only managed secrets have. `reason` says what to do instead.
pub(super) fn only_generic(reason: &str) -> ApiError {
    let code = ErrorCode::RejectedUnsupportedOperation;
    ApiError::with_message(code, format!("{} {reason}", code.message()))
}
