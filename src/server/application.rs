//! What the server serves: a request as it arrived, and its response.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Request;
use http::request::Parts;
use tower::ServiceExt as _;

use super::error_response::ErrorResponder;

/// The application that is served.
#[derive(Clone)]
pub struct HttpApp {
    /// Serves the requests.
    pub application: Arc<dyn Application>,
    /// Formats the errors of the server.
    pub errors: ErrorResponder,
}

impl std::fmt::Debug for HttpApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpApp").finish_non_exhaustive()
    }
}

/// Serves the requests of a listener.
pub trait Application: Send + Sync {
    /// Serves one request. It returns at once: everything is done by the returned future, whose panics the
    /// server answers.
    fn serve(self: Arc<Self>, request: HttpRequest) -> PendingResponse;
}

/// A response that is being made.
pub type PendingResponse = Pin<Box<dyn Future<Output = HttpResponse> + Send>>;

/// A request whose head has arrived.
#[derive(Debug)]
pub struct HttpRequest {
    /// The head. Its URI has no query if that was too long for the HTTP library.
    pub head: Parts,
    /// The body, with a limit of time.
    pub body: Body,
    /// The query as sent, without the `?`.
    pub query: Bytes,
    /// Where it came from.
    pub connection: ConnectionInfo,
}

/// A response.
#[derive(Debug)]
pub struct HttpResponse {
    /// The response.
    pub response: Response,
    /// Whether the caller is authenticated, even if the request was rejected.
    pub is_authenticated: bool,
}

/// The connection of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The address of the peer, or of the client that a trusted proxy names.
    pub peer: SocketAddr,
    /// The number of the connection, within this process.
    pub number: u64,
    /// Whether it is a TLS connection.
    pub is_secure: bool,
}

/// A router, for callers that are not authenticated.
impl Application for Router {
    fn serve(self: Arc<Self>, request: HttpRequest) -> PendingResponse {
        Box::pin(async move {
            let HttpRequest { head, body, .. } = request;
            let router = Self::clone(&self);
            let response = match router.oneshot(Request::from_parts(head, body)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            HttpResponse { response, is_authenticated: false }
        })
    }
}
