//! TLS for a listener: the server certificate, which may change at run time, and client
//! certificates.
//!
//! TLS 1.3, and TLS 1.2 with its AEAD suites; HTTP/1.1 only. It does not depend on the application
//! that it serves.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::metrics::ServerMetrics;
use crate::config::secret::read_private_text;
use crate::config::{CertificateFiles, KeyExchange, SecretError};
use crate::model::{Time, clock};

/// The only protocol inside TLS (ALPN).
const HTTP_1_1: &[u8] = b"http/1.1";

/// How often the files are checked. A change is loaded after the files were unchanged for this
/// long, so that certificate and key may be written one after the other.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum bytes of a key file.
const MAX_KEY_BYTES: usize = 64 * 1024;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate file cannot be read.
    #[error("cannot read {} as PEM certificates", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A certificate file holds no certificate, or an invalid one.
    #[error("the file {} holds no valid X.509 certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The key file cannot be read, or other users can read it.
    #[error(transparent)]
    KeyFile(#[from] SecretError),
    /// The key file holds no private key.
    #[error("the file {} holds no PEM private key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The key does not match the certificate, or is not supported in TLS.
    #[error(
        "the private key in {} does not match the certificate in {}, or is not supported",
        key.display(),
        certificate.display()
    )]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The CA of the client certificates cannot be used.
    #[error("cannot use {} as the CA of client certificates", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TLS library rejects the configuration.
    #[error("cannot set up TLS")]
    SetUp(#[from] rustls::Error),
}

/// A certificate that is reloaded when its files change.
#[derive(Debug)]
pub struct ServerCertificate {
    files: CertificateFiles,
    loaded: ArcSwap<LoadedCertificate>,
    /// The versions of the files when they were last read.
    loaded_versions: Mutex<FileVersions>,
    reload_requested: Notify,
    metrics: ServerMetrics,
}

#[derive(Debug)]
struct LoadedCertificate {
    key: Arc<CertifiedKey>,
    not_after: Time,
}

/// The TLS server of one listener.
#[derive(Clone)]
pub struct TlsServer {
    acceptor: TlsAcceptor,
    metrics: ServerMetrics,
}

impl ServerCertificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When they cannot be read, do not match, or other users can read the key.
    pub fn open(files: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        Self::open_with(files, ServerMetrics::default())
    }

    /// As [`ServerCertificate::open`], with registered metrics.
    ///
    /// # Errors
    /// As [`ServerCertificate::open`].
    pub fn open_with(
        files: CertificateFiles,
        metrics: ServerMetrics,
    ) -> Result<Arc<Self>, TlsError> {
        let loaded_versions = FileVersions::of(&files);
        let loaded = LoadedCertificate::read(&files)?;
        loaded.warn_if_expired(&files);
        Ok(Arc::new(Self {
            files,
            loaded: ArcSwap::from_pointee(loaded),
            loaded_versions: Mutex::new(loaded_versions),
            reload_requested: Notify::new(),
            metrics,
        }))
    }

    /// The earliest expiry of the certificate chain.
    pub fn not_after(&self) -> Time {
        self.loaded.load().not_after
    }

    /// Days until the certificate expires; negative after that.
    pub fn days_left(&self, now: Time) -> f64 {
        let seconds = self.not_after().unix().saturating_sub(now.unix());
        // Exact for more years than a certificate can express.
        let seconds = i32::try_from(seconds).map_or(f64::MAX, f64::from);
        seconds / SECONDS_PER_DAY
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        let seconds = self.not_after().unix().saturating_sub(clock::now().unix());
        self.metrics.set_certificate_left(seconds);
    }

    /// Requests a reload of the files, changed or not.
    pub fn request_reload(&self) {
        self.reload_requested.notify_one();
    }

    /// Reloads the files whenever they have changed, or on request. Open connections are not
    /// affected. Unusable files are logged once, and the previous certificate stays in use.
    pub async fn watch_files(self: Arc<Self>) {
        let mut before = FileVersions::default();
        loop {
            let is_requested = tokio::select! {
                () = self.reload_requested.notified() => true,
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
            };
            let this = Arc::clone(&self);
            let checked =
                tokio::task::spawn_blocking(move || this.check_files(is_requested, &before)).await;
            before = checked.unwrap_or_default();
        }
    }

    /// Checks the files and reloads them if needed. Blocking.
    fn check_files(&self, is_requested: bool, before: &FileVersions) -> FileVersions {
        let now = FileVersions::of(&self.files);
        let is_changed = now != *self.loaded_versions.lock();
        if is_requested || (is_changed && now == *before) {
            self.reload(now.clone());
        }
        now
    }

    fn reload(&self, versions: FileVersions) {
        *self.loaded_versions.lock() = versions;
        match LoadedCertificate::read(&self.files) {
            Ok(loaded) => {
                loaded.warn_if_expired(&self.files);
                tracing::info!(
                    event = "tls.certificate_reloaded",
                    not_after = %loaded.not_after,
                    "reloaded the TLS certificate"
                );
                self.loaded.store(Arc::new(loaded));
            }
            Err(error) => {
                self.metrics.tls_reload_failures.inc();
                report_failed_reload(&error);
            }
        }
    }
}

fn report_failed_reload(error: &TlsError) {
    let cause = std::error::Error::source(error).map(tracing::field::display);
    tracing::error!(
        event = "tls.reload_failed",
        %error,
        cause,
        "could not reload the TLS certificate; the previous one stays in use"
    );
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.loaded.load().key))
    }
}

impl LoadedCertificate {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let not_after =
            not_after(&chain).ok_or_else(|| TlsError::NoCertificate(files.certificate.clone()))?;
        let text = read_private_text(&files.key, MAX_KEY_BYTES)?;
        let key = PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes())
            .map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
            let CertificateFiles { certificate, key } = files.clone();
            TlsError::Pair { certificate, key, source }
        })?;
        Ok(Self { key: Arc::new(key), not_after })
    }

    fn warn_if_expired(&self, files: &CertificateFiles) {
        if self.not_after <= clock::now() {
            let certificate = files.certificate.display();
            tracing::warn!(
                event = "tls.certificate_expired",
                %certificate,
                not_after = %self.not_after,
                "the TLS certificate has expired"
            );
        }
    }
}

impl TlsServer {
    /// TLS without client certificates. It requests none: SDKs offer the certificate of their
    /// ClientKey when requested, which no CA of this gateway has signed.
    ///
    /// # Errors
    /// When the TLS library rejects the configuration.
    pub fn without_client_auth(
        certificate: Arc<ServerCertificate>,
        key_exchange: KeyExchange,
    ) -> Result<Self, TlsError> {
        let metrics = certificate.metrics.clone();
        let config = server_config(key_exchange)?.with_no_client_auth();
        let mut config = config.with_cert_resolver(certificate);
        // Tickets of the client resume the sessions of any number of clients. Their keys are only in
        // memory, and are replaced every six hours.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self::new(config, metrics))
    }

    /// TLS for clients with a certificate of this CA.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub fn with_client_ca(
        ca: &Path,
        certificate: Arc<ServerCertificate>,
        key_exchange: KeyExchange,
    ) -> Result<Self, TlsError> {
        let fault = |source| TlsError::ClientCa { path: ca.to_owned(), source };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| fault(error.into()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| fault(error.into()))?;
        let metrics = certificate.metrics.clone();
        let config = server_config(key_exchange)?.with_client_cert_verifier(verifier);
        Ok(Self::new(config.with_cert_resolver(certificate), metrics))
    }

    fn new(mut config: ServerConfig, metrics: ServerMetrics) -> Self {
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), metrics }
    }

    /// Performs the handshake with a client.
    ///
    /// # Errors
    /// When the client disconnects, does not speak TLS, or has no valid certificate.
    pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let version = session.protocol_version().and_then(|version| version.as_str());
        let group = session.negotiated_key_exchange_group();
        let group = group.and_then(|group| group.name().as_str());
        self.metrics.count_handshake(version.unwrap_or("other"), group.unwrap_or("other"));
        Ok(stream)
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> =
        all.map_err(|source| TlsError::Certificates { path: path.to_owned(), source })?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(all)
}

/// The only cryptography provider of this program, for TLS servers and clients.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The versions that a listener offers.
pub fn offered_versions(key_exchange: KeyExchange) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static NEWEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match key_exchange {
        KeyExchange::Any => &ALL,
        KeyExchange::Hybrid => &NEWEST,
    }
}

/// The cipher suites and key exchanges that a listener offers, the preferred ones first.
pub fn offered(key_exchange: KeyExchange) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if key_exchange == KeyExchange::Hybrid {
        provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    }
    provider
}

fn server_config(
    key_exchange: KeyExchange,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::new(offered(key_exchange)))
        .with_protocol_versions(offered_versions(key_exchange))
}

/// The earliest expiry of the chain's certificates; `None` if one is invalid.
fn not_after(chain: &[CertificateDer<'_>]) -> Option<Time> {
    let ends = chain.iter().map(|der| {
        let certificate = Certificate::from_der(der).ok()?;
        let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
        i64::try_from(end.as_secs()).ok().map(Time::from_unix)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The properties of a file that change when it is replaced or written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileVersions([Option<FileVersion>; 2]);

type FileVersion = (u64, u64, u64, i64, i64);

impl FileVersions {
    fn of(files: &CertificateFiles) -> Self {
        Self([&files.certificate, &files.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        }))
    }
}

#[cfg(test)]
mod tests;
