//! Keys: make, describe, list, change, delete.

pub mod cancel_key_deletion;
pub mod create_key;
pub mod describe_key;
pub mod disable_key;
pub mod enable_key;
pub mod list_keys;
pub mod schedule_key_deletion;
pub mod update_key_description;

use crate::model::{ParamError, Params};

/// The most characters of a key's description (CreateKey, parameter Description).
const MAX_DESCRIPTION_CHARS: usize = 8192;

/// A description as sent; `None` when the parameter is absent, which an empty one is not.
pub(in crate::ops) fn description(params: &Params<'_>) -> Result<Option<String>, ParamError> {
    match params.text("Description") {
        Some(text) if text.chars().count() > MAX_DESCRIPTION_CHARS => {
            Err(ParamError::invalid("Description"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}
