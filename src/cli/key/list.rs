//! `hsmgate key list`.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cli::connection::{Connection, Remote};
use crate::cli::{output, response};

/// Maximum rows on a page of the API.
const PAGE_SIZE: &str = "100";

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        let keys = all(&remote, "ListKeys", &[], ["Keys", "Key"])?;
        let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
        for row in all(&remote, "ListAliases", &[], ["Aliases", "Alias"])? {
            let name = response::text(&row, &["AliasName"])?.to_owned();
            aliases.entry(response::text(&row, &["KeyId"])?.to_owned()).or_default().push(name);
        }
        let mut rows = Vec::new();
        for key in &keys {
            let id = response::text(key, &["KeyId"])?;
            let described = remote.call("DescribeKey", &[("KeyId", id)])?;
            let metadata = described.get("KeyMetadata").unwrap_or(&Value::Null);
            rows.push(ListedKey::of(id, metadata, aliases.remove(id).unwrap_or_default()));
        }
        if self.json {
            return Ok(output::json(&rows)?);
        }
        let rows: Vec<_> = rows.into_iter().map(ListedKey::row).collect();
        Ok(output::table(["KEY", "STATE", "SPEC", "CREATED", "ALIASES"], &rows)?)
    }
}

/// A row of the list, with the names of the API.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    key_id: String,
    key_arn: String,
    key_state: String,
    key_spec: String,
    creation_date: String,
    aliases: Vec<String>,
}

impl ListedKey {
    fn of(id: &str, metadata: &Value, aliases: Vec<String>) -> Self {
        let text = |name| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            key_id: id.to_owned(),
            key_arn: text("Arn"),
            key_state: text("KeyState"),
            key_spec: text("KeySpec"),
            creation_date: text("CreationDate"),
            aliases,
        }
    }

    fn row(self) -> [String; 5] {
        let aliases = self.aliases.join(" ");
        [self.key_id, self.key_state, self.key_spec, self.creation_date, aliases]
    }
}

/// The aliases of a key.
pub(super) fn aliases_of(remote: &Remote, id: &str) -> anyhow::Result<Vec<String>> {
    let rows = all(remote, "ListAliasesByKeyId", &[("KeyId", id)], ["Aliases", "Alias"])?;
    rows.iter().map(|row| Ok(response::text(row, &["AliasName"])?.to_owned())).collect()
}

/// The rows of all pages of a list with these two names.
pub(in crate::cli) fn all(
    remote: &Remote,
    action: &str,
    params: &[(&str, &str)],
    [outer, inner]: [&str; 2],
) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for page in 1_u64.. {
        let number = page.to_string();
        let page = [("PageNumber", number.as_str()), ("PageSize", PAGE_SIZE)];
        let answer = remote.call(action, &[params, &page].concat())?;
        let (rows, total) = response::rows(&answer, outer, inner)?;
        all.extend_from_slice(rows);
        if rows.is_empty() || u64::try_from(all.len()).is_ok_and(|length| length >= total) {
            break;
        }
    }
    Ok(all)
}
