//! The HTTP/1.1 server: connections in, a router's answers out.
//!
//! It holds the limits of size, number and time. It knows nothing of what is served.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
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
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::connection::{Connection, Exchange, Patience};
use super::doors::Door;
use crate::error::{ApiError, ErrorCode};

/// The most bytes of the body of anyone's request. A legal form has up to 98 KB.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The most bytes of a head, and of what is read ahead. A legal request line has up to 98 KB.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// How long a kept-alive connection may rest: the SDKs keep one open and do not retry on a reset.
const REST: Duration = Duration::from_mins(10);

/// How long to wait before accepting again when the system refuses, as it does when it has no
/// file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of the server.
#[derive(Debug, Clone, Copy)]
pub struct HttpSettings {
    /// The most connections at one time; those beyond are closed at once.
    pub connections: usize,
    /// The longest time for a head to arrive.
    pub header_timeout: Duration,
    /// The longest time from a whole head to its answer, and for the client to take it.
    pub request_timeout: Duration,
    /// How long requests in flight may go on when the server is told to stop.
    pub drain: Duration,
}

/// The address that a request came from; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The query as sent, without the `?`; an extension of every request. Handlers read this one: the
/// URI has none where it was too long for the HTTP library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawQuery(pub Bytes);

/// Serves `router` on `listener` until `stop` is done; then finishes what is in flight, for at
/// most the drain time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: HttpSettings,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let permits = Arc::new(Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Some((stream, peer)) = accepted_stream(accepted).await else { continue };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections, this one is closed");
            continue;
        };
        let served = graceful.watch(connection(stream, peer, router.clone(), settings));
        connections.spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(settings.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections are cut off: they did not finish in time");
    }
    connections.shutdown().await;
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
    peer: SocketAddr,
    router: Router,
    settings: HttpSettings,
) -> http1::Connection<TokioIo<Connection<S>>, ConnectionService> {
    let exchange = Exchange::default();
    let patience =
        Patience { head: settings.header_timeout, rest: REST, write: settings.request_timeout };
    let service = ConnectionService {
        router,
        peer,
        exchange: exchange.clone(),
        timeout: settings.request_timeout,
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        // `Connection` times the heads; this timer would also run while a connection rests.
        .header_read_timeout(None)
        .keep_alive(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Connection::new(stream, exchange, patience)), service)
}

/// The router, with what the connection knows of each request.
struct ConnectionService {
    router: Router,
    peer: SocketAddr,
    exchange: Exchange,
    timeout: Duration,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = Door::of(request.headers());
        // This runs before the library asks for any byte behind the head.
        let Ok((serving, kept_query)) = self.exchange.enter(request.body().size_hint().exact())
        else {
            let error = ApiError::from(ErrorCode::ParseRequestParameter);
            return Box::pin(std::future::ready(Ok(closing(door, "", &error))));
        };
        let mut request = request.map(Body::new);
        let query = kept_query.unwrap_or_else(|| {
            Bytes::copy_from_slice(request.uri().query().unwrap_or_default().as_bytes())
        });
        request.extensions_mut().insert(RawQuery(query));
        request.extensions_mut().insert(Peer(self.peer));
        let host = request.headers().get(HOST).cloned();
        let answer = tokio::time::timeout(self.timeout, self.router.clone().oneshot(request));
        Box::pin(async move {
            let _serving = serving;
            match answer.await {
                Ok(answer) => answer,
                Err(_elapsed) => {
                    let host = host.as_ref().and_then(|host| host.to_str().ok());
                    let message =
                        "The request took too long. Whether it had an effect is not known.";
                    let error = ApiError::with_message(ErrorCode::Unavailable, message);
                    Ok(closing(door, host.unwrap_or_default(), &error))
                }
            }
        })
    }
}

/// A refusal after which the connection is of no more use.
fn closing(door: Door, host: &str, error: &ApiError) -> Response {
    let mut response = door.failure(host, error);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
