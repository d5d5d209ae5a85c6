//! Aliases: make, move, delete, list. Each change is checked on the alias and on its key, a move on
//! both keys; moves and deletions once more in the transaction that makes them, as the alias may
//! have been given to another key since. Reserved aliases can be made, moved and deleted by an operator
//! alone (`hsmgate alias`); to use them takes no more than to use any other.

use super::operation::response;
use super::{Context, Paged};
use crate::error::{ApiError, ErrorCode};
use crate::model::{Alias, KeyId, Page};
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
    /// What the caller is told.
    fn into_api_error(self) -> ApiError {
        match self {
            Self::Store(StoreError::NotFound) => ErrorCode::AliasNotFound.into(),
            Self::Store(error) => error.into(),
            Self::Decided(error) => error,
        }
    }
}

/// Refuses a change of a reserved alias: an operator has made it, and clients of everybody use it.
fn refuse_reserved(alias: &Alias) -> Result<(), ApiError> {
    if !alias.is_reserved() {
        return Ok(());
    }
    let message = "The alias is reserved. An operator moves and deletes it with `hsmgate alias`.";
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

fn page(records: Vec<AliasRecord>, page: Page, cx: &Context) -> Paged<AliasDetails> {
    Paged::of(page, records, |record| AliasDetails {
        alias_arn: cx.region_account().arn(&record.name),
        alias_name: record.name,
        key_id: record.key,
    })
}
