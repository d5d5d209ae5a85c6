//! `hsmgate approval list|release|refuse`: decides requests for approvals.
//!
//! The requester of a call and the operator who releases it must be two persons.

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exit::CliError;
use super::operator::{Operator, OperatorCommand, execute};
use super::output::Output;
use super::settings::{ConfigAndFormat, ConfigAndReason};
use crate::app::Backend;
use crate::config::Duty;
use crate::model::{self, ApprovalId, ApprovalState, clock};
use crate::store::{DecisionError, Store};

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
    common: ConfigAndReason,
    /// The request, as its refusal names it
    id: ApprovalId,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        execute(&self.arguments.file, None, &ListApprovals { json: self.arguments.json })
    }
}

impl Decision {
    fn run(self, state: ApprovalState) -> anyhow::Result<()> {
        self.common.execute(&DecideApproval { id: self.id, state, json: self.json })
    }
}

/// Lists the requests for approvals.
#[derive(Serialize, Deserialize)]
pub(super) struct ListApprovals {
    json: bool,
}

impl OperatorCommand for ListApprovals {
    const NAME: &'static str = "approval list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
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
        Ok(output.list(&approvals, self.json, in_json, row)?)
    }
}

/// Releases or refuses a request for an approval.
#[derive(Serialize, Deserialize)]
pub(super) struct DecideApproval {
    id: ApprovalId,
    state: ApprovalState,
    json: bool,
}

impl OperatorCommand for DecideApproval {
    const NAME: &'static str = "approval decide";
    const DUTY: Option<Duty> = Some(Duty::Approvals);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("ApprovalId", self.id.to_string()), ("Decision", self.state.to_string())]
    }

    async fn run(
        &self,
        on: &Backend,
        operator: &Operator,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        if !matches!(self.state, ApprovalState::Released | ApprovalState::Refused) {
            return Err(CliError::usage("a request is released or refused").into());
        }
        let store = on.store();
        if self.state == ApprovalState::Released {
            self.refuse_requester(store, operator).await?;
        }
        match store.decide_approval(self.id, self.state, clock::now()).await {
            Ok(approval) => {
                let expires = approval.expires;
                if self.json {
                    let object = json!({"id": self.id, "state": self.state, "expires": expires});
                    return Ok(output.json(&object)?);
                }
                output.line(&format!("{} until {expires}", self.state));
                Ok(())
            }
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
    }
}

impl DecideApproval {
    /// Refuses the release of an operator's own request: an account of the host and a user of the gateway
    /// with the same name are one person.
    async fn refuse_requester(&self, store: &Store, operator: &Operator) -> anyhow::Result<()> {
        let approvals = store.approvals().await?;
        let found = approvals.iter().find(|one| one.id == self.id);
        let Some(requester) = found.map(|one| one.subject.requester.as_str()) else {
            return Ok(());
        };
        if requester == operator.user().to_string() {
            return Err(CliError::Refused(format!(
                "{requester} made this request: another operator must release it"
            ))
            .into());
        }
        Ok(())
    }
}

fn in_json(approval: &model::Approval) -> Value {
    let subject = &approval.subject;
    json!({"id": approval.id, "state": approval.state, "operation": subject.operation,
        "requester": subject.requester, "resource": subject.resource,
        "parameters_sha256": subject.parameters, "requested": approval.requested,
        "expires": approval.expires})
}
