//! The HTTP/1.1 server: connections in, plain or over TLS, a router's answers out.
//!
//! It holds the limits of size, number and time. It knows nothing of what is served.

mod body;
mod places;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

pub use self::places::ConnectionLimits;

use self::body::TimedBody;
use self::places::{Place, Places};
use super::connection::{Connection, Exchange, NotBegun, Patience};
use super::doors::Wire;
use super::tls::TlsServer;
use crate::error::{ApiError, ErrorCode};
use crate::telemetry::metrics::{OpenConnection, metrics};

/// The most bytes of the body of anyone's request. A legal form has up to 98 KB.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The most bytes of a head, and of what is read ahead. A legal request line has up to 98 KB.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// The most header fields of a request, as the HTTP library has it by itself.
const MAX_HEADERS: usize = 100;

/// How long a kept-alive connection may rest once a request on it has been answered with success:
/// the SDKs keep one open and do not retry on a reset.
const REST: Duration = Duration::from_mins(10);

/// How long to wait before accepting again when the system refuses, as it does when it has no
/// file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    /// How long requests in flight may go on when the server is told to stop.
    pub drain: Duration,
}

/// The address that a request came from; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The number of the connection that a request came on, within this process; an extension of every
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionNumber(pub u64);

/// The query as sent, without the `?`; an extension of every request. Handlers read this one: the
/// URI has none where it was too long for the HTTP library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawQuery(pub Bytes);

/// Whether a request came over TLS; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureTransport(pub bool);

/// Where connections come in.
pub struct Door {
    listener: TcpListener,
    tls: Option<TlsServer>,
}

impl Door {
    /// A listener for plain HTTP, or for TLS where there is some.
    pub fn new(listener: TcpListener, tls: Option<TlsServer>) -> Self {
        Self { listener, tls }
    }
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None)
    }
}

/// Serves `router` to who comes in by `door` until `stop` is done; then finishes what is in
/// flight, for at most the drain time.
pub async fn serve(
    door: impl Into<Door>,
    router: Router,
    settings: HttpSettings,
    stop: impl Future<Output = ()>,
) {
    let Door { listener, tls } = door.into();
    let mut stop = pin!(stop);
    let mut server = Server::new(router, tls, settings);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = server.connections.join_next() => {
                // One that had to make room is cancelled.
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            Some(greeted) = server.greetings.join_next() => {
                if let Ok(Some((guest, stream))) = greeted {
                    server.connect(guest, stream);
                }
            }
            accepted = listener.accept() => server.admit(accepted).await,
        }
    }
    drop(listener);
    server.finish().await;
}

/// The connections of one listener.
struct Server {
    router: Router,
    tls: Option<TlsServer>,
    settings: HttpSettings,
    places: Places,
    graceful: GracefulShutdown,
    /// Shaking hands; nothing is lost with one that is dropped.
    greetings: JoinSet<Option<(Guest, TlsStream<TcpStream>)>>,
    connections: JoinSet<()>,
}

/// Who came in, and its place among the connections.
struct Guest {
    peer: SocketAddr,
    is_secure: bool,
    /// When it came.
    since: Instant,
    place: Place,
    _counted: OpenConnection,
}

impl Server {
    fn new(router: Router, tls: Option<TlsServer>, settings: HttpSettings) -> Self {
        Self {
            router,
            tls,
            places: Places::new(settings.connections.clone()),
            settings,
            graceful: GracefulShutdown::new(),
            greetings: JoinSet::new(),
            connections: JoinSet::new(),
        }
    }

    async fn admit(&mut self, accepted: std::io::Result<(TcpStream, SocketAddr)>) {
        let Some((stream, peer)) = accepted_stream(accepted).await else { return };
        let Some(place) = self.places.take(peer.ip(), next_number()).await else { return };
        let is_secure = self.tls.is_some();
        let (since, counted) = (Instant::now(), metrics().connection());
        let guest = Guest { peer, is_secure, since, place, _counted: counted };
        match self.tls.clone() {
            None => self.connect(guest, stream),
            Some(tls) => {
                let limit = self.settings.header_timeout;
                let number = guest.place.number;
                let task = self.greetings.spawn(greet(tls, guest, stream, limit));
                Place::is_driven_by(&self.places, number, task);
            }
        }
    }

    fn connect<S>(&mut self, guest: Guest, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let served = connection(stream, &guest, self.router.clone(), &self.settings);
        let served = self.graceful.watch(served);
        let number = guest.place.number;
        let task = self.connections.spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(peer = %guest.peer, %error, "connection ended");
            }
            drop(guest);
        });
        Place::is_driven_by(&self.places, number, task);
    }

    async fn finish(mut self) {
        self.greetings.shutdown().await;
        if tokio::time::timeout(self.settings.drain, self.graceful.shutdown()).await.is_err() {
            tracing::warn!("connections are cut off: they did not finish in time");
        }
        self.connections.shutdown().await;
    }
}

/// The number of the next connection.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn greet(
    tls: TlsServer,
    guest: Guest,
    stream: TcpStream,
    limit: Duration,
) -> Option<(Guest, TlsStream<TcpStream>)> {
    let greeted = tokio::time::timeout(limit, tls.greet(stream)).await;
    let failed = match greeted.map_err(std::io::Error::from) {
        Ok(Ok(stream)) => return Some((guest, stream)),
        Ok(Err(error)) | Err(error) => error,
    };
    metrics().tls_handshake_failed();
    tracing::debug!(peer = %guest.peer, error = %failed, "no TLS connection");
    None
}

/// Reads a body of at most [`MAX_BODY_BYTES`] to its end.
///
/// # Errors
/// As [`collect_body_up_to`].
pub async fn collect_body(body: Body) -> Result<Bytes, ApiError> {
    collect_body_up_to(body, MAX_BODY_BYTES).await
}

/// Reads a body of at most `limit` bytes to its end.
///
/// # Errors
/// `RequestEntityTooLarge` beyond the limit, else `ParseRequestParameterException` when it
/// does not arrive whole.
pub async fn collect_body_up_to(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ErrorCode::RequestTooLarge.into()),
        Err(error) => Err(ApiError::from(ErrorCode::ParseRequestParameter).because(error)),
    }
}

async fn accepted_stream(
    accepted: std::io::Result<(TcpStream, SocketAddr)>,
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
    guest: &Guest,
    router: Router,
    settings: &HttpSettings,
) -> http1::Connection<TokioIo<Connection<S>>, ConnectionService> {
    let exchange = guest.place.exchange.clone();
    let patience = Patience {
        first_head: settings.header_timeout.saturating_sub(guest.since.elapsed()),
        head: settings.header_timeout,
        rest: REST,
        write: settings.header_timeout,
    };
    let service = ConnectionService {
        router,
        peer: Peer(guest.peer),
        number: ConnectionNumber(guest.place.number),
        security: SecureTransport(guest.is_secure),
        exchange: exchange.clone(),
        body_timeout: settings.header_timeout,
        request_timeout: settings.request_timeout,
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        // `Connection` times the heads; this timer would also run while a connection rests.
        .header_read_timeout(None)
        .keep_alive(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Connection::new(stream, exchange, patience)), service)
}

/// The router, with what the connection knows of each request.
struct ConnectionService {
    router: Router,
    peer: Peer,
    number: ConnectionNumber,
    security: SecureTransport,
    exchange: Exchange,
    body_timeout: Duration,
    request_timeout: Duration,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let wire = Wire::of(request.headers());
        // This runs before the library asks for any byte behind the head.
        let (serving, kept_query) = match self.exchange.enter(request.body().size_hint().exact()) {
            Ok(entered) => entered,
            Err(not_begun) => {
                let error = ApiError::from(match not_begun {
                    NotBegun::Misframed => ErrorCode::ParseRequestParameter,
                    NotBegun::Closed => ErrorCode::Unavailable,
                });
                return Box::pin(std::future::ready(Ok(closing(wire, "", &error))));
            }
        };
        let (limit, exchange) = (self.body_timeout, self.exchange.clone());
        let mut request = request.map(|body| Body::new(TimedBody::new(body, exchange, limit)));
        let query = kept_query.unwrap_or_else(|| {
            Bytes::copy_from_slice(request.uri().query().unwrap_or_default().as_bytes())
        });
        request.extensions_mut().insert(RawQuery(query));
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.number);
        request.extensions_mut().insert(self.security);
        let host = request.headers().get(HOST).cloned();
        let limit = self.request_timeout;
        let guarded = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let answer = tokio::time::timeout(limit, guarded);
        Box::pin(async move {
            let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
            match answer.await {
                Ok(Ok(Ok(answer))) => {
                    if answer.status().is_success() {
                        serving.well_done();
                    }
                    Ok(answer)
                }
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(_panic)) => {
                    // What it was is in the log already.
                    tracing::error!("a request failed in a panic");
                    metrics().panicked();
                    Ok(closing(wire, host, &ErrorCode::InternalFailure.into()))
                }
                Err(_elapsed) => {
                    let message =
                        "The request took too long. Whether it had an effect is not known.";
                    let error = ApiError::with_message(ErrorCode::Unavailable, message);
                    Ok(closing(wire, host, &error))
                }
            }
        })
    }
}

/// A refusal after which the connection is of no more use.
fn closing(wire: Wire, host: &str, error: &ApiError) -> Response {
    let mut response = wire.failure(host, error);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
