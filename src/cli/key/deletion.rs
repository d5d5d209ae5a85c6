//! `hsmgate key schedule-deletion`.

use clap::Args;

use super::list::aliases_of;
use super::{KeyArgs, key_id, show};
use crate::cli::{confirm, response};

/// What was encrypted with the key can no longer be decrypted after the waiting period. Until then,
/// `hsmgate key cancel-deletion` keeps the key.
#[derive(Debug, Args)]
pub(in crate::cli) struct ScheduleDeletion {
    /// The waiting period
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(7..=366))]
    days: u32,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    key: KeyArgs,
}

impl ScheduleDeletion {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        if !self.yes {
            let described = remote.call("DescribeKey", &[("KeyId", &id)])?;
            let metadata = |name| response::text(&described, &["KeyMetadata", name]);
            let aliases = aliases_of(&remote, &id)?.join(", ");
            confirm::ask(
                &[
                    format!(
                        "Key {id} ({}, {}) will be destroyed in {} days, with all its versions.",
                        metadata("KeySpec")?,
                        metadata("KeyState")?,
                        self.days
                    ),
                    format!("Description: {}", metadata("Description").unwrap_or_default()),
                    format!("Aliases: {}", if aliases.is_empty() { "none" } else { &aliases }),
                    "It cannot be used at once. Afterwards nothing that it encrypted can be decrypted.".to_owned(),
                ],
                &id,
            )?;
        }
        let days = self.days.to_string();
        let params = [("KeyId", &*id), ("PendingWindowInDays", &*days)];
        remote.call("ScheduleKeyDeletion", &params)?;
        show(&remote, &id, self.key.json)
    }
}
