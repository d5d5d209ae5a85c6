//! `hsmgate key create|list|describe`.

use std::collections::HashMap;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::connection::{Connection, Remote};
use super::{alias, output, response};
use crate::model::{Alias, KeySpec, KeyUsage};

/// Maximum rows on a page of the API.
const PAGE_SIZE: &str = "100";

commands! {
    pub(super) enum Key {
        /// Create a key, and print its id
        Create(Create);
        /// List all keys with their aliases
        List(List);
        /// Show the metadata of a key
        Describe(Describe);
    }
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// A description of the key
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// An alias for the key, with or without alias/ in front
    #[arg(long, value_name = "NAME", value_parser = alias::parse::<Alias>)]
    alias: Option<Alias>,
    /// Its key spec [default: Aliyun_AES_256]
    #[arg(long)]
    spec: Option<KeySpec>,
    /// Its key usage [default: the spec's first usage]
    #[arg(long)]
    usage: Option<KeyUsage>,
    /// Print the key's metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The key: its id, an alias (alias/...) or an ARN
    key: String,
    /// Print the key's metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let given = [
            ("Description", self.description.as_deref()),
            ("KeySpec", self.spec.map(KeySpec::as_str)),
            ("KeyUsage", self.usage.map(KeyUsage::as_str)),
        ];
        let params: Vec<(&str, &str)> =
            given.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        let remote = self.connection.open()?;
        let answer = remote.call("CreateKey", &params)?;
        let key_id = response::text(&answer, &["KeyMetadata", "KeyId"])?;
        if let Some(alias) = &self.alias {
            remote
                .call("CreateAlias", &[("AliasName", alias.as_str()), ("KeyId", key_id)])
                .with_context(|| format!("key {key_id} was created, but not {alias}"))?;
        }
        if self.json {
            output::json(&answer.get("KeyMetadata"))?;
        } else {
            output::line(key_id)?;
        }
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        let keys = all(&remote, "ListKeys", "Keys", "Key")?;
        let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
        for row in all(&remote, "ListAliases", "Aliases", "Alias")? {
            let name = response::text(&row, &["AliasName"])?.to_owned();
            aliases.entry(response::text(&row, &["KeyId"])?.to_owned()).or_default().push(name);
        }
        let mut rows = Vec::new();
        for key in &keys {
            let id = response::text(key, &["KeyId"])?;
            rows.push((id, key.get("KeyArn"), aliases.remove(id).unwrap_or_default()));
        }
        Ok(output::list(
            &rows,
            self.json,
            |(id, arn, aliases)| json!({"KeyId": id, "KeyArn": arn, "Aliases": aliases}),
            |(id, _, aliases)| ((*id).to_owned(), aliases.join(" ")),
        )?)
    }
}

impl Describe {
    fn run(self) -> anyhow::Result<()> {
        let answer = self.connection.open()?.call("DescribeKey", &[("KeyId", &self.key)])?;
        let metadata = answer
            .get("KeyMetadata")
            .and_then(Value::as_object)
            .context("the response has no KeyMetadata")?;
        if self.json {
            return Ok(output::json(metadata)?);
        }
        let rows: Vec<_> =
            metadata.iter().map(|(name, value)| (name.as_str(), in_words(value))).collect();
        Ok(output::columns(&rows)?)
    }
}

/// The rows of all pages.
fn all(remote: &Remote, action: &str, outer: &str, inner: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for page in 1_u64.. {
        let number = page.to_string();
        let params = [("PageNumber", number.as_str()), ("PageSize", PAGE_SIZE)];
        let answer = remote.call(action, &params)?;
        let (rows, total) = response::rows(&answer, outer, inner)?;
        all.extend_from_slice(rows);
        if rows.is_empty() || u64::try_from(all.len()).is_ok_and(|length| length >= total) {
            break;
        }
    }
    Ok(all)
}

fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
