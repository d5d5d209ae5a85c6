//! Tests of TLS handshakes, with certificates made in the test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

use super::*;
use crate::server::metrics::HandshakeLabels;

/// A CA, and a directory with a server certificate and key.
struct Bench {
    directory: TempDir,
    ca: Issuer<'static, KeyPair>,
    ca_der: CertificateDer<'static>,
}

impl Bench {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let ca_der = certificate.der().clone();
        let bench = Self { directory, ca: Issuer::new(params, key), ca_der };
        bench.issue("first.example");
        bench
    }

    fn files(&self) -> CertificateFiles {
        let file = |name| self.directory.path().join(name);
        CertificateFiles { certificate: file("server.pem"), key: file("server.key") }
    }

    /// Writes a certificate for this name, and its key.
    fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        let files = self.files();
        fs::write(files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn certificate(&self) -> Arc<ServerCertificate> {
        ServerCertificate::open(self.files()).unwrap()
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Client {
        self.client_of(provider(), versions)
    }

    fn client_of(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca_der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client(config)
    }
}

struct Client(ClientConfig);

impl Client {
    /// Performs a handshake with `server` under this name; both sides must succeed.
    async fn handshake(
        &self,
        server: &TlsServer,
        name: &str,
    ) -> std::io::Result<ClientStream<DuplexStream>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        let (client, server) =
            tokio::join!(connector.connect(name, ours), server.handshake(theirs));
        server?;
        client
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

#[tokio::test]
async fn both_tls_versions_use_only_authenticated_ciphers() {
    let bench = Bench::new();
    let server = TlsServer::without_client_auth(bench.certificate(), KeyExchange::Any).unwrap();
    for (version, number) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let stream = bench.client(&[version]).handshake(&server, "first.example").await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(number));
    }
    for suite in &provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        assert!(name.contains("GCM") || name.contains("POLY1305"), "{name}");
    }
}

#[tokio::test]
async fn a_key_exchange_that_resists_quantum_computers_is_preferred_and_can_be_demanded() {
    let bench = Bench::new();
    let certificate = bench.certificate();
    let group = |stream: &ClientStream<DuplexStream>| {
        stream.get_ref().1.negotiated_key_exchange_group().map(SupportedKxGroup::name)
    };
    let of = |key_exchange| {
        TlsServer::without_client_auth(Arc::clone(&certificate), key_exchange).unwrap()
    };
    let (any, hybrid) = (of(KeyExchange::Any), of(KeyExchange::Hybrid));
    for server in [&any, &hybrid] {
        let stream = bench.client(&BOTH).handshake(server, "first.example").await.unwrap();
        assert_eq!(group(&stream), Some(NamedGroup::X25519MLKEM768));
    }
    for version in BOTH {
        let mut classical = aws_lc_rs::default_provider();
        classical.kx_groups.retain(|one| one.name() == NamedGroup::X25519);
        let client = bench.client_of(Arc::new(classical), &[version]);
        let stream = client.handshake(&any, "first.example").await.unwrap();
        assert_eq!(group(&stream), Some(NamedGroup::X25519));
        assert!(client.handshake(&hybrid, "first.example").await.is_err());
    }
    let counted = |version, group| {
        let labels = HandshakeLabels { version, group };
        certificate.metrics.tls_handshakes.get_or_create(&labels).get()
    };
    assert_eq!(counted("TLSv1_3", "X25519MLKEM768"), 2);
    assert_eq!((counted("TLSv1_3", "X25519"), counted("TLSv1_2", "X25519")), (1, 1));
}

/// Connects and reads one byte, behind which the tickets of TLS 1.3 are. Returns whether the session was
/// resumed.
async fn connects_again(client: &ClientConfig, server: &TlsServer) -> bool {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("first.example").unwrap();
    let connector = TlsConnector::from(Arc::new(client.clone()));
    let (client, server) = tokio::join!(connector.connect(name, ours), server.handshake(theirs));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    server.write_all(b"x").await.unwrap();
    server.flush().await.unwrap();
    client.read_u8().await.unwrap();
    server.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[tokio::test]
async fn the_sessions_of_many_clients_are_resumed() {
    let bench = Bench::new();
    let server = TlsServer::without_client_auth(bench.certificate(), KeyExchange::Any).unwrap();
    for version in BOTH {
        // More than the sessions that the TLS library would keep.
        let clients: Vec<_> = (0..300).map(|_| bench.client(&[version]).0).collect();
        for client in &clients {
            assert!(!connects_again(client, &server).await);
        }
        for client in &clients {
            assert!(connects_again(client, &server).await, "{version:?}");
        }
    }
}

#[tokio::test]
async fn only_http_1_is_negotiated_and_no_client_certificate_is_requested() {
    let bench = Bench::new();
    let server = TlsServer::without_client_auth(bench.certificate(), KeyExchange::Any).unwrap();
    let mut client = bench.client(&BOTH);
    client.0.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = client.handshake(&server, "first.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP_1_1));
    client.0.alpn_protocols = vec![b"h2".to_vec()];
    assert!(client.handshake(&server, "first.example").await.is_err());

    let mut client = bench.client(&BOTH);
    client.0.client_auth_cert_resolver = Arc::new(NeverAsked);
    client.handshake(&server, "first.example").await.unwrap();
}

/// Fails the test if a server requests a certificate.
#[derive(Debug)]
struct NeverAsked;

impl rustls::client::ResolvesClientCert for NeverAsked {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        panic!("the server requests a client certificate")
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_listener_with_a_client_ca_accepts_only_its_clients() {
    let bench = Bench::new();
    let (certificate, key) = bench.issue("monitoring");
    bench.issue("first.example");
    let ca = bench.directory.path().join("ca.pem");
    let server = TlsServer::with_client_ca(&ca, bench.certificate(), KeyExchange::Any).unwrap();
    let outsider = bench.client(&BOTH);
    assert!(outsider.handshake(&server, "first.example").await.is_err());
    let mut known = bench.client(&BOTH);
    let key = CertifiedKey::from_der(vec![certificate], key, &provider()).unwrap();
    known.0.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
    known.handshake(&server, "first.example").await.unwrap();
    assert!(matches!(
        TlsServer::with_client_ca(&bench.files().key, bench.certificate(), KeyExchange::Any),
        Err(TlsError::NoCertificate(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_loaded_once_they_are_stable_and_bad_ones_never() {
    let bench = Bench::new();
    let certificate = bench.certificate();
    let server =
        TlsServer::without_client_auth(Arc::clone(&certificate), KeyExchange::Any).unwrap();
    let client = bench.client(&BOTH);
    let first = FileVersions::of(&bench.files());
    assert_eq!(certificate.check_files(false, &first), first);

    bench.issue("second.example");
    let second = certificate.check_files(false, &first);
    client.handshake(&server, "first.example").await.expect("the files may still be changing");
    certificate.check_files(false, &second);
    client.handshake(&server, "second.example").await.unwrap();
    assert!(client.handshake(&server, "first.example").await.is_err());

    for damage in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(bench.files().certificate, damage).unwrap();
        certificate.check_files(true, &second);
        client.handshake(&server, "second.example").await.unwrap();
    }
    bench.issue("third.example");
    certificate.check_files(true, &second);
    client.handshake(&server, "third.example").await.unwrap();
}

#[test]
fn a_key_that_others_can_read_or_of_another_certificate_is_refused() {
    let bench = Bench::new();
    let files = bench.files();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = ServerCertificate::open(files.clone()).unwrap_err();
    assert!(matches!(error, TlsError::KeyFile(SecretError::Open { .. })), "{error}");

    let other = KeyPair::generate().unwrap();
    fs::write(&files.key, other.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(ServerCertificate::open(files.clone()), Err(TlsError::Pair { .. })));

    fs::write(&files.key, "no key").unwrap();
    assert!(matches!(ServerCertificate::open(files), Err(TlsError::Key { .. })));
}
