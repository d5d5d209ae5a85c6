//! One HTTP request on a connection of its own.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends a request, and reads a response whose body has at most `max_bytes`.
///
/// # Errors
/// When the connection ends before the whole response, or the body is longer.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> anyhow::Result<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the connection, or with an error that the request returns.
    let connection = tokio::spawn(async move { connection.await.ok() });
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, max_bytes).collect().await;
    connection.abort();
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok(Response::from_parts(parts, body))
}
