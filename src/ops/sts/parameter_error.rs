//! The errors of STS for parameters that are missing or invalid.

use crate::error::{ApiError, ErrorCode};
use crate::model::ParamError;

/// The error for a parameter of STS.
pub(super) fn parameter_error(error: ParamError) -> ApiError {
    let code = match &error {
        ParamError::Missing(name) => match name.as_ref() {
            "RoleArn" => ErrorCode::MissingRoleArn,
            "RoleSessionName" => ErrorCode::MissingRoleSessionName,
            "OIDCProviderArn" => ErrorCode::MissingProviderArn,
            _ => return error.into(),
        },
        ParamError::Invalid(name) => match name.as_ref() {
            "RoleArn" => ErrorCode::InvalidRoleArn,
            "RoleSessionName" => ErrorCode::InvalidRoleSessionName,
            "ExternalId" => ErrorCode::InvalidExternalId,
            "DurationSeconds" => ErrorCode::InvalidDurationSeconds,
            _ => return error.into(),
        },
    };
    code.into()
}
