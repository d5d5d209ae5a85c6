//! `hsmgate key describe`.

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::cli::connection::Connection;
use crate::cli::output;

#[derive(Debug, Args)]
pub(in crate::cli) struct Describe {
    /// The key: its id, an alias (alias/...) or an ARN
    key: String,
    /// Print the key's metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Describe {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
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

/// A value of a response, without quotes if it is a text.
pub(in crate::cli) fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
