//! The HTTP/1.1 server: connections, plain or over TLS, with limits of size, number and time.
//!
//! It does not depend on the application that it serves.

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

pub use super::application::{
    Application, ConnectionInfo, HttpApp, HttpRequest, HttpResponse, PendingResponse,
};
pub use super::connection_slots::ConnectionLimits;

use super::body::TimedBody;
use super::cleared_buffer::ClearedBuffer;
use super::connection::{
    Connection, ConnectionState, ConnectionTimeouts, NEW_CONNECTION_GRACE, Phase, RequestStartError,
};
use super::connection_failures::{self as failures, Failures};
use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::error_response::{ErrorForm, ErrorResponder, HttpError};
use super::long_request_line::FramingError;
use super::metrics::{ConnectionFailure, ServerMetrics};
use super::proxies::{self, TrustedProxies};
use super::tls::TlsServer;
use crate::model::clock;
use crate::telemetry::Counter;

/// The maximum bytes of a head, and of the read buffer. A legal request line has up to 98 KB.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// The maximum number of header fields of a request: the default of the HTTP library.
const MAX_HEADERS: usize = 100;

/// How long a kept-alive connection may be idle after a request of an authenticated caller: the
/// SDKs keep one open and do not retry on a reset.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_mins(10);

/// The pause before the next accept after the system refused one, for instance without free file
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The maximum number of connections that are accepted at the end: the backlog of the listener.
/// Connections that arrive in the meantime would otherwise delay the end.
const MAX_WAITING: usize = 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body exceeds the limit.
    #[error("the body is too large")]
    TooLarge,
    /// The body did not arrive completely, or not in time.
    #[error("the body did not arrive")]
    Incomplete(#[source] Box<dyn Error + Send + Sync>),
}

/// The limits of the server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The limits for connections; further ones are closed at once.
    pub connections: ConnectionLimits,
    /// The timeout for a head, including the TLS handshake before it; then for its body; and for
    /// the client to read the response.
    pub header_timeout: Duration,
    /// The timeout from a complete head to its response.
    pub request_timeout: Duration,
    /// The maximum time in which connections and requests are still accepted after a stop request.
    /// Each response closes its connection, so that clients disconnect first.
    pub drain: Duration,
    /// The maximum time for requests in flight after that.
    pub finish: Duration,
    /// The proxies that name the source of a connection or a request.
    pub proxies: TrustedProxies,
}

/// How a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Accepts connections for the whole drain time, until the clients have noticed that this
    /// server is stopping.
    Drain,
    /// Another process takes over the listener. Accepts connections until the earlier ones have
    /// ended, at most for the drain time, and leaves the pending ones to the other process.
    HandOver,
    /// Accepts no further connections.
    AtOnce,
}

/// A listener.
pub struct Listener {
    /// The name in the log.
    name: &'static str,
    socket: TcpListener,
    tls: Option<TlsServer>,
    metrics: ServerMetrics,
}

impl Listener {
    /// Creates a listener for plain HTTP, or for TLS if configured. `name` is for the log.
    pub fn new(
        name: &'static str,
        socket: TcpListener,
        tls: Option<TlsServer>,
        metrics: ServerMetrics,
    ) -> Self {
        Self { name, socket, tls, metrics }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::new("api", socket, None, ServerMetrics::default())
    }
}

/// Serves `app` on `listener` until `stop` completes, and then stops accordingly. Every request on
/// an accepted connection is answered if it is sent and served in time.
pub async fn serve(
    listener: impl Into<Listener>,
    app: HttpApp,
    settings: HttpSettings,
    stop: impl Future<Output = Stop>,
) -> Stop {
    let Listener { name, socket: listener, tls, metrics } = listener.into();
    let mut server = Server::new(name, app, tls, settings, metrics);
    let stop = server.accept_until(&listener, pin!(stop)).await;
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

/// The server of one listener.
struct Server {
    app: HttpApp,
    tls: Option<TlsServer>,
    settings: HttpSettings,
    slots: ConnectionSlots,
    failures: Arc<Failures>,
    phase: watch::Sender<Phase>,
    /// Held by every connection that was accepted before the drain.
    before_drain: Arc<()>,
    /// Handshakes in progress; dropping one loses nothing.
    handshakes: JoinSet<Option<(Accepted, Handshake)>>,
    connections: JoinSet<()>,
}

/// The result of a TLS handshake.
enum Handshake {
    /// A TLS client.
    Secure(Box<TlsStream<ClearedBuffer<TcpStream>>>),
    /// A client that does not speak TLS. It only gets a response that says so.
    Plain(TcpStream),
    /// A client of a listener without TLS, behind a proxy.
    Proxied(TcpStream),
}

/// The requests that a connection accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortMode {
    /// Everything that the application serves.
    Application,
    /// Nothing: a plain connection on a TLS port.
    TlsOnly,
}

/// An accepted connection, and its slot.
struct Accepted {
    peer: SocketAddr,
    is_secure: bool,
    /// When it was accepted.
    since: Instant,
    slot: ConnectionSlot,
    _before_drain: Arc<()>,
}

impl Server {
    fn new(
        name: &'static str,
        app: HttpApp,
        tls: Option<TlsServer>,
        settings: HttpSettings,
        metrics: ServerMetrics,
    ) -> Self {
        Self {
            app,
            tls,
            failures: Arc::new(Failures::new(name, metrics.clone())),
            slots: ConnectionSlots::new(settings.connections.clone(), metrics),
            settings,
            phase: watch::Sender::new(Phase::Serving),
            before_drain: Arc::new(()),
            handshakes: JoinSet::new(),
            connections: JoinSet::new(),
        }
    }

    /// Handles the end of one connection, or of one handshake. Never completes while none exists.
    async fn handle_next(&mut self) {
        tokio::select! {
            Some(ended) = self.connections.join_next() => {
                // An evicted connection is canceled.
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    tracing::error!(
                        event = "connection.task_failed",
                        %error,
                        "the task of a connection failed"
                    );
                }
            }
            Some(handshake) = self.handshakes.join_next() => {
                match handshake {
                    Ok(Some((accepted, Handshake::Secure(stream)))) => {
                        self.connect(accepted, *stream, PortMode::Application);
                    }
                    Ok(Some((accepted, Handshake::Plain(stream)))) => {
                        self.connect(accepted, stream, PortMode::TlsOnly);
                    }
                    Ok(Some((accepted, Handshake::Proxied(stream)))) => {
                        self.connect(accepted, stream, PortMode::Application);
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            else => std::future::pending().await,
        }
    }

    async fn accept_until(
        &mut self,
        listener: &TcpListener,
        mut stop: Pin<&mut impl Future<Output = Stop>>,
    ) -> Stop {
        loop {
            tokio::select! {
                stop = &mut stop => return stop,
                () = self.handle_next() => {}
                accepted = listener.accept() => self.accept(accepted).await,
            }
        }
    }

    async fn accept(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let Some((stream, peer)) = accepted_stream(accepted).await else { return };
        let is_proxy = self.settings.proxies.sends_header(peer.ip());
        let slot = if is_proxy {
            self.slots.take_for_proxy(peer.ip(), next_number()).await
        } else {
            self.slots.take(peer.ip(), next_number()).await
        };
        let Some(slot) = slot else { return };
        let is_secure = self.tls.is_some();
        let accepted = Accepted {
            peer,
            is_secure,
            since: clock::timer(),
            slot,
            _before_drain: Arc::clone(&self.before_drain),
        };
        let (limit, number) = (self.settings.header_timeout, accepted.slot.number);
        let failures = Arc::clone(&self.failures);
        let task = match (self.tls.clone(), is_proxy) {
            (None, false) => return self.connect(accepted, stream, PortMode::Application),
            (Some(tls), false) => {
                self.handshakes.spawn(tls_handshake(tls, accepted, stream, limit, failures))
            }
            (tls, true) => {
                self.handshakes.spawn(proxy_handshake(tls, accepted, stream, limit, failures))
            }
        };
        ConnectionSlot::set_task(&self.slots, number, task);
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
                // An idle connection notices a change of phase when it is polled.
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

    /// Continues to serve, and closes each connection with its next response.
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

    /// Accepts the pending connections, and closes the listener: closing it alone would reset them.
    /// Each connection is admitted before the next is accepted, so that connections without a slot
    /// use at most one file descriptor.
    async fn accept_backlog(&mut self, listener: TcpListener) {
        // Uses the listener of the standard library, which only calls the system.
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

    /// Serves the requests that have started or just arrived, closes every other connection, and
    /// ends.
    async fn finish(mut self) {
        self.phase.send_replace(Phase::Closing);
        let mut end = pin!(tokio::time::sleep(self.settings.finish));
        let mut handshake_end = pin!(tokio::time::sleep(NEW_CONNECTION_GRACE));
        while !(self.connections.is_empty() && self.handshakes.is_empty()) {
            tokio::select! {
                () = &mut end => {
                    log_aborted_connections();
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

/// Returns the number of the next connection.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reads the header of the PROXY protocol, and then as without it.
async fn proxy_handshake(
    tls: Option<TlsServer>,
    mut accepted: Accepted,
    mut stream: TcpStream,
    limit: Duration,
    failures: Arc<Failures>,
) -> Option<(Accepted, Handshake)> {
    let read = tokio::time::timeout(limit, proxies::read_header(&mut stream)).await;
    match read.unwrap_or_else(|elapsed| Err(io::Error::from(elapsed).into())) {
        Ok(Some(client)) => {
            if !accepted.slot.set_source(client.ip()) {
                return None;
            }
            accepted.peer = client;
        }
        Ok(None) => {}
        Err(error) => {
            failures.note(accepted.peer.ip(), ConnectionFailure::proxy_header, Some(&error));
            return None;
        }
    }
    match tls {
        None => Some((accepted, Handshake::Proxied(stream))),
        Some(tls) => {
            let waited = clock::timer().saturating_duration_since(accepted.since);
            tls_handshake(tls, accepted, stream, limit.saturating_sub(waited), failures).await
        }
    }
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
        Ok(Handshake::Secure(Box::new(tls.handshake(ClearedBuffer(stream)).await?)))
    });
    let failed = match handshake.await.map_err(io::Error::from) {
        Ok(Ok(handshake)) => {
            if matches!(handshake, Handshake::Plain(_)) {
                accepted.slot.metrics().tls_handshake_failures.inc();
            }
            return Some((accepted, handshake));
        }
        Ok(Err(error)) | Err(error) => error,
    };
    accepted.slot.metrics().tls_handshake_failures.inc();
    tracing::debug!(peer = %accepted.peer, error = %failed, "TLS handshake failed");
    // A client that connects and sends nothing checks whether the port is open, or keeps a spare
    // connection.
    if has_sent {
        failures.note(accepted.peer.ip(), failures::of_handshake(&failed), Some(&failed));
    }
    None
}

/// The most bytes of a body for which room is made before they arrive.
const MAX_EXPECTED_BYTES: usize = 64 * 1024;

/// Reads a complete body of at most `limit` bytes.
///
/// # Errors
/// When it is longer, or does not arrive completely.
pub async fn collect_body(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut body = Limited::new(body, limit);
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut collected = Vec::with_capacity(expected.min(limit).min(MAX_EXPECTED_BYTES));
    // Each frame is dropped before the next read: the library then uses its buffer again.
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => collected.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge),
            Err(error) => return Err(BodyError::Incomplete(error)),
        }
    }
    Ok(collected.into())
}

fn log_aborted_connections() {
    tracing::warn!(
        event = "connections.aborted",
        "aborted connections that did not finish in time"
    );
}

async fn accepted_stream(
    accepted: io::Result<(TcpStream, SocketAddr)>,
) -> Option<(TcpStream, SocketAddr)> {
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(event = "connection.accept_failed", %error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    // Without it, two small writes would wait 40 ms for each other.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "could not set TCP_NODELAY");
    }
    Some((stream, peer))
}

/// Prepares one connection to be polled.
fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    accepted: &Accepted,
    app: HttpApp,
    mode: PortMode,
    settings: &HttpSettings,
    phase: watch::Receiver<Phase>,
) -> http1::Connection<TokioIo<Connection<S>>, ConnectionService> {
    let state = accepted.slot.state.clone();
    let waited = clock::timer().saturating_duration_since(accepted.since);
    let timeouts = ConnectionTimeouts {
        first_head: settings.header_timeout.saturating_sub(waited),
        head: settings.header_timeout,
        idle: KEEP_ALIVE_TIMEOUT,
        write: settings.header_timeout,
    };
    let HttpApp { application, errors } = app;
    let service = ConnectionService {
        application,
        errors,
        mode,
        info: ConnectionInfo {
            peer: accepted.peer,
            number: accepted.slot.number,
            is_secure: accepted.is_secure,
        },
        proxies: settings.proxies.clone(),
        state: state.clone(),
        body_timeout: settings.header_timeout,
        request_timeout: settings.request_timeout,
        shared: Arc::new(Shared {
            phase: phase.clone(),
            panics: accepted.slot.metrics().panics.clone(),
        }),
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        // `Connection` times the heads; this timer would also run while a connection is idle.
        .header_read_timeout(None)
        .keep_alive(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(Connection::new(stream, state, errors, timeouts, phase)),
            service,
        )
}

/// The application, with the connection's data for each request.
struct ConnectionService {
    application: Arc<dyn Application>,
    errors: ErrorResponder,
    mode: PortMode,
    info: ConnectionInfo,
    proxies: TrustedProxies,
    state: ConnectionState,
    body_timeout: Duration,
    request_timeout: Duration,
    shared: Arc<Shared>,
}

/// What the responses of a connection share.
struct Shared {
    phase: watch::Receiver<Phase>,
    panics: Counter,
}

/// A pending response.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let form = (self.errors.of_headers)(request.headers());
        // This runs before the library reads any byte after the head.
        let (guard, kept_query) = match self.state.enter(request.body().size_hint().exact()) {
            Ok(entered) => entered,
            Err(RequestStartError::FramingError(FramingError::Desynchronized)) => {
                return self.framing_error(form, HttpError::UnclearEnd);
            }
            Err(RequestStartError::FramingError(FramingError::ConflictingLengths)) => {
                return self.framing_error(form, HttpError::ConflictingLengths);
            }
            Err(RequestStartError::Closed) => return refuse(form, HttpError::Closing),
        };
        if !request.body().is_end_stream() && has_other_coding(request.headers()) {
            return self.framing_error(form, HttpError::OtherCoding);
        }
        if self.mode == PortMode::TlsOnly {
            self.state.fail(ConnectionFailure::plain_http);
            return refuse(form, HttpError::TlsOnly);
        }
        let Ok(source) = self.proxies.source(self.info.peer.ip(), request.headers()) else {
            return self.framing_error(form, HttpError::MalformedRequest);
        };
        let mut info = self.info;
        info.peer.set_ip(source);
        let (head, body) = request.into_parts();
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(TimedBody::new(body, self.state.clone(), self.body_timeout))
        };
        let query = kept_query.unwrap_or_else(|| {
            Bytes::copy_from_slice(head.uri.query().unwrap_or_default().as_bytes())
        });
        let host = head.headers.get(HOST).cloned();
        let request = HttpRequest { head, body, query, connection: info };
        let served = Arc::clone(&self.application).serve(request);
        let answer =
            tokio::time::timeout(self.request_timeout, AssertUnwindSafe(served).catch_unwind());
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
            match answer.await {
                Ok(Ok(HttpResponse { mut response, is_authenticated })) => {
                    if *shared.phase.borrow() != Phase::Serving {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(CONNECTION, close);
                    }
                    if is_authenticated || response.status().is_success() {
                        guard.mark_success();
                    }
                    Ok(response)
                }
                Ok(Err(_panic)) => {
                    // The panic message is in the log already.
                    tracing::error!(event = "request.panicked", "a request failed with a panic");
                    shared.panics.inc();
                    Ok(closing(form, host, HttpError::Panicked))
                }
                Err(_elapsed) => Ok(closing(form, host, HttpError::TimedOut)),
            }
        })
    }
}

impl ConnectionService {
    /// Refuses a request whose end another parser could see elsewhere.
    fn framing_error(&self, form: &'static dyn ErrorForm, error: HttpError) -> ResponseFuture {
        self.state.fail(ConnectionFailure::malformed_request);
        refuse(form, error)
    }
}

fn refuse(form: &'static dyn ErrorForm, error: HttpError) -> ResponseFuture {
    Box::pin(std::future::ready(Ok(closing(form, "", error))))
}

/// Whether a body has another transfer coding than a single `chunked`.
fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let first =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    !first || codings.next().is_some()
}

/// An error response that closes the connection.
fn closing(form: &dyn ErrorForm, host: &str, error: HttpError) -> Response {
    let mut response = form.response(host, error).map(Body::from);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
