//! Aliases: make, move, delete, list. Each change is checked on the alias and on its key.

pub mod create_alias;
pub mod delete_alias;
pub mod list_aliases;
pub mod list_aliases_by_key_id;
pub mod update_alias;

use serde::Serialize;

use super::Context;
use crate::model::{Alias, KeyId, Page};
use crate::store::AliasRecord;

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
