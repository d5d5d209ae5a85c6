//! `hsmgate policy validate|simulate`.

mod caller;
mod conditions;
mod resource;
mod simulate;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

pub(super) use self::caller::client_key_permission;
use self::simulate::Simulate;
pub(super) use self::simulate::SimulatePolicy;
use super::exit::CliError;
use super::role::trust_policy;
use super::{output, policy_arg};
use crate::model::AccountId;
use crate::model::policy::{KeyPolicy, Policy as Document, PolicyFault};

commands! {
    pub(super) enum Policy {
        /// Check a policy document, and show the position of a fault
        Validate(Validate);
        /// Simulate a request, and show the statement that decides
        Simulate(Box<Simulate>);
    }
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// The file with the document
    file: PathBuf,
    /// Check it as a key policy for a key of this account
    #[arg(long, value_name = "ACCOUNT")]
    key_policy_for: Option<AccountId>,
    /// Check it as the trust policy of a role
    #[arg(long, conflicts_with = "key_policy_for")]
    trust: bool,
    /// Print a JSON object; a fault is an error
    #[arg(long)]
    json: bool,
}

impl Validate {
    fn run(&self) -> anyhow::Result<()> {
        let text = policy_arg::text(&self.file)?;
        if self.trust {
            trust_policy(&text)?;
            return self.told();
        }
        let checked = match &self.key_policy_for {
            None => Document::parse(&text).and_then(|policy| policy.check_cost()),
            Some(account) => KeyPolicy::parse(&text).and_then(|policy| {
                policy.check_cost()?;
                policy.check_stays_manageable(account)
            }),
        };
        checked.map_err(|fault| policy_error(&self.file, &fault))?;
        self.told()
    }

    fn told(&self) -> anyhow::Result<()> {
        if self.json {
            let file = self.file.display().to_string();
            return Ok(output::json(&json!({"file": file, "is_valid": true}))?);
        }
        Ok(output::line("valid")?)
    }
}

fn policy_error(file: &Path, fault: &PolicyFault) -> CliError {
    CliError::usage(format!("{}: {fault}", file.display()))
}
