//! `hsmgate policy list|describe|validate|simulate`.

mod caller;
mod conditions;
mod resource;
mod simulate;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

pub(super) use self::caller::client_key_permission;
use self::simulate::Simulate;
pub(super) use self::simulate::SimulatePolicy;
use super::exit::CliError;
use super::role::trust_policy;
use super::{output, policy_arg};
use crate::model::AccountId;
use crate::model::policy::{
    KeyPolicy, Policy as Document, PolicyFault, SYSTEM_POLICIES, SystemPolicy,
};

commands! {
    pub(super) enum Policy {
        /// List the system policies, which users and roles can have by their names
        List(List);
        /// Show the document of a system policy
        Describe(Describe);
        /// Check a policy document, and show the position of a fault
        Validate(Validate);
        /// Simulate a request, and show the statement that decides
        Simulate(Box<Simulate>);
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Its name
    #[arg(value_parser = PossibleValuesParser::new(SYSTEM_POLICIES.iter().map(|one| one.name)))]
    name: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
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

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let object = |one: &&SystemPolicy| json!({"name": one.name, "purpose": one.purpose});
        let row = |one: &&SystemPolicy| (one.name, one.purpose.to_owned());
        let policies: Vec<_> = SYSTEM_POLICIES.iter().collect();
        Ok(output::list(&policies, self.json, object, row)?)
    }
}

impl Describe {
    fn run(&self) -> anyhow::Result<()> {
        let found = SystemPolicy::find(&self.name);
        let policy = found.with_context(|| format!("no system policy {:?}", self.name))?;
        if self.json {
            let document: Value = serde_json::from_str(policy.text)?;
            let (name, purpose) = (policy.name, policy.purpose);
            let object = json!({"name": name, "purpose": purpose, "document": document});
            return Ok(output::json(&object)?);
        }
        Ok(output::line(policy.text)?)
    }
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
