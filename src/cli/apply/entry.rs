//! An entry of a seed file, the command that compares it with the gateway and makes it true, and the
//! differences that it finds.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::values::SentSecret;
use crate::app::{Backend, OperatorCalls};
use crate::cli::exit::{CliError, Exit};
use crate::cli::operator::{Operator, OperatorCommand};
use crate::cli::output::Output;
use crate::config::Duty;
use crate::error::ApiError;
use crate::model::{FromParams, KeyId, PrincipalName};
use crate::ops::Operation;
use crate::store::Store;

/// An entry: what shall exist in the gateway.
pub(in crate::cli) trait SeedEntry:
    Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// The name of its command.
    const NAME: &'static str;
    /// The duty that its changes need.
    const DUTY: Duty;

    /// What the audit records of it.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// Compares it with the gateway and, unless `work` is a plan, makes it true. What a plan would change is
    /// what this changes: both are one code.
    fn apply(
        &self,
        work: &Work<'_>,
    ) -> impl Future<Output = anyhow::Result<Vec<Difference>>> + Send;
}

/// Compares an entry with the gateway and makes it true.
#[derive(Serialize, Deserialize)]
pub(in crate::cli) struct ApplyEntry<E> {
    pub(super) entry: E,
    /// Whether nothing is changed.
    pub(super) is_plan: bool,
}

impl<E: SeedEntry> OperatorCommand for ApplyEntry<E> {
    const NAME: &'static str = E::NAME;
    const DUTY: Option<Duty> = Some(E::DUTY);
    type On = Backend;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = self.entry.parameters();
        if self.is_plan {
            parameters.push(("Plan", "true".to_owned()));
        }
        parameters
    }

    async fn run(
        &self,
        on: &Backend,
        operator: &Operator,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let work = Work::new(on, operator, self.is_plan)?;
        let differences = self.entry.apply(&work).await?;
        for difference in differences.iter().filter(|one| one.is_change()) {
            output.record("Change", difference.to_string());
        }
        Ok(output.json(&differences)?)
    }
}

/// The gateway, and whether it may be changed.
pub(in crate::cli) struct Work<'a> {
    backend: &'a Backend,
    calls: &'a OperatorCalls,
    operator: PrincipalName,
    is_plan: bool,
}

impl<'a> Work<'a> {
    /// The work of an operator in a gateway.
    ///
    /// # Errors
    /// When no gateway runs.
    pub(super) fn new(
        backend: &'a Backend,
        operator: &Operator,
        is_plan: bool,
    ) -> anyhow::Result<Self> {
        let calls = backend.operator_calls().ok_or_else(|| anyhow::anyhow!("no gateway runs"))?;
        Ok(Self { backend, calls, operator: operator.user(), is_plan })
    }

    pub(super) fn backend(&self) -> &Backend {
        self.backend
    }

    pub(super) fn store(&self) -> &Store {
        self.backend.store()
    }

    pub(super) fn is_plan(&self) -> bool {
        self.is_plan
    }

    /// Calls an operation that changes something, unless this is a plan.
    pub(super) async fn call<O: Operation + FromParams>(
        &self,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Option<O::Output>> {
        if self.is_plan {
            return Ok(None);
        }
        self.calls
            .call::<O>(&self.operator, parameters)
            .await
            .map(Some)
            .map_err(|error| refused(&error))
    }

    /// As [`Work::call`], for an operation that is changed after it was parsed. Returns the key that it made.
    pub(super) async fn call_with<O: Operation + FromParams>(
        &self,
        parameters: &[(&str, &str)],
        change: impl FnOnce(O) -> O,
    ) -> anyhow::Result<Option<KeyId>> {
        let operation = self.calls.parsed::<O>(parameters).map_err(|error| refused(&error))?;
        if self.is_plan {
            return Ok(None);
        }
        let (_output, key) = self
            .calls
            .run(&self.operator, change(operation))
            .await
            .map_err(|error| refused(&error))?;
        Ok(key)
    }

    /// Refuses what only a gateway for development has.
    ///
    /// # Errors
    /// Of a gateway that protects something.
    pub(super) fn require_development(&self, what: &str) -> anyhow::Result<()> {
        if self.calls.is_for_development() {
            return Ok(());
        }
        let told = format!("{what} is possible in hsmgate dev only");
        Err(CliError::Refused(told).into())
    }

    /// Refuses a secret that is written in the seed file.
    ///
    /// # Errors
    /// Of a gateway that protects something.
    pub(super) fn check_secret(&self, secret: &SentSecret) -> anyhow::Result<()> {
        if secret.is_in_file() {
            return self.require_development("a secret in the seed file itself");
        }
        Ok(())
    }
}

/// The error of an operation, with its exit code.
fn refused(error: &ApiError) -> anyhow::Error {
    let exit = Exit::of_code(error.code().as_str());
    CliError::OfGateway { exit, message: error.to_string() }.into()
}

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Action {
    /// It is there as the file wants it.
    Leave,
    /// It is there and other than the file wants it.
    Change,
    /// It is not there.
    Create,
}

/// An object of a seed file, compared with the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Difference {
    /// Kind and name.
    pub(super) object: String,
    pub(super) action: Action,
    /// What is changed, or why nothing is.
    pub(super) details: Vec<String>,
}

impl Difference {
    /// An object that is there.
    pub(super) fn of(object: impl Into<String>) -> Self {
        Self { object: object.into(), action: Action::Leave, details: Vec::new() }
    }

    /// It has to be created.
    pub(super) fn create(mut self) -> Self {
        self.action = Action::Create;
        self
    }

    /// This has to be changed.
    pub(super) fn change(&mut self, detail: impl Into<String>) {
        if self.action == Action::Leave {
            self.action = Action::Change;
        }
        self.note(detail);
    }

    /// Tells something about it.
    pub(super) fn note(&mut self, detail: impl Into<String>) {
        self.details.push(detail.into());
    }

    /// Whether anything has to be done.
    pub(super) fn is_change(&self) -> bool {
        self.action != Action::Leave
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Leave => "leave",
            Action::Change => "change",
            Action::Create => "create",
        };
        write!(f, "{action:6}  {}", self.object)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details.join(", ")) }
    }
}
