//! Keys: create, describe, list, update, delete.

use crate::model::{ParamError, Params, Rotation, RotationInterval};
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_key::CreateKey,
    describe_key::DescribeKey,
    list_keys::ListKeys,
    enable_key::EnableKey,
    disable_key::DisableKey,
    update_key_description::UpdateKeyDescription,
    schedule_key_deletion::ScheduleKeyDeletion,
    cancel_key_deletion::CancelKeyDeletion,
    update_rotation_policy::UpdateRotationPolicy,
    set_deletion_protection::SetDeletionProtection,
}

/// The maximum characters of a key's description (CreateKey, parameter Description).
const MAX_DESCRIPTION_CHARS: usize = 8192;

/// A description as sent; `None` if the parameter is absent, which differs from an empty one.
pub(in crate::ops) fn description(params: &Params<'_>) -> Result<Option<String>, ParamError> {
    description_in(params, "Description")
}

fn description_in(params: &Params<'_>, name: &'static str) -> Result<Option<String>, ParamError> {
    match params.text(name) {
        Some(text) if text.chars().count() > MAX_DESCRIPTION_CHARS => {
            Err(ParamError::invalid(name))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// The rotation policy of a request, if it enables rotation. An interval that is not needed must be
/// valid too.
fn rotation(params: &Params<'_>, is_wanted: bool) -> Result<Option<Rotation>, ParamError> {
    const INTERVAL: &str = "RotationInterval";
    let interval: Option<RotationInterval> = params.optional(INTERVAL)?;
    match interval {
        None if is_wanted => Err(ParamError::Missing(INTERVAL.into())),
        Some(interval) if is_wanted => Ok(Some(Rotation { interval })),
        _ => Ok(None),
    }
}
