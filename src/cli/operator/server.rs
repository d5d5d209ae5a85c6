//! The Unix socket of the running gateway, and the execution of commands.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::value::RawValue;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::exit::{CliError, Exit};
use super::super::output::Output;
use super::super::reason::Reason;
use super::identity::Operator;
use super::message::{MAX_REQUEST_BYTES, RawRequest, Response};
use super::{COMMAND_EVENT, CommandTarget as _, OperatorCommand, noted};
use crate::app::{Backend, Gateway, Stop};
use crate::audit::{Actor, Recorder, SystemEvent, SystemFailure};
use crate::config::{Duty, Operators};
use crate::error::ErrorCode;
use crate::model::{RequestId, clock};

/// Maximum number of connections at one time. Others wait.
const MAX_CONNECTIONS: u32 = 16;
/// Time for a client to send the head of its request, and again for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a refusal is answered, so that an account without duties fills the audit slowly.
const REFUSAL_PAUSE: Duration = Duration::from_millis(250);
/// Pause after the system refused a connection, for instance without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time that a stop waits for commands in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The mode of the socket: for the gateway's account, or for the group of its directory too.
const OWNER_MODE: u32 = 0o600;
const GROUP_MODE: u32 = 0o660;

/// The socket of a running gateway. Commands are executed until it is stopped.
pub(in super::super) struct OperatorServer {
    path: PathBuf,
    accepting: JoinHandle<()>,
    slots: Arc<Semaphore>,
}

/// Executes commands in the process of the gateway, for the account of this process.
#[derive(Clone)]
pub(in super::super) struct LocalCommands(Arc<Shared>);

impl LocalCommands {
    /// Those of a gateway that holds the locks of its store and state directory.
    pub(in super::super) fn of(gateway: &Gateway, operators: Operators) -> Self {
        Self(Arc::new(Shared::of(gateway, operators)))
    }

    /// Executes and records a command, as the socket does.
    ///
    /// # Errors
    /// When the operator does not have its duty, and with the failure of the command.
    pub(in super::super) async fn execute<C: OperatorCommand>(
        &self,
        command: &C,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let session =
            Session { operator: Operator::of_this_process(), shared: Arc::clone(&self.0) };
        session.check_and_run(command, None, output).await
    }

    /// Whether other gateways use the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in super::super) async fn has_others(&self) -> anyhow::Result<bool> {
        Ok(!self.0.backend.store().is_only_user().await?)
    }

    /// Reads what other gateways have changed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in super::super) async fn refresh(&self) -> anyhow::Result<()> {
        Ok(self.0.backend.refresh().await?)
    }
}

/// What every command needs.
struct Shared {
    backend: Backend,
    audit: Recorder,
    operators: Operators,
    /// The uid of the gateway.
    owner: u32,
}

impl Shared {
    fn of(gateway: &Gateway, operators: Operators) -> Self {
        Self {
            backend: gateway.backend(),
            audit: gateway.recorder(),
            operators,
            owner: rustix::process::geteuid().as_raw(),
        }
    }
}

impl OperatorServer {
    /// Opens the socket of a gateway that holds the locks of its store and state directory. `None` if the
    /// configuration has none, or if it assigns no duty and the file system takes no socket. The socket of a
    /// process that has ended is replaced.
    ///
    /// # Errors
    /// When it cannot be created, or another process listens on it.
    pub(in super::super) fn open(
        gateway: &Gateway,
        operators: Operators,
    ) -> anyhow::Result<Option<Self>> {
        let Some(path) = operators.socket.clone() else { return Ok(None) };
        let mode = if operators.has_duties() { GROUP_MODE } else { OWNER_MODE };
        let listener = match listen(&path, mode) {
            Err(error) if !operators.has_duties() && is_unsupported(&error) => {
                tracing::warn!(
                    event = "operator_socket.unavailable",
                    path = %path.display(),
                    error = %format!("{error:#}"),
                    "the socket for commands cannot be created; they use database and token themselves"
                );
                return Ok(None);
            }
            listener => listener
                .with_context(|| format!("cannot listen on the socket {}", path.display()))?,
        };
        let shared = Arc::new(Shared::of(gateway, operators));
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        let accepting = tokio::spawn(accept(listener, shared, Arc::clone(&slots)));
        Ok(Some(Self { path, accepting, slots }))
    }

    /// Completes with `stop`, once the server, if any, has stopped. A hanging module is not waited for.
    pub(in super::super) async fn stop_with(
        server: Option<Self>,
        stop: impl Future<Output = Stop>,
    ) -> Stop {
        let stop = stop.await;
        if let Some(server) = server {
            server.stop(stop).await;
        }
        stop
    }

    /// Accepts no more commands, removes the socket, and waits for those in progress for a limited time.
    async fn stop(self, stop: Stop) {
        self.accepting.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(event = "operator_socket.not_removed", %error,
                "could not remove the socket for commands; the next start replaces it");
        }
        if stop == Stop::AtOnce {
            return;
        }
        let idle = self.slots.acquire_many(MAX_CONNECTIONS);
        if tokio::time::timeout(STOP_TIMEOUT, idle).await.is_err() {
            tracing::warn!(
                event = "operator_socket.commands_unfinished",
                "the gateway stops while commands of operators are in progress"
            );
        }
    }
}

/// Whether the file system takes no socket, as some that containers mount.
fn is_unsupported(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied))
}

fn listen(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => {
            anyhow::bail!("it exists and is not a socket")
        }
        Ok(_socket) => match BlockingUnixStream::connect(path) {
            Ok(_another) => anyhow::bail!("another process listens on it"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Err(error) => return Err(error.into()),
        },
    }
    let listener = UnixListener::bind(path)?;
    if mode == GROUP_MODE
        && let Some(directory) = path.parent()
    {
        // An account that is not in the group of the directory cannot give the socket to it.
        let _ = chown(path, None, Some(fs::metadata(directory)?.gid()));
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>, slots: Arc<Semaphore>) {
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _address)) => {
                let shared = Arc::clone(&shared);
                // A command that has begun is not canceled when its client ends.
                tokio::spawn(async move {
                    serve(stream, shared).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(event = "operator_socket.accept_failed", %error,
                    "could not accept a command");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves the one request of a connection.
async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            tracing::warn!(event = "operator_socket.unknown_peer", %error,
                "could not identify the process that sends a command");
            return;
        }
    };
    let service = service_fn(move |request| {
        // A separate task: hyper drops the future when the client ends.
        let answer = tokio::spawn(answer(request, uid, Arc::clone(&shared)));
        async move {
            let answered = answer.await.unwrap_or_else(|_panicked| {
                Response::failed(&anyhow::anyhow!("the command failed unexpectedly"))
            });
            Ok::<_, Infallible>(written(&answered))
        }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
    // A client that ends early gets no answer.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn written(response: &Response) -> http::Response<Full<Bytes>> {
    let (status, body) = match serde_json::to_vec(response) {
        Ok(body) => (StatusCode::OK, body),
        Err(_unwritable) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    let mut written = http::Response::new(Full::from(body));
    *written.status_mut() = status;
    written.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    written
}

async fn answer(request: Request<Incoming>, uid: u32, shared: Arc<Shared>) -> Response {
    match read(request).await {
        Ok(request) => {
            let looked_up = spawn_blocking(move || Operator::of_uid(uid)).await;
            match looked_up {
                Ok(operator) => Session { operator, shared }.dispatch(request).await,
                Err(error) => Response::failed(&error.into()),
            }
        }
        Err(error) => Response::failed(&error),
    }
}

async fn read(request: Request<Incoming>) -> anyhow::Result<RawRequest> {
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
    let body = tokio::time::timeout(READ_TIMEOUT, body).await.context("no request in time")?;
    let body =
        body.map_err(|error| CliError::usage(format!("the request cannot be read: {error}")))?;
    let read = serde_json::from_slice::<RawRequest>(&body.to_bytes());
    Ok(read.map_err(|error| CliError::usage(format!("the request is malformed: {error}")))?)
}

/// A command of one operator.
struct Session {
    operator: Operator,
    shared: Arc<Shared>,
}

/// Declares the commands that a gateway executes.
macro_rules! dispatch {
    ($($Command:ty),+ $(,)?) => {
        impl Session {
            /// Executes the command that a request names.
            async fn dispatch(self, request: RawRequest) -> Response {
                let reason = request.reason.as_deref().map(str::parse).transpose();
                let reason = match reason {
                    Ok(reason) => reason,
                    Err(error) => return Response::failed(&CliError::usage(format!("{error}")).into()),
                };
                match request.command.as_str() {
                    $(<$Command as OperatorCommand>::NAME => {
                        self.execute::<$Command>(&request.arguments, reason).await
                    })+
                    _ => Self::refuse_unknown(&request),
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$(<$Command as OperatorCommand>::NAME),+];
    };
}

dispatch! {
    super::super::access_key::CreateAccessKey,
    super::super::access_key::EnableAccessKey,
    super::super::access_key::ListAccessKeys,
    super::super::access_key::RevokeAccessKey,
    super::super::access_key::RotateAccessKey,
    super::super::alias::CreateAlias,
    super::super::alias::DeleteAlias,
    super::super::alias::ListAliases,
    super::super::alias::UpdateAlias,
    super::super::apply::ApplyClientKey,
    super::super::apply::ApplyEntry<super::super::apply::AccessPointEntry>,
    super::super::apply::ApplyEntry<super::super::apply::AccessPolicyEntry>,
    super::super::apply::ApplyEntry<super::super::apply::KeyEntry>,
    super::super::apply::ApplyEntry<super::super::apply::NetworkRuleEntry>,
    super::super::apply::ApplyEntry<super::super::apply::PrincipalEntry>,
    super::super::apply::ApplyEntry<super::super::apply::ProviderEntry>,
    super::super::apply::ApplyEntry<super::super::apply::SecretEntry>,
    super::super::apply::ListUnlisted,
    super::super::approval::DecideApproval,
    super::super::approval::ListApprovals,
    super::super::cluster::AcceptLostChanges,
    super::super::client_key::DeleteClientKey,
    super::super::client_key::ListClientKeys,
    super::super::identity_provider::CreateProvider,
    super::super::identity_provider::DeleteProvider,
    super::super::identity_provider::ListProviders,
    super::super::identity_provider::ReplaceProviderKeys,
    super::super::policy::SimulatePolicy,
    super::super::principal::AttachPolicy,
    super::super::principal::CreatePrincipal,
    super::super::principal::DeletePrincipal,
    super::super::principal::DetachPolicy,
    super::super::principal::ListPrincipals,
    super::super::rewrap::RewrapSecrets,
    super::super::role::EndSessions,
    super::super::role::RemoveTrust,
    super::super::role::UpdateRole,
    super::super::sts::AssumeRole,
}

impl Session {
    fn refuse_unknown(request: &RawRequest) -> Response {
        Response::failed(
            &CliError::usage(format!(
                "the gateway (version {}) does not know the command {:?} of version {:?}",
                env!("CARGO_PKG_VERSION"),
                request.command,
                request.program
            ))
            .into(),
        )
    }

    /// Checks the duty, and executes and records a command.
    async fn execute<C: OperatorCommand>(
        self,
        arguments: &RawValue,
        reason: Option<Reason>,
    ) -> Response {
        let command: C = match serde_json::from_str(arguments.get()) {
            Ok(command) => command,
            Err(error) => {
                let what = format!("the arguments of {} are malformed: {error}", C::NAME);
                return Response::failed(&CliError::usage(what).into());
            }
        };
        let mut output = Output::default();
        match self.check_and_run(&command, reason.as_ref(), &mut output).await {
            Ok(()) => Response { output, failure: None },
            Err(error) => Response { output, ..Response::failed(&error) },
        }
    }

    async fn check_and_run<C: OperatorCommand>(
        &self,
        command: &C,
        reason: Option<&Reason>,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let event = self.event(noted(command, reason));
        let Shared { operators, owner, .. } = &*self.shared;
        if let Err(refusal) = self.operator.require(operators, *owner, C::DUTY) {
            let refusal = refusal.into();
            self.refuse(&event, &refusal).await;
            return Err(refusal);
        }
        self.run(command, &event, output).await
    }

    fn event(&self, noted: Vec<(&'static str, String)>) -> SystemEvent {
        SystemEvent {
            id: RequestId::random().to_string(),
            name: COMMAND_EVENT.to_owned(),
            actor: Actor::Operator(self.operator.to_string()),
            time: clock::now(),
            parameters: noted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            key: None,
        }
    }

    async fn refuse(&self, event: &SystemEvent, refusal: &anyhow::Error) {
        tracing::warn!(event = "operator.refused", operator = %self.operator, reason = %refusal,
            "refused a command of an operator");
        let failure = Some(failure(refusal));
        if let Err(error) = self.shared.audit.record_outcome(event, failure).await {
            log_not_recorded(&error);
        }
        tokio::time::sleep(REFUSAL_PAUSE).await;
    }

    /// Runs a command on behalf of its operator, once its intent is recorded. One that only takes rights
    /// away does not wait for the audit: the store keeps its event until it is recorded.
    async fn run<C: OperatorCommand>(
        &self,
        command: &C,
        event: &SystemEvent,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let Shared { backend, audit, .. } = &*self.shared;
        if C::DUTY != Some(Duty::Revoke) {
            audit
                .record_intent(event)
                .await
                .context("the command cannot be recorded in the audit")?;
        }
        let backend = backend.on_behalf_of(&self.operator.to_string());
        let outcome = command.run(C::On::of(&backend), &self.operator, output).await;
        if let Err(error) = backend.access_keys().refresh().await {
            tracing::warn!(
                event = "operator.refresh_failed",
                error = &error as &dyn std::error::Error,
                "could not load a change of an operator; it is loaded later"
            );
        }
        let failed = outcome.as_ref().err().map(failure);
        let mut event = event.clone();
        for (name, value) in output.recorded() {
            event = event.with(name, value.clone());
        }
        if let Err(error) = audit.record_outcome(&event, failed).await {
            log_not_recorded(&error);
            output.note("The result of the command cannot be recorded in the audit now.");
        }
        outcome
    }
}

fn log_not_recorded(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(
        event = "operator.not_recorded",
        error,
        "could not record the result of an operator's command in the audit"
    );
}

/// A failure for the audit.
fn failure(error: &anyhow::Error) -> SystemFailure {
    let code = match Exit::of(error) {
        Exit::NotFound => ErrorCode::ResourceNotFound,
        Exit::Refused => ErrorCode::NoPermission,
        Exit::Usage => ErrorCode::InvalidParameter,
        Exit::WrongState => ErrorCode::StateModifiedFailed,
        _ => ErrorCode::InternalFailure,
    };
    SystemFailure { code, message: format!("{error:#}") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_command_has_its_own_name() {
        assert_eq!(NAMES.iter().collect::<HashSet<_>>().len(), NAMES.len());
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.sock");
        let listener = listen(&path, OWNER_MODE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, OWNER_MODE);
        let taken = listen(&path, OWNER_MODE).unwrap_err();
        assert_eq!(taken.to_string(), "another process listens on it");
        drop(listener);
        let _listener = listen(&path, GROUP_MODE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, GROUP_MODE);
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = listen(&file, OWNER_MODE).unwrap_err();
        assert_eq!(refused.to_string(), "it exists and is not a socket");
        assert!(!is_unsupported(&taken) && !is_unsupported(&refused));
        let pts = Path::new("/dev/pts");
        if pts.is_dir() {
            assert!(is_unsupported(&listen(&pts.join("operator.sock"), OWNER_MODE).unwrap_err()));
        }
    }
}
