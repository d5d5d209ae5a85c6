//! The body limit that both protocols share.

use crate::error::{ApiError, ErrorCode};
use crate::server::http::BodyError;

/// The maximum bytes of a body from an unauthenticated client. A legal form has up to 98 KB.
pub(super) const MAX_BODY_BYTES: usize = 256 * 1024;

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => ErrorCode::RequestTooLarge.into(),
            BodyError::Incomplete(_) => Self::from(ErrorCode::ParseRequestParameter).because(error),
        }
    }
}
