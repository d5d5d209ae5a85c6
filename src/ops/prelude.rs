//! The names that nearly every operation uses.

pub(in crate::ops) use super::operation::{CostClass, Operation, operation};
pub(in crate::ops) use super::{Context, EmptyResponse, Paged, Rows};
pub(in crate::ops) use crate::audit::ActionEffect;
pub(in crate::ops) use crate::error::{ApiError, ErrorCode};
pub(in crate::ops) use crate::keyring::{KeyAction, VersionSelector};
pub(in crate::ops) use crate::model::{
    FromParams, KeyId, KeyRef, KeyVersionId, Page, ParamError, Params,
};
