//! Connections to other servers: messages over TCP or TLS, and requests over HTTP.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{TlsError, certificates, provider};

/// A connection ends if the receiver has not acknowledged sent bytes for this long. Bytes that were
/// sent earlier on a connection that still exists were received.
pub const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum bytes of a response that are read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The trust in servers over TLS.
#[derive(Debug, Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Trusts the CAs in this PEM file, or those of the system.
    ///
    /// # Errors
    /// When the file cannot be used, or the TLS library refuses.
    pub fn trusting(ca: Option<&Path>) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(client_config(ca, true)?)))
    }
}

/// A configuration that trusts the CAs in this file, or else those of the system, if they are needed.
///
/// # Errors
/// When the file cannot be used, or the TLS library refuses.
pub fn client_config(ca: Option<&Path>, is_needed: bool) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None if is_needed => {
            // Unreadable CAs are skipped. Without any CA, every server is refused.
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(event = "tls.system_ca_unreadable", %error, "cannot read a CA of the system");
            }
            let _counts = roots.add_parsable_certificates(found.certs);
        }
        None => {}
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection that carries messages to a server.
pub struct MessageStream(Box<dyn Duplex>);

impl MessageStream {
    /// Connects, with TLS if given.
    ///
    /// # Errors
    /// When the server cannot be reached or is not trusted.
    pub async fn connect(host: &str, port: u16, tls: Option<&TlsClient>) -> io::Result<Self> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let timeout = u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        set_tcp_user_timeout(&tcp, timeout)?;
        let Some(TlsClient(config)) = tls else { return Ok(Self(Box::new(tcp))) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
        Ok(Self(Box::new(stream)))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check().await?;
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Checks that the server has not ended the connection. What it sends is ignored.
    ///
    /// # Errors
    /// When it has.
    pub async fn check(&mut self) -> io::Result<()> {
        // The state of the socket is known after the runtime has polled it.
        tokio::task::yield_now().await;
        let mut bytes = [0; 512];
        poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *self.0).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Ends the connection, and waits until the server has ended it too: it has received
    /// everything.
    ///
    /// # Errors
    /// When the connection has ended before.
    pub async fn close(mut self) -> io::Result<()> {
        self.0.shutdown().await?;
        let mut bytes = [0; 512];
        while self.0.read(&mut bytes).await? > 0 {}
        Ok(())
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that follows no redirection.
fn http_client(tls: &TlsClient) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config((*tls.0).clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn require_success(status: StatusCode) -> io::Result<()> {
    if status.is_success() {
        return Ok(());
    }
    Err(io::Error::other(format!("the server responded with status {}", status.as_u16())))
}

/// A document that an HTTP server has sent.
#[derive(Debug)]
pub struct HttpDocument {
    /// The document.
    pub body: Bytes,
    /// The time of the server, in whole seconds (RFC 9110, section 6.6.1), if it has sent it.
    pub date: Option<SystemTime>,
}

/// A document on an HTTP server.
pub struct HttpSource {
    uri: Uri,
    client: HttpClient,
}

impl HttpSource {
    /// A source. The connection is opened with the first request.
    pub fn new(uri: Uri, tls: &TlsClient) -> Self {
        Self { uri, client: http_client(tls) }
    }

    /// Reads the document, of at most `limit` bytes. It follows no redirection.
    ///
    /// # Errors
    /// When the server cannot be reached, is not trusted or refuses, or the document is longer.
    pub async fn get(&self, limit: usize) -> io::Result<HttpDocument> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri.clone();
        let response = self.client.request(request).await.map_err(io::Error::other)?;
        require_success(response.status())?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok(HttpDocument { body: body.map_err(io::Error::other)?.to_bytes(), date })
    }
}

/// An HTTP server that receives data by POST.
pub struct HttpReceiver {
    uri: Uri,
    authorization: Option<HeaderValue>,
    client: HttpClient,
}

impl HttpReceiver {
    /// A receiver. The connection is opened with the first request.
    pub fn new(uri: Uri, authorization: Option<HeaderValue>, tls: &TlsClient) -> Self {
        Self { uri, authorization, client: http_client(tls) }
    }

    /// Sends a request, and succeeds if the status of the response does.
    ///
    /// # Errors
    /// When the server cannot be reached, is not trusted, or refuses.
    pub async fn post(&self, content_type: &'static str, body: Bytes) -> io::Result<()> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let response = self.client.request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        // The connection can be used again only if the response was read.
        let _body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        require_success(status)
    }
}
