//! Aliases: create, update, delete, list. Each change is authorized on the alias and on its key, an
//! update on both keys; updates and deletions again in their transaction, because the alias may
//! have been moved to another key since. Only an operator can create, move and delete reserved
//! aliases (`hsmgate alias`); using them needs no other permission than using any alias.

use super::Context;
use super::operation::response;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Alias, KeyId};
use crate::ops::registry::operations;
use crate::store::{AliasRecord, StoreError};

operations! {
    PublicVisitor:
    create_alias::CreateAlias,
    update_alias::UpdateAlias,
    delete_alias::DeleteAlias,
    list_aliases::ListAliases,
    list_aliases_by_key_id::ListAliasesByKeyId,
}

/// Why an alias was neither moved nor deleted.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Decided(#[from] ApiError),
}

impl Refused {
    /// The error for the caller.
    fn into_api_error(self) -> ApiError {
        match self {
            Self::Store(StoreError::NotFound) => ErrorCode::AliasNotFound.into(),
            Self::Store(error) => error.into(),
            Self::Decided(error) => error,
        }
    }
}

/// Rejects a change of a reserved alias: an operator has created it, and all clients may use it.
fn refuse_reserved(alias: &Alias) -> Result<(), ApiError> {
    if !alias.is_reserved() {
        return Ok(());
    }
    let message =
        "The alias is reserved. Only an operator can move or delete it, with `hsmgate alias`.";
    Err(ApiError::with_message(ErrorCode::RejectedUnsupportedOperation, message))
}

response! {
    /// A row of a list of aliases.
    pub struct AliasDetails in Aliases.Alias {
        alias_name: Alias,
        alias_arn: String,
        key_id: KeyId,
    }
}

impl AliasDetails {
    fn of(record: AliasRecord, cx: &Context) -> Self {
        Self {
            alias_arn: cx.region_account().arn(&record.name),
            alias_name: record.name,
            key_id: record.key,
        }
    }
}
