//! The HTTP/1.1 server: connections in, plain or over TLS, a router's answers out.
//!
//! It holds the limits of size, number and time. It knows nothing of what is served.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

pub use super::connection_slots::ConnectionLimits;

use super::body::TimedBody;
use super::connection::{
    Connection, ConnectionState, ConnectionTimeouts, NEW_CONNECTION_GRACE, Phase, RequestStartError,
};
use super::connection_failures::{self as failures, Failures};
use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::error_response::{ErrorForm, ErrorResponder, HttpError};
use super::long_request_line::FramingError;
use super::tls::TlsServer;
use crate::telemetry::metrics::{ConnectionFailure, OpenConnection, metrics};

/// The most bytes of a head, and of what is read ahead. A legal request line has up to 98 KB.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// The most header fields of a request, as the HTTP library has it by itself.
const MAX_HEADERS: usize = 100;

/// How long a kept-alive connection may rest once a request of a proven caller on it has been answered:
/// the SDKs keep one open and do not retry on a reset.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_mins(10);

/// How long to wait before accepting again when the system refuses, as it does when it has no
/// file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections that are accepted at the end: as many as may wait on the listener. Those who
/// come in the meantime would else hold up the end.
const MAX_WAITING: usize = 1024;

/// What is served.
#[derive(Debug, Clone)]
pub struct HttpApp {
    /// Answers the requests.
    pub router: Router,
    /// Writes the errors of the server itself.
    pub errors: ErrorResponder,
}

/// Why a body is not there.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive whole, or not in time.
    #[error("the body did not arrive")]
    Incomplete(#[source] Box<dyn Error + Send + Sync>),
}

/// The limits of the server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// How many connections there may be; those beyond are closed at once.
    pub connections: ConnectionLimits,
    /// The longest time for a head to arrive, the TLS handshake before it included; then for its
    /// body; and for the client to take the answer.
    pub header_timeout: Duration,
    /// The longest time from a whole head to its answer.
    pub request_timeout: Duration,
    /// How long connections and requests are still taken once the server is told to stop, at most. Each
    /// answer closes its connection, so that clients leave before their connections are closed.
    pub drain: Duration,
    /// How long requests in flight may go on after that.
    pub finish: Duration,
}

/// How a server is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Takes connections for the whole drain time, since those who send them are to see first that this
    /// server is going.
    Drain,
    /// Another process goes on with the listener. Takes connections until those from before have ended,
    /// for at most the drain time, and leaves those that it has not accepted to the other process.
    HandOver,
    /// Takes no further connection.
    AtOnce,
}

/// The connection that a request came on; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The address that it came from.
    pub peer: SocketAddr,
    /// Its number, within this process.
    pub number: u64,
    /// Whether it is one of TLS.
    pub is_secure: bool,
}

/// The query as sent, without the `?`; an extension of every request. Handlers read this one: the
/// URI has none where it was too long for the HTTP library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawQuery(pub Bytes);

/// The caller of a request has proven who he is; an extension of its answer, also of one that refuses
/// what he asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticatedCaller;

/// Where connections come in.
pub struct Listener {
    /// What the log calls it.
    name: &'static str,
    socket: TcpListener,
    tls: Option<TlsServer>,
}

impl Listener {
    /// A listener for plain HTTP, or for TLS where there is some, under a name for the log.
    pub fn new(name: &'static str, socket: TcpListener, tls: Option<TlsServer>) -> Self {
        Self { name, socket, tls }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::new("api", socket, None)
    }
}

/// Serves `app` to who comes in by `door` until `stop` is done; then as that says. Every connection
/// that was accepted gets its request answered, as long as it is sent and served in time.
pub async fn serve(
    listener: impl Into<Listener>,
    app: HttpApp,
    settings: HttpSettings,
    stop: impl Future<Output = Stop>,
) -> Stop {
    let Listener { name, socket: listener, tls } = listener.into();
    let mut stop = pin!(stop);
    let mut server = Server::new(name, app, tls, settings);
    let stop = loop {
        tokio::select! {
            stop = &mut stop => break stop,
            () = server.handle_next() => {}
            accepted = listener.accept() => server.accept(accepted).await,
        }
    };
    if stop != Stop::AtOnce {
        server.drain(&listener, stop).await;
    }
    match stop {
        Stop::HandOver => drop(listener),
        Stop::Drain | Stop::AtOnce => server.accept_backlog(listener).await,
    }
    server.finish().await;
    stop
}

/// The connections of one listener.
struct Server {
    app: HttpApp,
    tls: Option<TlsServer>,
    settings: HttpSettings,
    slots: ConnectionSlots,
    failures: Arc<Failures>,
    phase: watch::Sender<Phase>,
    /// Held by every connection that came before the drain.
    before_drain: Arc<()>,
    /// Shaking hands; nothing is lost with one that is dropped.
    handshakes: JoinSet<Option<(Accepted, Handshake)>>,
    connections: JoinSet<()>,
}

/// What came in by a door with TLS.
enum Handshake {
    /// A client that has shaken hands.
    Secure(Box<TlsStream<TcpStream>>),
    /// One that does not speak TLS. It gets no answer but that it should.
    Plain(TcpStream),
}

/// What may be asked on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortMode {
    /// Everything that the router answers.
    Router,
    /// Nothing: the port speaks TLS, and the connection is a plain one.
    TlsOnly,
}

/// Who came in, and its place among the connections.
struct Accepted {
    peer: SocketAddr,
    is_secure: bool,
    /// When it came.
    since: Instant,
    slot: ConnectionSlot,
    _counted: OpenConnection,
    _before_drain: Arc<()>,
}

impl Server {
    fn new(
        name: &'static str,
        app: HttpApp,
        tls: Option<TlsServer>,
        settings: HttpSettings,
    ) -> Self {
        Self {
            app,
            tls,
            failures: Arc::new(Failures::new(name)),
            slots: ConnectionSlots::new(settings.connections.clone()),
            settings,
            phase: watch::Sender::new(Phase::Serving),
            before_drain: Arc::new(()),
            handshakes: JoinSet::new(),
            connections: JoinSet::new(),
        }
    }

    /// Takes note of one connection that has ended, or of one that has shaken hands. Never completes
    /// while there are none.
    async fn handle_next(&mut self) {
        tokio::select! {
            Some(ended) = self.connections.join_next() => {
                // One that had to make room is cancelled.
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            Some(handshake) = self.handshakes.join_next() => {
                match handshake {
                    Ok(Some((accepted, Handshake::Secure(stream)))) => {
                        self.connect(accepted, *stream, PortMode::Router);
                    }
                    Ok(Some((accepted, Handshake::Plain(stream)))) => {
                        self.connect(accepted, stream, PortMode::TlsOnly);
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            else => std::future::pending().await,
        }
    }

    async fn accept(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let Some((stream, peer)) = accepted_stream(accepted).await else { return };
        let Some(slot) = self.slots.take(peer.ip(), next_number()).await else { return };
        let is_secure = self.tls.is_some();
        let (since, counted) = (Instant::now(), metrics().connection());
        let accepted = Accepted {
            peer,
            is_secure,
            since,
            slot,
            _counted: counted,
            _before_drain: Arc::clone(&self.before_drain),
        };
        match self.tls.clone() {
            None => self.connect(accepted, stream, PortMode::Router),
            Some(tls) => {
                let limit = self.settings.header_timeout;
                let number = accepted.slot.number;
                let failures = Arc::clone(&self.failures);
                let task =
                    self.handshakes.spawn(tls_handshake(tls, accepted, stream, limit, failures));
                ConnectionSlot::set_task(&self.slots, number, task);
            }
        }
    }

    fn connect<S>(&mut self, accepted: Accepted, stream: S, mode: PortMode)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut phase = self.phase.subscribe();
        let app = self.app.clone();
        let served = connection(stream, &accepted, app, mode, &self.settings, phase.clone());
        let failures = Arc::clone(&self.failures);
        let number = accepted.slot.number;
        let task = self.connections.spawn(async move {
            let mut served = pin!(served);
            let ended = loop {
                // A connection at rest learns of another phase when it is polled.
                tokio::select! {
                    biased;
                    ended = &mut served => break ended,
                    Ok(()) = phase.changed() => {}
                }
            };
            let fault = ended.err();
            if let Some(error) = &fault {
                tracing::debug!(peer = %accepted.peer, %error, "connection ended");
            }
            let fault = fault.as_ref().map(|error| error as &(dyn Error + 'static));
            if let Some(failure) = accepted.slot.state.failure(fault.map(failures::of_fault)) {
                failures.note(accepted.peer.ip(), failure, fault);
            }
            drop(accepted);
        });
        ConnectionSlot::set_task(&self.slots, number, task);
    }

    /// Serves on, and closes each connection with its next answer.
    async fn drain(&mut self, listener: &TcpListener, stop: Stop) {
        let before = {
            let before = std::mem::take(&mut self.before_drain);
            Arc::downgrade(&before)
        };
        self.phase.send_replace(Phase::Draining);
        let mut end = pin!(tokio::time::sleep(self.settings.drain));
        while stop == Stop::Drain || Weak::strong_count(&before) > 0 {
            tokio::select! {
                () = &mut end => break,
                () = self.handle_next() => {}
                accepted = listener.accept() => self.accept(accepted).await,
            }
        }
    }

    /// Accepts the connections that wait, and closes the listener: to close it alone would reset them.
    /// Each is admitted before the next is accepted, so that those for whom there is no place never have
    /// more than one descriptor.
    async fn accept_backlog(&mut self, listener: TcpListener) {
        // By the listener of the standard library, which asks the system and nothing else.
        let Ok(listener) = listener.into_std() else { return };
        for _waiting in 0..MAX_WAITING {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let stream =
                        stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    self.accept(stream.map(|stream| (stream, peer))).await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_queue_empty) => break,
            }
        }
    }

    /// Answers what has been begun or has just come in, closes every other connection, and ends.
    async fn finish(mut self) {
        self.phase.send_replace(Phase::Closing);
        let mut end = pin!(tokio::time::sleep(self.settings.finish));
        let mut handshake_end = pin!(tokio::time::sleep(NEW_CONNECTION_GRACE));
        while !(self.connections.is_empty() && self.handshakes.is_empty()) {
            tokio::select! {
                () = &mut end => {
                    tracing::warn!("connections are cut off: they did not finish in time");
                    break;
                }
                () = &mut handshake_end, if !self.handshakes.is_empty() => {
                    self.handshakes.shutdown().await;
                }
                () = self.handle_next() => {}
            }
        }
        self.handshakes.shutdown().await;
        self.connections.shutdown().await;
    }
}

/// The number of the next connection.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn tls_handshake(
    tls: TlsServer,
    accepted: Accepted,
    stream: TcpStream,
    limit: Duration,
    failures: Arc<Failures>,
) -> Option<(Accepted, Handshake)> {
    let mut has_sent = false;
    let handshake = tokio::time::timeout(limit, async {
        let mut first = [0];
        has_sent = stream.peek(&mut first).await? > 0;
        let [first] = first;
        if has_sent && !failures::may_be_tls(first) {
            return Ok(Handshake::Plain(stream));
        }
        Ok(Handshake::Secure(Box::new(tls.handshake(stream).await?)))
    });
    let failed = match handshake.await.map_err(io::Error::from) {
        Ok(Ok(handshake)) => {
            if matches!(handshake, Handshake::Plain(_)) {
                metrics().tls_handshake_failed();
            }
            return Some((accepted, handshake));
        }
        Ok(Err(error)) | Err(error) => error,
    };
    metrics().tls_handshake_failed();
    tracing::debug!(peer = %accepted.peer, error = %failed, "no TLS connection");
    // Who connects and sends nothing looks whether the port is open, or keeps a spare connection.
    if has_sent {
        failures.note(accepted.peer.ip(), failures::of_handshake(&failed), Some(&failed));
    }
    None
}

/// Reads a body of at most `limit` bytes to its end.
///
/// # Errors
/// When it is longer, or does not arrive whole.
pub async fn collect_body(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(BodyError::Incomplete(error)),
    }
}

async fn accepted_stream(
    accepted: io::Result<(TcpStream, SocketAddr)>,
) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok((stream, peer)) => {
            // Two small writes would else wait 40 ms for each other.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "TCP_NODELAY is not set");
            }
            Some((stream, peer))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection, ready to be driven.
fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    accepted: &Accepted,
    app: HttpApp,
    mode: PortMode,
    settings: &HttpSettings,
    phase: watch::Receiver<Phase>,
) -> http1::Connection<TokioIo<Connection<S>>, ConnectionService> {
    let state = accepted.slot.state.clone();
    let timeouts = ConnectionTimeouts {
        first_head: settings.header_timeout.saturating_sub(accepted.since.elapsed()),
        head: settings.header_timeout,
        idle: KEEP_ALIVE_TIMEOUT,
        write: settings.header_timeout,
    };
    let HttpApp { router, errors } = app;
    let service = ConnectionService {
        router,
        errors,
        mode,
        info: ConnectionInfo {
            peer: accepted.peer,
            number: accepted.slot.number,
            is_secure: accepted.is_secure,
        },
        state: state.clone(),
        body_timeout: settings.header_timeout,
        request_timeout: settings.request_timeout,
        phase: phase.clone(),
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        // `Connection` times the heads; this timer would also run while a connection rests.
        .header_read_timeout(None)
        .keep_alive(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(Connection::new(stream, state, errors, timeouts, phase)),
            service,
        )
}

/// The router, with what the connection knows of each request.
struct ConnectionService {
    router: Router,
    errors: ErrorResponder,
    mode: PortMode,
    info: ConnectionInfo,
    state: ConnectionState,
    body_timeout: Duration,
    request_timeout: Duration,
    phase: watch::Receiver<Phase>,
}

/// An answer on its way.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let form = (self.errors.of_headers)(request.headers());
        // This runs before the library asks for any byte behind the head.
        let (guard, kept_query) = match self.state.enter(request.body().size_hint().exact()) {
            Ok(entered) => entered,
            Err(RequestStartError::FramingError(FramingError::Desynchronized)) => {
                return self.framing_error(form, HttpError::UnclearEnd);
            }
            Err(RequestStartError::FramingError(FramingError::ConflictingLengths)) => {
                return self.framing_error(form, HttpError::ConflictingLengths);
            }
            Err(RequestStartError::Closed) => {
                return Box::pin(std::future::ready(Ok(closing(form, "", HttpError::Closing))));
            }
        };
        if !request.body().is_end_stream() && has_other_coding(request.headers()) {
            return self.framing_error(form, HttpError::OtherCoding);
        }
        if self.mode == PortMode::TlsOnly {
            self.state.fail(ConnectionFailure::plain_http);
            return Box::pin(std::future::ready(Ok(closing(form, "", HttpError::TlsOnly))));
        }
        let (limit, state) = (self.body_timeout, self.state.clone());
        let mut request = request.map(|body| Body::new(TimedBody::new(body, state, limit)));
        let query = kept_query.unwrap_or_else(|| {
            Bytes::copy_from_slice(request.uri().query().unwrap_or_default().as_bytes())
        });
        request.extensions_mut().insert(RawQuery(query));
        request.extensions_mut().insert(self.info);
        let host = request.headers().get(HOST).cloned();
        let limit = self.request_timeout;
        let guarded = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let answer = tokio::time::timeout(limit, guarded);
        let phase = self.phase.clone();
        Box::pin(async move {
            let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
            match answer.await {
                Ok(Ok(Ok(mut answer))) => {
                    if *phase.borrow() != Phase::Serving {
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    let is_authenticated = answer.extensions().get() == Some(&AuthenticatedCaller);
                    if is_authenticated || answer.status().is_success() {
                        guard.mark_success();
                    }
                    Ok(answer)
                }
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(_panic)) => {
                    // What it was is in the log already.
                    tracing::error!("a request failed in a panic");
                    metrics().panicked();
                    Ok(closing(form, host, HttpError::Panicked))
                }
                Err(_elapsed) => Ok(closing(form, host, HttpError::TimedOut)),
            }
        })
    }
}

impl ConnectionService {
    /// Refuses a request whose end another reader could see elsewhere.
    fn framing_error(&self, form: &'static dyn ErrorForm, error: HttpError) -> ResponseFuture {
        self.state.fail(ConnectionFailure::malformed_request);
        Box::pin(std::future::ready(Ok(closing(form, "", error))))
    }
}

/// Whether a body is coded in another way than in chunks, once.
fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let first =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    !first || codings.next().is_some()
}

/// A refusal after which the connection is of no more use.
fn closing(form: &dyn ErrorForm, host: &str, error: HttpError) -> Response {
    let mut response = form.response(host, error).map(Body::from);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
