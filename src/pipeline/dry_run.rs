//! Dry runs: the parameter DryRun makes an operation check everything and do nothing. The answer
//! is always an error, which says what would have come of it (KMS API, DryRun).

use crate::error::{ApiError, ErrorCode};

/// The answer of a dry run, for what the operation came to. A failure on our side, or a limit,
/// says nothing about the request and stays what it is.
pub(super) fn answer<T>(outcome: Result<T, ApiError>) -> ApiError {
    let Err(error) = outcome else { return ErrorCode::DryRunOperation.into() };
    let code = match error.code() {
        ErrorCode::NoPermission => ErrorCode::DryRunAccessDenied,
        ErrorCode::DryRunOperation | ErrorCode::Throttling => return error,
        code if code.status() >= 500 => return error,
        _ => ErrorCode::DryRunValidation,
    };
    ApiError::with_message(code, error.message().to_owned()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_come_of_it_is_told_in_three_codes() {
        for code in ErrorCode::ALL {
            let expected = match code {
                ErrorCode::NoPermission => ErrorCode::DryRunAccessDenied,
                ErrorCode::DryRunOperation
                | ErrorCode::Throttling
                | ErrorCode::InternalFailure
                | ErrorCode::Unavailable => *code,
                other if other.status() >= 500 => *code,
                _ => ErrorCode::DryRunValidation,
            };
            assert_eq!(answer::<()>(Err((*code).into())).code(), expected);
        }
        assert_eq!(answer(Ok(())).code(), ErrorCode::DryRunOperation);
        let error = answer::<()>(Err(ApiError::invalid_parameter("Plaintext")));
        assert!(error.message().contains("Plaintext"));
    }
}
