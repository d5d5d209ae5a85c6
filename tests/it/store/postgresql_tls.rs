//! A gateway whose PostgreSQL server is on another host: TLS to a real server.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::postgresql::{configure, create_key, encrypt};
use crate::support::installation::{AccessKey, Installation};
use crate::support::postgresql::{self, ROLE};

/// Passwords in TLS only with a certificate of the role.
const ACCESS: &str = "local all all trust\n\
                      hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n\
                      hostnossl all all 127.0.0.1/32 scram-sha-256\n";

/// A CA and its certificate.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), certificate)
}

/// A certificate with this common name and the names of a server, and its key.
fn issued(ca: &Issuer<'_, KeyPair>, common: &str, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

/// Writes a file that only its owner may read.
fn private(installation: &Installation, name: &str, text: &str) -> PathBuf {
    let file = installation.path(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

#[tokio::test]
async fn another_host_is_used_over_tls_that_verifies_it_and_in_the_clear_only_on_demand() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = ["listen_addresses=127.0.0.1", &format!("port={port}")];
    let server = postgresql::Server::start(&settings);
    server.execute("postgres", &format!("ALTER ROLE {ROLE} PASSWORD 'hunter 2'"));
    server.execute("postgres", "CREATE DATABASE keys");

    let installation = Installation::new();
    let (ca, certificate_of_ca) = authority();
    let (certificate, key) = issued(&ca, ROLE, &[]);
    let file = |name, text: &str| private(&installation, name, text).display().to_string();
    let (certificate, key) = (file("client.pem", &certificate), file("client.key", &key));
    let trusted = file("ca.pem", &certificate_of_ca);
    let other = file("other.pem", &authority().1);
    let password = file("password", "hunter 2\n");
    let url = |host: &str, parameters: &[(&str, &str)]| {
        let text: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("postgres://{ROLE}@{host}:{port}/keys?{}", text.join("&"))
    };
    let to = |host: &str, parameters: &[(&str, &str)]| {
        let further = format!("password_file = \"{password}\"\n");
        configure(&installation, &url(host, parameters), &further);
    };
    let refused = |host: &str, parameters: &[(&str, &str)], why: &[&str]| {
        to(host, parameters);
        let serve = ["serve", "--config", "hsmgate.toml"];
        let refused = installation.run_under(&["timeout", "60"], &serve);
        assert_ne!(refused.code, Some(124), "{refused:?}");
        for why in why {
            assert!(refused.stderr.contains(why), "{host} {parameters:?}: {refused:?}");
        }
    };

    // The system takes 127.1 for 127.0.0.1, and the gateway for another host.
    let in_clear = [("sslmode", "disable")];
    refused("127.1", &[], &["does not support TLS", "ssl = on", "add sslmode=disable"]);
    to("127.1", &in_clear);
    let initialized = installation.init();
    assert!(initialized.stderr.contains("cross the network in the clear"), "{initialized:?}");
    let admin = AccessKey::of(&initialized.json());
    let report = installation.configured(&["doctor"]).done();
    assert!(report.contains("cross the network in the clear"), "{report}");

    let (certificate_of_server, key_of_server) = issued(&ca, "db", &["127.0.0.1"]);
    for (name, text) in [
        ("server.crt", &*certificate_of_server),
        ("server.key", &key_of_server),
        ("ca.crt", &certificate_of_ca),
        ("pg_hba.conf", ACCESS),
    ] {
        server.write(name, text);
    }
    server.execute("postgres", "ALTER SYSTEM SET ssl = on");
    server.execute("postgres", "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
    server.restart();
    let (client, sslkey) = (("sslcert", &*certificate), ("sslkey", &*key));
    let verified = [("sslrootcert", &*trusted), client, sslkey];
    refused("127.0.0.1", &[("sslmode", "verify-full")], &["UnknownIssuer", "sslrootcert"]);
    refused("127.0.0.1", &[("sslrootcert", &other)], &["no CA that is trusted", "sslrootcert"]);
    refused("127.0.0.1", &[("sslrootcert", "/none")], &["/none, which sslrootcert names"]);
    refused("localhost", &verified, &["not valid for name", "does not have the host"]);
    refused("127.0.0.1", &verified[..1], &["valid client certificate"]);
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    refused("127.0.0.1", &verified, &["client.key", "chmod 600"]);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    // Each of several hosts is verified by its own name.
    let both = format!("localhost:{port},127.0.0.1");
    let neither = format!("localhost:{port},localhost");
    let target = ("target_session_attrs", "read-write");
    let verified = [verified[0], verified[1], verified[2], target];
    refused(
        &neither,
        &verified,
        &["localhost:", "not valid for name", "no server of the database"],
    );
    to(&both, &verified);
    let copy = installation.path("copy.db").display().to_string();
    let (from, copy) = (url(&both, &verified), format!("sqlite://{copy}"));
    let copy = ["store", "copy", "--dry-run", "--json", "--from", &from, "--to", &copy];
    installation.configured(&[&copy[..], &["--from-password-file", &password]].concat()).done();
    let report = installation.configured(&["doctor"]).done();
    assert!(!report.contains("in the clear"), "{report}");

    let config = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    let config = format!("{config}[cluster]\nname = \"a\"\n");
    fs::write(installation.path("hsmgate.toml"), config).unwrap();
    let gateway = installation.serve();
    let key = create_key(&gateway, &admin).await;
    encrypt(&gateway, &admin, &key).await;
    let connections = "SELECT bool_and(ssl), COUNT(*) FILTER (WHERE query LIKE 'LISTEN%'), \
                       COUNT(*) FILTER (WHERE query LIKE 'INSERT INTO used_nonces%') \
                       FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                       WHERE client_addr IS NOT NULL";
    assert_eq!(server.execute("keys", connections), "t|1|1");
    assert!(!gateway.log().contains("store.in_clear"), "{}", gateway.log());
    assert_eq!(gateway.stop(), Some(0));
}
