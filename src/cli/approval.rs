//! `hsmgate approval list|release|refuse`: decides requests for approvals.
//!
//! It uses only the store: a running gateway reads the decision when the call is repeated.

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::exit::CliError;
use super::output;
use super::settings::{ConfigAndFormat, ConfigFile, with_backend, with_store};
use crate::model::{self, ApprovalId, ApprovalState, clock};
use crate::store::DecisionError;

commands! {
    pub(super) enum Approval {
        /// List the requests for approvals
        List(List);
        /// Permit the requested call once
        Release(Decision) with ApprovalState::Released;
        /// Refuse the requested call
        Refuse(Decision) with ApprovalState::Refused;
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    arguments: ConfigAndFormat,
}

#[derive(Debug, Args)]
pub(super) struct Decision {
    #[command(flatten)]
    file: ConfigFile,
    /// The request, as its refusal names it
    id: ApprovalId,
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        with_store(&self.arguments.file, async |store| {
            let mut approvals = store.approvals().await?;
            let now = clock::now();
            approvals.retain(|one| one.expires > now && one.state != ApprovalState::Used);
            approvals.sort_by_key(|one| one.requested);
            let row = |one: &model::Approval| {
                let subject = &one.subject;
                let what = format!(
                    "{}  {}  {} {}  until {}",
                    one.state, subject.requester, subject.operation, subject.resource, one.expires
                );
                (one.id.to_string(), what)
            };
            Ok(output::list(&approvals, self.arguments.json, in_json, row)?)
        })
    }
}

impl Decision {
    fn run(self, state: ApprovalState) -> anyhow::Result<()> {
        with_backend(&self.file, async |backend| {
            match backend.store().decide_approval(self.id, state, clock::now()).await {
                Ok(approval) => Ok(output::line(&format!("{state} until {}", approval.expires))?),
                Err(error @ DecisionError::NotFound) => {
                    Err(CliError::NotFound(error.to_string()).into())
                }
                Err(error @ DecisionError::Decided(_)) => {
                    Err(CliError::WrongState(error.to_string()).into())
                }
                Err(error @ DecisionError::Store(_)) => {
                    Err(error).context("the request for an approval cannot be decided")
                }
            }
        })
    }
}

fn in_json(approval: &model::Approval) -> Value {
    let subject = &approval.subject;
    json!({"id": approval.id, "state": approval.state, "operation": subject.operation,
        "requester": subject.requester, "resource": subject.resource,
        "parameters_sha256": subject.parameters, "requested": approval.requested,
        "expires": approval.expires})
}
