//! Servers of the tests that speak TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::installation::{Installation, run};

/// Makes a certificate for 127.0.0.1 with a CA of its own in a new directory, and accepts with it. The CA
/// is in `ca.pem`.
pub(crate) fn acceptor(installation: &Installation, directory: &Path) -> TlsAcceptor {
    let out = directory.to_str().unwrap();
    let make = ["tls", "self-signed", "--name", "127.0.0.1", "--out", out];
    run(installation.command(&make), b"").done();
    let chain = CertificateDer::pem_file_iter(directory.join("server.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
