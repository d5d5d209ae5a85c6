//! Mutual TLS of the admin listener: only clients with a certificate of the configured CA are
//! accepted.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hsmgate::server::tls::provider;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::installation::Installation;

type ClientIdentity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A CA of clients, written to a file.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(file: &Path) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    fn client(&self) -> ClientIdentity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["monitoring".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }
}

/// The answer to `GET /livez`, to a client that trusts this CA and shows this certificate.
async fn livez(
    admin: &str,
    server_ca: &Path,
    client_identity: Option<ClientIdentity>,
) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server_ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client_identity {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, TcpStream::connect(admin).await?).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_admin_listener_accepts_only_clients_of_its_ca() {
    let (installation, _user) = Installation::prepared();
    let tls = installation.path("tls");
    installation.command(&["tls", "self-signed", "--out", "tls"]).status().unwrap();
    let own = Authority::new(&installation.path("clients.pem"));
    let foreign = Authority::new(&installation.path("others.pem"));
    installation.configure(|text| {
        let (tls, ca) = (tls.display(), installation.path("clients.pem"));
        *text = text.replace(
            "[admin]\naddress = \"\"\n",
            &format!(
                "[admin]\naddress = \"127.0.0.1:0\"\nclient_ca = \"{}\"\n\
                 [tls]\ncertificate = \"{tls}/server.pem\"\nkey = \"{tls}/server.key\"\n",
                ca.display()
            ),
        );
    });
    let server = installation.serve();
    let (admin, server_ca) = (server.admin_address(), tls.join("ca.pem"));
    let known = livez(&admin, &server_ca, Some(own.client())).await.unwrap();
    assert!(known.starts_with("HTTP/1.1 200 "), "{known}");
    for outsider in [None, Some(foreign.client())] {
        let refused = livez(&admin, &server_ca, outsider).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let mut plain = TcpStream::connect(&*admin).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Use https."), "{answer}");
}
