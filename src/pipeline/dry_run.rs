//! Dry runs: with the parameter DryRun an operation checks everything and changes nothing. The
//! response is always an error, whose code tells the result (KMS API, DryRun).

use crate::error::{ApiError, ErrorCode};

/// Returns the response of a dry run for the outcome of the checks. Server errors and exceeded
/// limits are kept, because they say nothing about the request.
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
    fn the_outcome_of_a_dry_run_has_three_codes() {
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
