//! What goes over the socket: one HTTP request with a command, and one response with its result.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::exit::{CliError, Exit};
use super::super::output::Output;

/// Maximum bytes of a request. A command has at most some policies of 32 KiB.
pub(super) const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Maximum bytes of a response: a list of all AccessKeys.
pub(super) const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// A command of an operator.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request<A> {
    /// The version of the program that sends it.
    pub(super) program: String,
    /// The name of the command.
    pub(super) command: String,
    /// Why it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The command itself.
    pub(super) arguments: A,
}

/// A request whose command is not parsed yet.
pub(super) type RawRequest = Request<Box<RawValue>>;

/// The result of a command.
#[derive(Serialize, Deserialize)]
pub(super) struct Response {
    pub(super) output: Output,
    /// Why it failed.
    pub(super) failure: Option<Failure>,
}

/// Why a command failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Response {
    /// A command that was not executed, or failed.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        let failure = Failure { exit: Exit::of(error), message: format!("{error:#}") };
        Self { output: Output::default(), failure: Some(failure) }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        Self::OfGateway { exit: failure.exit, message: failure.message }
    }
}
