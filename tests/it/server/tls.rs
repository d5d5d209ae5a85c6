//! TLS: the development gateway with HTTPS, and `hsmgate tls self-signed`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmgate::cli::client::{CallError, Client};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, text};
use crate::support::installation::Installation;
use crate::support::process::{eventually, until, until_async};
use crate::support::softhsm::scratch;

#[tokio::test]
async fn the_development_gateway_speaks_tls_and_keeps_its_certificate() {
    let gateway = Gateway::start_with(&["--tls"]);
    assert!(gateway.dev.endpoint.starts_with("https://127.0.0.1:"));
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let plaintext = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];
    let encrypted = gateway.call("Encrypt", &plaintext).await;
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), "SGVsbG8=");

    let before = fs::read(&ca_file).unwrap();
    let directory = gateway.stop();
    let gateway = Gateway::start_in(directory, &["--tls"]);
    assert_eq!(fs::read(&ca_file).unwrap(), before);
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), "SGVsbG8=");
}

#[tokio::test]
async fn a_client_without_the_ca_gets_no_answer_and_one_without_tls_a_refusal() {
    let gateway = Gateway::start_with(&["--tls"]);
    let plain = gateway.dev.endpoint.replace("https", "http");
    let call = async |endpoint: &str| {
        let client = Client::new(endpoint, &gateway.dev.access_key_id, "s".into()).unwrap();
        client.call("DescribeRegions", &[]).await.unwrap_err()
    };
    let error = call(&gateway.dev.endpoint).await;
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    let error = call(&plain).await;
    assert!(matches!(error, CallError::Refused { status: 400, .. }), "{error:?}");
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_no_call_is_lost() {
    let gateway = Gateway::start_with(&["--tls"]);
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let directory = ca_file.parent().unwrap().to_owned();
    let made = hsmgate(&["tls", "self-signed", "--force", "--out", directory.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    // The open connection goes on; a new client, which knows the new CA alone, gets in eventually.
    let secret = gateway.dev.access_key_secret.clone();
    let new_client = || {
        let (endpoint, id) = (&gateway.dev.endpoint, &gateway.dev.access_key_id);
        Client::trusting(Some(&ca_file), endpoint, id, secret.clone().into()).unwrap()
    };
    eventually(async || {
        gateway.call("DescribeRegions", &[]).await;
        new_client().call("DescribeRegions", &[]).await
    })
    .await;

    fs::write(directory.join("server.pem"), "no certificate").unwrap();
    until_async(async || {
        new_client().call("DescribeRegions", &[]).await.unwrap();
        gateway.log().contains("could not reload the TLS certificate")
    })
    .await;
    new_client().call("DescribeRegions", &[]).await.unwrap();
}

#[tokio::test]
async fn a_production_gateway_serves_tls_and_a_new_certificate_after_sighup() {
    let (installation, user) = Installation::prepared();
    let out = installation.path("tls");
    let make = ["tls", "self-signed", "--force", "--out", out.to_str().unwrap()];
    assert!(hsmgate(&make).status.success());
    installation.configure(|text| {
        let out = out.display();
        let tls =
            format!("[tls]\ncertificate = \"{out}/server.pem\"\nkey = \"{out}/server.key\"\n");
        text.push_str(&tls);
    });
    let server = installation.serve();
    let endpoint = server.endpoint.replace("http://", "https://");
    let client = || {
        let secret = user.secret.clone().into();
        Client::trusting(Some(&out.join("ca.pem")), &endpoint, &user.id, secret).unwrap()
    };
    client().call("DescribeRegions", &[]).await.unwrap();
    assert!(hsmgate(&make).status.success());
    server.signal("HUP");
    eventually(async || client().call("DescribeRegions", &[]).await).await;
    assert_eq!(server.stop(), Some(0));

    let key = fs::Permissions::from_mode(0o644);
    fs::set_permissions(out.join("server.key"), key).unwrap();
    let told = installation.configured(&["serve"]).failed(2);
    assert!(told.contains("server.key is accessible to other users"), "{told}");
}

#[test]
fn an_existing_certificate_is_replaced_only_with_force() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("tls");
    let arguments = ["tls", "self-signed", "--name", "kms.example", "--out", out.to_str().unwrap()];
    assert!(hsmgate(&arguments).status.success());
    let before = fs::read(out.join("server.pem")).unwrap();
    assert_eq!(hsmgate(&arguments).status.code(), Some(2));
    assert_eq!(fs::read(out.join("server.pem")).unwrap(), before);
    let forced = hsmgate(&[&arguments[..], &["--force", "--json"]].concat());
    assert!(forced.status.success());
    let made: serde_json::Value = serde_json::from_slice(&forced.stdout).unwrap();
    assert_eq!(made["certificate"], out.join("server.pem").to_str().unwrap());
    assert_ne!(fs::read(out.join("server.pem")).unwrap(), before);
}

/// Names of the vendor's service, and one host below each wildcard among them.
const CLOUD_NAMES: [&str; 3] = [
    "kms.cn-hangzhou.aliyuncs.com",
    "kms-vpc.cn-hangzhou.aliyuncs.com",
    "*.cryptoservice.kms.aliyuncs.com",
];
const CLOUD_HOSTS: [&str; 3] = [
    "kms.cn-hangzhou.aliyuncs.com",
    "kms-vpc.cn-hangzhou.aliyuncs.com",
    "kst-hzz1.cryptoservice.kms.aliyuncs.com",
];

#[test]
fn the_strict_checks_of_openssl_take_the_chain_under_every_name() {
    let directory = TempDir::new().unwrap();
    let out = directory.path();
    let mut arguments = vec!["tls", "self-signed", "--out", out.to_str().unwrap()];
    arguments.extend(CLOUD_NAMES.iter().flat_map(|name| ["--name", name]));
    assert!(hsmgate(&arguments).status.success());
    let root = out.join("root.pem");
    let ca = fs::read_to_string(out.join("ca.pem")).unwrap();
    let at = ca.rfind("-----BEGIN").unwrap();
    assert!(at > 0, "two certificates, the root's behind the other");
    fs::write(&root, &ca[at..]).unwrap();
    // What the server sends is enough for who trusts the root alone, and for who trusts the file.
    for trusted in [root, out.join("ca.pem")] {
        for name in [&CLOUD_HOSTS[..], &["localhost"]].concat() {
            let checked = verified(out, &trusted, &["-verify_hostname", name]);
            assert!(checked.status.success(), "{name}: {checked:?}");
        }
        for address in ["127.0.0.1", "::1"] {
            let checked = verified(out, &trusted, &["-verify_ip", address]);
            assert!(checked.status.success(), "{address}: {checked:?}");
        }
        for other in ["kms.cn-beijing.aliyuncs.com", "a.b.cryptoservice.kms.aliyuncs.com"] {
            let checked = verified(out, &trusted, &["-verify_hostname", other]);
            assert!(!checked.status.success(), "{other}");
        }
    }
}

/// What `openssl verify` says of the server's certificate.
fn verified(out: &Path, trusted: &Path, check: &[&str]) -> std::process::Output {
    let server = out.join("server.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver"]);
    openssl.arg("-no-CApath").arg("-CAfile").arg(trusted).arg("-untrusted").arg(&server);
    openssl.args(check).arg(server).output().expect("openssl runs")
}

/// Asks `GET /` of the gateway as a host of that name, with all checks that Python has.
const PYTHON: &str = r#"
import socket, ssl, sys
port, ca, names = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT
for name in names:
    with socket.create_connection(("127.0.0.1", port)) as raw:
        with context.wrap_socket(raw, server_hostname=name) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            assert tls.recv(9) == b"HTTP/1.1 ", name
"#;

/// The same with Node.
const NODE: &str = r#"
const tls = require("tls"), fs = require("fs");
const [port, file, ...names] = process.argv.slice(1);
const ca = fs.readFileSync(file);
for (const servername of names) {
    const socket = tls.connect({ host: "127.0.0.1", port: Number(port), ca, servername }, () => {
        if (!socket.authorized) throw new Error(servername + ": " + socket.authorizationError);
        socket.write("GET / HTTP/1.1\r\nHost: " + servername + "\r\nConnection: close\r\n\r\n");
    });
    socket.on("data", () => {});
}
"#;

#[tokio::test]
async fn the_development_gateway_has_the_names_that_it_is_given() {
    let named: Vec<_> = CLOUD_NAMES.iter().flat_map(|name| ["--tls-name", *name]).collect();
    let options = [&["--tls"], &named[..]].concat();
    let gateway = Gateway::start_with(&options);
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let port = gateway.dev.endpoint.rsplit(':').next().unwrap();
    let arguments = [&[port, ca_file.to_str().unwrap(), "localhost"], &CLOUD_HOSTS[..]].concat();
    for (program, option, text) in [("python3", "-c", PYTHON), ("node", "-e", NODE)] {
        let ran = Command::new(program).args([option, text]).args(&arguments).output();
        let ran = ran.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(ran.status.success(), "{program}: {ran:?}");
    }

    // The same names, some of them or none: the same certificate.
    let before = fs::read(&ca_file).unwrap();
    let mut directory = gateway.stop();
    for options in [&options[..], &["--tls", "--tls-name", CLOUD_HOSTS[2]], &["--tls"]] {
        let gateway = Gateway::start_in(directory, options);
        gateway.call("DescribeRegions", &[]).await;
        directory = gateway.stop();
    }
    // Another name needs another CA, which no client knows yet: only who says so gets it.
    let state = directory.path().join("state");
    let refused = hsmgate(&[
        "dev",
        "--dir",
        state.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--tls",
        "--tls-name",
        "kms.example",
    ]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("is not valid for kms.example"), "{told}");
    assert_eq!(fs::read(&ca_file).unwrap(), before);
    let out = state.join("tls");
    let anew = ["tls", "self-signed", "--force", "--name", "kms.example", "--out"];
    assert!(hsmgate(&[&anew[..], &[out.to_str().unwrap()]].concat()).status.success());
    let options = ["--tls", "--tls-name", "kms.example"];
    let gateway = Gateway::start_in(directory, &options);
    gateway.call("DescribeRegions", &[]).await;
    assert_ne!(fs::read(&ca_file).unwrap(), before);
}

#[tokio::test]
async fn a_directory_with_an_older_ca_keeps_it_until_a_new_one_is_requested() {
    let directory = TempDir::new_in(scratch()).unwrap();
    let (ca_file, ca) = older_form(&directory.path().join("state/tls"));
    let gateway = Gateway::start_in(directory, &["--tls"]);
    gateway.call("DescribeRegions", &[]).await;
    until(|| gateway.log().contains("tls.single_ca")).await;
    let directory = gateway.stop();
    let gateway = Gateway::start_in(directory, &["--tls"]);
    assert_eq!(gateway.dev.ca_file.as_deref(), Some(&*ca_file));
    gateway.call("DescribeRegions", &[]).await;
    assert_eq!(fs::read_to_string(&ca_file).unwrap(), ca);
}

/// One self-signed CA and a server certificate of it.
fn older_form(directory: &Path) -> (PathBuf, String) {
    fs::create_dir_all(directory).unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let file = |name: &str, text: &str| {
        fs::write(directory.join(name), text).unwrap();
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        directory.join(name)
    };
    file("server.pem", &server.pem());
    file("server.key", &key.serialize_pem());
    (file("ca.pem", &ca), ca)
}

fn hsmgate(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_hsmgate")).args(arguments).output().unwrap()
}
