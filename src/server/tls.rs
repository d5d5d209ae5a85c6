//! TLS for a listener: who we are, whom we let in, and a certificate that changes while we serve.
//!
//! TLS 1.3, and TLS 1.2 with its AEAD suites; HTTP/1.1 only. It knows nothing of what is served.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, version};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::config::secret::read_private_text;
use crate::config::{CertificateFiles, SecretError};
use crate::model::Time;
use crate::telemetry::metrics::metrics;

/// The one protocol inside TLS.
const HTTP_1_1: &[u8] = b"http/1.1";

/// How often the files are looked at. A change counts once the files have rested for this long, so
/// that certificate and key may be written one after the other.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The most bytes of a key file.
const MAX_KEY_BYTES: usize = 64 * 1024;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates cannot be read.
    #[error("{} cannot be read as PEM certificates", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file of certificates holds none, or one that is no certificate.
    #[error("{} holds no X.509 certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The key file cannot be read, or others can read it.
    #[error(transparent)]
    KeyFile(#[from] SecretError),
    /// The key file holds no private key.
    #[error("{} holds no PEM private key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The key is not that of the certificate, or of a kind that TLS does not know.
    #[error("the key in {} does not serve the certificate in {}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The CA of the client certificates cannot be used.
    #[error("{} cannot be used as the CA of client certificates", path.display())]
    ClientCa {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TLS library does not take its own settings.
    #[error("TLS cannot be set up")]
    SetUp(#[from] rustls::Error),
}

/// A certificate that follows its files.
#[derive(Debug)]
pub struct ServerCertificate {
    files: CertificateFiles,
    loaded: ArcSwap<LoadedCertificate>,
    /// What the files were when they were last read.
    loaded_versions: Mutex<FileVersions>,
    reload_requested: Notify,
}

#[derive(Debug)]
struct LoadedCertificate {
    key: Arc<CertifiedKey>,
    not_after: Time,
}

/// The server's side of TLS on one listener.
#[derive(Clone)]
pub struct TlsServer {
    acceptor: TlsAcceptor,
}

impl ServerCertificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When they cannot be read, do not belong together, or others can read the key.
    pub fn open(files: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let loaded_versions = FileVersions::of(&files);
        let loaded = LoadedCertificate::read(&files)?;
        loaded.warn_if_expired(&files);
        Ok(Arc::new(Self {
            files,
            loaded: ArcSwap::from_pointee(loaded),
            loaded_versions: Mutex::new(loaded_versions),
            reload_requested: Notify::new(),
        }))
    }

    /// When the first certificate of the chain runs out.
    pub fn not_after(&self) -> Time {
        self.loaded.load().not_after
    }

    /// Days until the certificate runs out; below zero once it has.
    pub fn days_left(&self, now: Time) -> f64 {
        let seconds = self.not_after().unix().saturating_sub(now.unix());
        // Exact for more years than a certificate can name.
        let seconds = i32::try_from(seconds).map_or(f64::MAX, f64::from);
        seconds / SECONDS_PER_DAY
    }

    /// Asks for the files to be read again, changed or not.
    pub fn request_reload(&self) {
        self.reload_requested.notify_one();
    }

    /// Reads the files anew whenever they have changed, or when asked. Connections that are open
    /// go on as they are. Files that cannot be used are told once, and what was served stays.
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

    /// Looks at the files and reads them if there is reason to. Blocking.
    fn check_files(&self, is_requested: bool, before: &FileVersions) -> FileVersions {
        let now = FileVersions::of(&self.files);
        let is_changed = now != *self.lock_versions();
        if is_requested || (is_changed && now == *before) {
            self.reload(now.clone());
        }
        now
    }

    fn reload(&self, versions: FileVersions) {
        *self.lock_versions() = versions;
        match LoadedCertificate::read(&self.files) {
            Ok(loaded) => {
                loaded.warn_if_expired(&self.files);
                tracing::info!(not_after = %loaded.not_after, "the TLS certificate is read anew");
                self.loaded.store(Arc::new(loaded));
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                metrics().tls_reload_failed();
                tracing::error!(%error, cause, "the TLS certificate stays the old one");
            }
        }
    }

    fn lock_versions(&self) -> std::sync::MutexGuard<'_, FileVersions> {
        self.loaded_versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        if self.not_after <= Time::now() {
            let certificate = files.certificate.display();
            tracing::warn!(%certificate, not_after = %self.not_after, "the certificate has run out");
        }
    }
}

impl TlsServer {
    /// TLS that lets everybody in. It asks for no client certificate: SDKs offer the one of their
    /// ClientKey as soon as they are asked, which no CA here has signed.
    ///
    /// # Errors
    /// When the TLS library refuses.
    pub fn without_client_auth(certificate: Arc<ServerCertificate>) -> Result<Self, TlsError> {
        let config = protocol_versions()?.with_no_client_auth();
        Ok(Self::new(config.with_cert_resolver(certificate)))
    }

    /// TLS that lets in who has a certificate of this CA.
    ///
    /// # Errors
    /// When the CA's file cannot be used.
    pub fn with_client_ca(
        ca: &Path,
        certificate: Arc<ServerCertificate>,
    ) -> Result<Self, TlsError> {
        let fault = |source| TlsError::ClientCa { path: ca.to_owned(), source };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| fault(error.into()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| fault(error.into()))?;
        let config = protocol_versions()?.with_client_cert_verifier(verifier);
        Ok(Self::new(config.with_cert_resolver(certificate)))
    }

    fn new(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self { acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// When the client goes away, speaks no TLS, or may not come in.
    pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> =
        all.map_err(|source| TlsError::Certificates { path: path.to_owned(), source })?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(all)
}

/// The one stack of ciphers of this program, for servers and clients.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn protocol_versions()
-> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
}

/// The earliest end of the chain's certificates; none when one of them is no certificate.
fn not_after(chain: &[CertificateDer<'_>]) -> Option<Time> {
    let ends = chain.iter().map(|der| {
        let certificate = Certificate::from_der(der).ok()?;
        let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
        i64::try_from(end.as_secs()).ok().map(Time::from_unix)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// What tells that a file is another one or has other content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileVersions([Option<FileVersion>; 2]);

type FileVersion = (u64, u64, u64, i64, i64);

impl FileVersions {
    fn of(files: &CertificateFiles) -> Self {
        let version_of =
            |path: &Path| std::fs::metadata(path).ok().map(|metadata| file_version(&metadata));
        Self([version_of(&files.certificate), version_of(&files.key)])
    }
}

fn file_version(of: &Metadata) -> FileVersion {
    (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec())
}

#[cfg(test)]
mod tests;
