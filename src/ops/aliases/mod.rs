//! Aliases: make, move, delete, list. Each change is checked on the alias and on its key, a move on
//! both keys; moves and deletions once more in the transaction that makes them, as the alias may
//! have been given to another key since. Reserved aliases can be made, moved and deleted by an operator
//! alone (`hsmgate alias`); to use them takes no more than to use any other.

pub mod create_alias;
pub mod delete_alias;
pub mod list_aliases;
pub mod list_aliases_by_key_id;
pub mod update_alias;

use serde::Serialize;

use super::Context;
use crate::error::{ApiError, ErrorCode};
use crate::model::{Alias, KeyId, Page};
use crate::store::{AliasRecord, StoreError};

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
    fn into_answer(self) -> ApiError {
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

/// A page of aliases.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasList {
    aliases: Aliases,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Aliases {
    alias: Vec<ShownAlias>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownAlias {
    alias_name: Alias,
    alias_arn: String,
    key_id: KeyId,
}

impl AliasList {
    fn of(records: Vec<AliasRecord>, page: Page, cx: &Context) -> Self {
        let cut = page.cut(records);
        let shown = cut.rows.into_iter().map(|record| ShownAlias {
            alias_arn: cx.place().arn(&record.name),
            alias_name: record.name,
            key_id: record.key,
        });
        Self {
            aliases: Aliases { alias: shown.collect() },
            page_number: page.number,
            page_size: page.size,
            total_count: cut.total,
        }
    }
}
