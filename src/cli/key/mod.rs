//! `hsmgate key`: keys through the API.

mod change;
mod create;
mod deletion;
mod describe;
pub(super) mod import;
mod list;
mod tags;

use clap::Args;
use serde_json::Value;

pub(super) use describe::in_words;
pub(super) use list::all;

use super::connection::{Connection, Remote};
use super::{output, response};

commands! {
    pub(super) enum Key {
        /// Create a key, and print its id
        Create(create::Create);
        /// List all keys with their state, spec, creation date and aliases
        List(list::List);
        /// Show the metadata of a key
        Describe(describe::Describe);
        /// Enable a key
        Enable(KeyArgs) with "EnableKey";
        /// Disable a key: nothing can be encrypted or decrypted with it until it is enabled
        Disable(KeyArgs) with "DisableKey";
        /// Create a new version of a key and make it the primary version
        Rotate(change::Rotate);
        /// Rotate a key automatically, or stop that
        Rotation(change::Rotation);
        /// Set tags of a key
        Tag(tags::Tag);
        /// Remove tags of a key
        Untag(tags::Untag);
        /// Destroy a key after a waiting period
        ScheduleDeletion(deletion::ScheduleDeletion);
        /// Keep a key that is scheduled for deletion; it is disabled then
        CancelDeletion(KeyArgs) with "CancelKeyDeletion";
        /// Import material into a key with the origin EXTERNAL
        Import(import::Import);
        /// Write the public key and the token for an import whose material is wrapped elsewhere
        ImportParameters(import::ImportParameters);
    }
}

/// A key, and the format of the output.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The key: its id, an alias (alias/...) or an ARN
    key: String,
    /// Print the key's metadata as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl KeyArgs {
    /// Calls an action of the API that has no parameter but the key, and shows the key.
    fn run(self, action: &str) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        let id = key_id(&remote, &self.key)?;
        remote.call(action, &[("KeyId", &id)])?;
        show(&remote, &id, self.json)
    }
}

/// The id of a key that is named by id, alias or ARN: many actions take no alias.
fn key_id(remote: &Remote, key: &str) -> anyhow::Result<String> {
    if !key.contains("alias/") {
        return Ok(key.to_owned());
    }
    let answer = remote.call("DescribeKey", &[("KeyId", key)])?;
    Ok(response::text(&answer, &["KeyMetadata", "KeyId"])?.to_owned())
}

/// Shows the state of a key after a change: id and state, or all metadata as JSON.
fn show(remote: &Remote, id: &str, as_json: bool) -> anyhow::Result<()> {
    let answer = remote.call("DescribeKey", &[("KeyId", id)])?;
    if as_json {
        return Ok(output::json(&answer.get("KeyMetadata"))?);
    }
    let state = response::text(&answer, &["KeyMetadata", "KeyState"])?;
    let date =
        answer.pointer("/KeyMetadata/DeleteDate").and_then(Value::as_str).unwrap_or_default();
    let state = match date {
        "" => state.to_owned(),
        date => format!("{state} until {date}"),
    };
    Ok(output::line(&format!("{id}  {state}"))?)
}
