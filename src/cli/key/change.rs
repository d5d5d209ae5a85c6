//! `hsmgate key rotate|rotation`.

use clap::Args;

use super::{KeyArgs, key_id, show};
use crate::cli::{output, response};

/// Applications need no change: decryption finds the version in the ciphertext.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rotation {
    /// The time between two rotations, such as 30d or 604800s
    #[arg(long, value_name = "INTERVAL", required_unless_present = "off")]
    every: Option<String>,
    /// Rotate the key no longer
    #[arg(long, conflicts_with = "every")]
    off: bool,
    #[command(flatten)]
    key: KeyArgs,
}

impl Rotate {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let answer = remote.call("CreateKeyVersion", &[("KeyId", &id)])?;
        if self.key.json {
            return Ok(output::json(&answer.get("KeyVersion"))?);
        }
        Ok(output::line(response::text(&answer, &["KeyVersion", "KeyVersionId"])?)?)
    }
}

impl Rotation {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let is_on = if self.every.is_some() { "true" } else { "false" };
        let mut params = vec![("KeyId", &*id), ("EnableAutomaticRotation", is_on)];
        params.extend(self.every.as_deref().map(|every| ("RotationInterval", every)));
        remote.call("UpdateRotationPolicy", &params)?;
        if self.key.json {
            return show(&remote, &id, true);
        }
        let answer = remote.call("DescribeKey", &[("KeyId", &id)])?;
        let metadata = |name| response::text(&answer, &["KeyMetadata", name]);
        // A key that is not enabled has no date.
        let rotation = match metadata("NextRotationDate") {
            Ok(date) => format!("next rotation {date}"),
            Err(_absent) => format!("automatic rotation {}", metadata("AutomaticRotation")?),
        };
        Ok(output::line(&format!("{id}  {}  {rotation}", metadata("KeyState")?))?)
    }
}
