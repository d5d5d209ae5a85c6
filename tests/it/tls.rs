//! TLS from outside: the development gateway over HTTPS, and `hsmgate tls self-signed`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use hsmgate::cli::client::{CallError, Client};
use tempfile::TempDir;

use crate::harness::{Gateway, text};
use crate::installation::Installation;

#[tokio::test]
async fn the_development_gateway_speaks_tls_and_keeps_its_certificate() {
    let gateway = Gateway::start_with(&["--tls"]);
    assert!(gateway.dev.endpoint.starts_with("https://127.0.0.1:"));
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let plaintext = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];
    let sealed = gateway.call("Encrypt", &plaintext).await;
    let blob = [("CiphertextBlob", text(&sealed["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), "SGVsbG8=");

    let before = std::fs::read(&ca_file).unwrap();
    let directory = gateway.process.stop();
    let gateway = Gateway::of(crate::gateway::Gateway::start_in(directory, &["--tls"]));
    assert_eq!(std::fs::read(&ca_file).unwrap(), before);
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), "SGVsbG8=");
}

#[tokio::test]
async fn a_client_without_the_ca_and_one_without_tls_get_no_answer() {
    let gateway = Gateway::start_with(&["--tls"]);
    let plain = gateway.dev.endpoint.replace("https", "http");
    for endpoint in [gateway.dev.endpoint.as_str(), &plain] {
        let client = Client::new(endpoint, &gateway.dev.access_key_id, "s".into()).unwrap();
        let error = client.call("DescribeRegions", &[]).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable(_)), "{endpoint}: {error:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_by_itself_and_no_call_is_lost() {
    let gateway = Gateway::start_with(&["--tls"]);
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let directory = ca_file.parent().unwrap().to_owned();
    let made = hsmgate(&["tls", "self-signed", "--force", "--out", directory.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    // The open connection goes on; a new client, which knows the new CA alone, gets in soon.
    let secret = gateway.dev.access_key_secret.clone();
    let new_client = || {
        let (endpoint, id) = (&gateway.dev.endpoint, &gateway.dev.access_key_id);
        Client::trusting(Some(&ca_file), endpoint, id, secret.clone().into()).unwrap()
    };
    let give_up = Instant::now() + Duration::from_mins(1);
    while new_client().call("DescribeRegions", &[]).await.is_err() {
        assert!(Instant::now() < give_up, "{}", gateway.process.log());
        gateway.call("DescribeRegions", &[]).await;
    }

    std::fs::write(directory.join("server.pem"), "no certificate").unwrap();
    while !gateway.process.log().contains("the TLS certificate stays the old one") {
        assert!(Instant::now() < give_up, "{}", gateway.process.log());
        new_client().call("DescribeRegions", &[]).await.unwrap();
    }
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
    let give_up = Instant::now() + Duration::from_mins(1);
    while client().call("DescribeRegions", &[]).await.is_err() {
        assert!(Instant::now() < give_up);
    }
    assert_eq!(server.stop(), Some(0));

    let key = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(out.join("server.key"), key).unwrap();
    let told = installation.configured(&["serve"]).failed(2);
    assert!(told.contains("server.key is open to others"), "{told}");
}

#[test]
fn a_certificate_that_is_there_is_replaced_by_force_only() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("tls");
    let arguments = ["tls", "self-signed", "--name", "kms.example", "--out", out.to_str().unwrap()];
    assert!(hsmgate(&arguments).status.success());
    let before = std::fs::read(out.join("server.pem")).unwrap();
    assert_eq!(hsmgate(&arguments).status.code(), Some(2));
    assert_eq!(std::fs::read(out.join("server.pem")).unwrap(), before);
    assert!(hsmgate(&[&arguments[..], &["--force"]].concat()).status.success());
    assert_ne!(std::fs::read(out.join("server.pem")).unwrap(), before);
}

fn hsmgate(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_hsmgate")).args(arguments).output().unwrap()
}
