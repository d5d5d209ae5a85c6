//! `hsmgate dev` for containers and scripts, and `hsmgate ready`.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::installation::{Installation, run};
use crate::support::process::{LIMIT, Process, within};
use crate::support::softhsm::{module, scratch};

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    command.env("SOFTHSM2_MODULE", module());
    command
}

#[test]
fn a_container_takes_its_access_key_from_the_environment_and_prints_what_clients_need() {
    let directory = TempDir::new_in(scratch()).unwrap();
    let arguments = [
        "dev",
        "--listen",
        "0.0.0.0:0",
        "--listen-beyond-loopback",
        "--account",
        "1111222233334444",
        "--region",
        "cn-beijing",
        "--env",
        "--quiet",
    ];
    let mut gateway = command(directory.path(), &arguments)
        .env("HSMGATE_DEV_ACCESS_KEY_ID", "LTAI-of-compose")
        .env("HSMGATE_DEV_ACCESS_KEY_SECRET", "s3cret-of-compose")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, stderr) = (gateway.stdout.take().unwrap(), gateway.stderr.take().unwrap());
    let process = Process::of(gateway);
    // Its file is not there yet at first.
    run(command(directory.path(), &["ready", "--timeout", "60"]), b"").done();
    let mut lines = BufReader::new(stdout).lines();
    let mut line = move || lines.next().unwrap().unwrap();
    let exports = within(LIMIT, move || [line(), line(), line()]).unwrap();
    let values = exports.map(|line| line.split_once('=').unwrap().1.replace('\'', ""));
    assert!(values[0].starts_with("http://127.0.0.1:"), "{values:?}");
    assert_eq!(values[1..], ["LTAI-of-compose", "s3cret-of-compose"]);
    // The client commands read the same from the directory.
    let described =
        run(command(directory.path(), &["key", "describe", "alias/demo", "--json"]), b"");
    let arn = described.json()["Arn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with("acs:kms:cn-beijing:1111222233334444:key/"), "{arn}");
    process.signal("TERM");
    assert!(process.wait().unwrap().success());
    let told: Vec<_> = BufReader::new(stderr).lines().map(Result::unwrap).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("a gateway for development listens beyond loopback"), "{told:?}");
    assert!(directory.path().join(".hsmgate/first_encryption.py").is_file());
}

/// The first request of `hsmgate dev` itself asks for a key that does not exist yet, which reads like a fault.
#[test]
fn the_banner_is_the_last_that_a_start_prints() {
    let directory = TempDir::new_in(scratch()).unwrap();
    let mut gateway = command(directory.path(), &["dev", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = gateway.stderr.take().unwrap();
    let process = Process::of(gateway);
    run(command(directory.path(), &["ready", "--timeout", "60"]), b"").done();
    run(command(directory.path(), &["key", "list"]), b"").done();
    process.signal("TERM");
    assert!(process.wait().unwrap().success());
    let told: Vec<_> = BufReader::new(stderr).lines().map(Result::unwrap).collect();
    let requests: Vec<_> = told.iter().filter(|line| line.contains("hsmgate::request")).collect();
    assert!(requests[0].contains("ListKeys"), "{told:?}");
    let banner = told.iter().position(|line| line.contains("first_encryption.py")).unwrap();
    assert!(told[banner + 1].is_empty() && told[banner + 2] == *requests[0], "{told:?}");
}

#[test]
fn ready_waits_for_the_gateway_of_a_configuration_and_says_why_it_is_not() {
    let (installation, _admin) = Installation::prepared();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = installation.configured(&["ready", "--timeout", "0"]).failed(2);
    assert!(told.contains("admin.address is empty"), "{told}");
    installation.configure(|text| {
        *text = text.replace("[admin]\naddress = \"\"", &format!("[admin]\naddress = \"{free}\""));
    });
    let told = installation.configured(&["ready", "--timeout", "0"]).failed(6);
    assert!(told.contains(&format!("not ready after 0 s: http://{free}")), "{told}");
    let server = installation.serve();
    let url = format!("http://{free}/");
    assert_eq!(installation.configured(&["ready"]).done(), format!("{url} is ready\n"));
    let told = run(installation.command(&["ready", "--url", &url, "--json"]), b"").json();
    assert_eq!(told, json!({"url": url, "ready": true}));
    assert_eq!(server.stop(), Some(0));
    run(installation.command(&["ready", "--url", "https://h"]), b"").failed(2);
}
