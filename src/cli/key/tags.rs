//! `hsmgate key tag|untag`.

use clap::Args;
use serde_json::json;

use super::{KeyArgs, key_id, show};
use crate::cli::data::pair;

#[derive(Debug, Args)]
pub(in crate::cli) struct Tag {
    #[command(flatten)]
    key: KeyArgs,
    /// The tags
    #[arg(value_name = "NAME=VALUE", value_parser = pair, required = true, help_heading = None::<&str>)]
    tags: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Untag {
    #[command(flatten)]
    key: KeyArgs,
    /// The names of the tags
    #[arg(value_name = "NAME", required = true, help_heading = None::<&str>)]
    names: Vec<String>,
}

impl Tag {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let tags = self.tags.iter().map(|(name, value)| json!({"TagKey": name, "TagValue": value}));
        let tags = json!(tags.collect::<Vec<_>>()).to_string();
        remote.call("TagResource", &[("KeyId", &id), ("Tags", &tags)])?;
        show(&remote, &id, self.key.json)
    }
}

impl Untag {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let names = json!(self.names).to_string();
        remote.call("UntagResource", &[("KeyId", &id), ("TagKeys", &names)])?;
        show(&remote, &id, self.key.json)
    }
}
