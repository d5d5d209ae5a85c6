//! Commands of operators: run by the gateway that serves.
//!
//! A running gateway executes them for whoever the kernel names as the other end of its Unix socket, if
//! that account has the duty. They take effect at once and are recorded in the audit. Without a gateway,
//! commands that show something or take rights away use the store in this process; others are refused.

mod client;
mod identity;
mod message;
mod server;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

pub(super) use identity::{Operator, is_account};
pub(super) use server::{LocalCommands, OperatorServer};

use super::exit::CliError;
use super::output::{self, Output};
use super::reason::Reason;
use super::settings::{self, ChangeArgs, ConfigAndReason, ConfigFile};
use crate::app::Backend;
use crate::config::{Config, Duty};
use crate::store::Store;

/// The name of a record about a command of an operator.
const COMMAND_EVENT: &str = "OperatorCommand";

/// A command that a running gateway can execute, without the files that it was built from. It contains
/// secrets only as `apply::SentSecret`.
pub(super) trait OperatorCommand:
    Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The words of the command line.
    const NAME: &'static str;
    /// The duty that it needs; `None` for any.
    const DUTY: Option<Duty>;
    /// What it works on.
    type On: CommandTarget;

    /// Its arguments, for the audit.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Executes it, and writes its result to `output`.
    fn run(
        &self,
        on: &Self::On,
        operator: &Operator,
        output: &mut Output,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a command works on: the store alone, or the store and its token.
pub(super) trait CommandTarget: Send + Sync + Sized {
    /// That of a running gateway.
    fn of(backend: &Backend) -> &Self;

    /// The store.
    fn store(&self) -> &Store;

    /// Does the work in this process, because no gateway runs.
    ///
    /// # Errors
    /// When only a gateway does such work; when the store cannot be used; and the errors of `work`.
    async fn without_gateway(
        config: Config,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()>;
}

impl CommandTarget for Store {
    fn of(backend: &Backend) -> &Self {
        backend.store()
    }

    fn store(&self) -> &Store {
        self
    }

    /// Its rows are not checked: for commands that show something, and for those that take rights away,
    /// which must work while the token is unavailable.
    async fn without_gateway(
        config: Config,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        settings::with_store(config, work).await
    }
}

impl CommandTarget for Backend {
    fn of(backend: &Backend) -> &Self {
        backend
    }

    fn store(&self) -> &Store {
        Backend::store(self)
    }

    /// Refused: what gives rights is recorded in the audit before it is effective.
    async fn without_gateway(
        config: Config,
        _work: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let told = match config.operators.socket {
            Some(_socket) => {
                "no gateway runs that could execute the command: start it with `hsmgate serve`"
            }
            None => {
                "the gateway has no socket for commands: set `operators.socket` in its configuration, and \
                 start it again"
            }
        };
        Err(CliError::Unreachable(told.to_owned()).into())
    }
}

/// Executes a command for the gateway of this configuration, and prints its result.
///
/// # Errors
/// With the failure of the command; when the operator does not have its duty; when the gateway runs and
/// cannot be reached.
pub(super) fn execute<C: OperatorCommand>(
    file: &ConfigFile,
    reason: Option<&Reason>,
    command: &C,
) -> anyhow::Result<()> {
    execute_with(file.load()?, reason, command)
}

impl ConfigAndReason {
    /// Executes a command, as [`execute`] does.
    ///
    /// # Errors
    /// As [`execute`].
    pub(super) fn execute(&self, command: &impl OperatorCommand) -> anyhow::Result<()> {
        execute(&self.file, self.reason.as_ref(), command)
    }
}

impl ChangeArgs {
    /// Executes a command, as [`execute`] does.
    ///
    /// # Errors
    /// As [`execute`].
    pub(super) fn execute(&self, command: &impl OperatorCommand) -> anyhow::Result<()> {
        self.common.execute(command)
    }
}

/// As [`execute`], with a configuration that is loaded.
///
/// # Errors
/// As [`execute`].
pub(super) fn execute_with<C: OperatorCommand>(
    config: Config,
    reason: Option<&Reason>,
    command: &C,
) -> anyhow::Result<()> {
    let mut output = Output::default();
    let outcome = Runtime::new()?.block_on(send(config, reason, command, &mut output));
    output.print()?;
    outcome
}

/// Executes a command as [`execute`] does, without printing its result.
///
/// # Errors
/// As [`execute`].
pub(super) async fn send<C: OperatorCommand>(
    config: Config,
    reason: Option<&Reason>,
    command: &C,
    output: &mut Output,
) -> anyhow::Result<()> {
    match client::connect(&config.operators).await? {
        Some(connection) => client::send(connection, command, reason, output).await,
        None => execute_here(config, reason, command, output).await,
    }
}

/// Executes a command in this process, because no gateway runs.
async fn execute_here<C: OperatorCommand>(
    config: Config,
    reason: Option<&Reason>,
    command: &C,
    output: &mut Output,
) -> anyhow::Result<()> {
    let operator = Operator::of_this_process();
    let owner = rustix::process::getuid().as_raw();
    if let Err(refusal) = operator.require(&config.operators, owner, C::DUTY) {
        record_refusal(config, noted::<C>(command, reason), &refusal).await;
        return Err(refusal.into());
    }
    C::On::without_gateway(config, async |on| {
        command.run(on, &operator, output).await?;
        if reason.is_none() {
            return Ok(());
        }
        // The event of the change itself has no reason.
        let noted = noted::<C>(command, reason);
        Ok(on.store().record_operator_command(COMMAND_EVENT, noted).await?)
    })
    .await
}

/// Checks that the operator of this process has a duty, for a command that uses store or token itself, and
/// records a refusal. It prevents mistakes, and binds no person who can read the PIN and write the database.
///
/// # Errors
/// When the configuration assigns duties, and not this one to this operator.
pub(super) fn require_duty(config: &Config, duty: Duty, command: &str) -> anyhow::Result<()> {
    let operator = Operator::of_this_process();
    let owner = rustix::process::getuid().as_raw();
    let Err(refusal) = operator.require(&config.operators, owner, Some(duty)) else {
        return Ok(());
    };
    let noted = vec![("Command", command.to_owned()), ("Duty", duty.to_string())];
    Runtime::new()?.block_on(record_refusal(config.clone(), noted, &refusal));
    Err(refusal.into())
}

/// Stores the event of a refused command for the next gateway.
async fn record_refusal(config: Config, noted: Vec<(&'static str, String)>, refusal: &CliError) {
    let recorded = settings::with_store(config, async |store| {
        Ok(store.record_refused_command(COMMAND_EVENT, noted, &refusal.to_string()).await?)
    });
    // Without a store there is nothing to protect.
    if let Err(error) = recorded.await {
        output::print_note(&format!("The refusal cannot be recorded: {error:#}"));
    }
}

/// The parameters of the record about a command.
fn noted<C: OperatorCommand>(command: &C, reason: Option<&Reason>) -> Vec<(&'static str, String)> {
    let duty = C::DUTY.map_or("any", Duty::as_str);
    let mut noted = vec![("Command", C::NAME.to_owned()), ("Duty", duty.to_owned())];
    noted.extend(command.parameters());
    noted.extend(reason.map(|reason| ("Reason", reason.to_string())));
    noted
}
