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

use crate::support::installation::{Installation, run};

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

/// The answer to a GET of `path`, to a client that trusts this CA and shows this certificate.
async fn get(
    admin: &str,
    path: &str,
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
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Gives the admin listener TLS with the CA in `clients.pem`, and these further lines.
fn configure(installation: &Installation, more: &str) {
    installation.configure(|text| {
        let (tls, ca) = (installation.path("tls"), installation.path("clients.pem"));
        let (tls, ca) = (tls.display(), ca.display());
        *text = text.replace(
            "[admin]\naddress = \"\"\n",
            &format!(
                "[admin]\naddress = \"127.0.0.1:0\"\nclient_ca = \"{ca}\"\n{more}\
                 [tls]\ncertificate = \"{tls}/server.pem\"\nkey = \"{tls}/server.key\"\n"
            ),
        );
    });
}

#[tokio::test]
async fn the_admin_listener_accepts_only_clients_of_its_ca() {
    let (installation, _user) = Installation::prepared();
    let tls = installation.path("tls");
    installation.command(&["tls", "self-signed", "--out", "tls"]).status().unwrap();
    let own = Authority::new(&installation.path("clients.pem"));
    let foreign = Authority::new(&installation.path("others.pem"));
    configure(&installation, "");
    let server = installation.serve();
    let (admin, server_ca) = (server.admin_address(), tls.join("ca.pem"));
    let report = get(&admin, "/report", &server_ca, Some(own.client())).await.unwrap();
    assert!(report.starts_with("HTTP/1.1 404 "), "no setting allows it: {report}");
    let known = get(&admin, "/livez", &server_ca, Some(own.client())).await.unwrap();
    assert!(known.starts_with("HTTP/1.1 200 "), "{known}");
    for outsider in [None, Some(foreign.client())] {
        let refused = get(&admin, "/livez", &server_ca, outsider).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let mut plain = TcpStream::connect(&*admin).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Use https."), "{answer}");
}

#[tokio::test]
async fn the_report_is_shown_to_clients_of_the_ca_signed_and_made_once() {
    let (installation, _user) = Installation::prepared();
    installation.command(&["tls", "self-signed", "--out", "tls"]).status().unwrap();
    let own = Authority::new(&installation.path("clients.pem"));
    configure(&installation, "report = true\n");
    let server = installation.serve();
    let (admin, server_ca) = (server.admin_address(), installation.path("tls/ca.pem"));
    fs::write(installation.path("seed.toml"), "[[key]]\nalias = \"orders\"\n").unwrap();
    installation.configured(&["apply", installation.path("seed.toml").to_str().unwrap()]).done();
    assert!(get(&admin, "/report", &server_ca, None).await.is_err(), "without a certificate");

    let fetch = || get(&admin, "/report", &server_ca, Some(own.client()));
    let (first, second) = tokio::join!(fetch(), fetch());
    let (first, second) = (first.unwrap(), second.unwrap());
    let (head, page) = first.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{first}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(
        page.contains("alias/orders") && !page.contains("<script") && !page.contains("not-checked"),
        "{page}"
    );
    assert_eq!(second.split_once("\r\n\r\n").unwrap().1, page, "both are one");
    let records = fs::read_to_string(installation.audit_file()).unwrap();
    let made = r#""principalId":"a client of the admin listener""#;
    assert_eq!(records.matches(made).count(), 1, "{records}");

    fs::write(installation.path("report.html"), page).unwrap();
    let file = installation.path("report.html");
    let bundle = installation.path("bundle");
    installation.configured(&["audit", "export", "--out", bundle.to_str().unwrap()]).done();
    let key = bundle.join(hsmgate::audit::PUBLIC_KEY);
    let verify =
        ["report", "verify", file.to_str().unwrap(), "--public-key", key.to_str().unwrap()];
    run(installation.command(&verify), b"").done();
    assert_eq!(server.stop(), Some(0));
}
