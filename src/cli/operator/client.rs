//! Sends a command to the running gateway.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::exchange::exchange;
use super::super::exit::CliError;
use super::super::output::Output;
use super::super::reason::Reason;
use super::OperatorCommand;
use super::message::{MAX_RESPONSE_BYTES, Request, Response};
use crate::config::Operators;

/// How long a command may take: longer than the calls to the token that it makes.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);

/// Connects to the running gateway. `None` if none runs, or it has no socket.
///
/// # Errors
/// When the socket cannot be used by this operator, or its directory belongs to others than the gateway.
pub(super) async fn connect(operators: &Operators) -> anyhow::Result<Option<UnixStream>> {
    let Some(path) = &operators.socket else { return Ok(None) };
    match UnixStream::connect(path).await {
        Ok(stream) => {
            check_peer(&stream, path)?;
            Ok(Some(stream))
        }
        Err(error) => match error.kind() {
            // A gateway that was killed leaves its socket.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::PermissionDenied => Err(CliError::Refused(format!(
                "this account may not use the socket {} of the gateway",
                path.display()
            ))
            .into()),
            _ => Err(error).with_context(|| format!("cannot use the socket {}", path.display())),
        },
    }
}

/// Checks that the process behind the socket is of root, of this account or of the owner of the directory:
/// only these can create a socket there.
fn check_peer(stream: &UnixStream, path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let metadata =
        fs::metadata(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let trusted = [0, rustix::process::geteuid().as_raw(), metadata.uid()];
    let peer = stream.peer_cred().context("the gateway cannot be identified")?.uid();
    if metadata.mode() & 0o002 == 0 && trusted.contains(&peer) {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "another account (uid {peer}) may listen on {}: only the gateway may be able to write its directory",
        path.display()
    ))
    .into())
}

/// Sends a command, and waits for its result.
///
/// # Errors
/// With the failure of the command, and when the gateway ends before it answers.
pub(super) async fn send<C: OperatorCommand>(
    stream: UnixStream,
    command: &C,
    reason: Option<&Reason>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let request = Request {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        command: C::NAME.to_owned(),
        reason: reason.map(ToString::to_string),
        arguments: command,
    };
    let body = serde_json::to_vec(&request).context("the command cannot be sent")?;
    let request = http::Request::post("/").header(http::header::HOST, "gateway");
    let request = request.body(Full::from(body))?;
    let answered = timeout(COMMAND_TIMEOUT, exchange(stream, request, MAX_RESPONSE_BYTES)).await;
    let lost = |why: String| {
        CliError::Unreachable(format!(
            "the gateway did not answer ({why}): the command may have taken effect, see the audit"
        ))
    };
    let body = match answered {
        Ok(Ok(answer)) => answer.into_body(),
        Ok(Err(error)) => return Err(lost(format!("{error:#}")).into()),
        Err(elapsed) => return Err(lost(elapsed.to_string()).into()),
    };
    let response: Response =
        serde_json::from_slice(&body).context("the response of the gateway is malformed")?;
    *output = response.output;
    response.failure.map_or(Ok(()), |failure| Err(CliError::from(failure).into()))
}
