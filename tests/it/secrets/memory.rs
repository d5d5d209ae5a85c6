//! No value remains in the memory of the gateway after a request, while its connections stay open.

#![expect(clippy::print_stdout, reason = "a test that is not run says so")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use hsmgate::api::instance::messages::GetSecretValueResponse;
use tempfile::TempDir;

use super::client_keys::{reader, request};
use super::privacy::files_with;
use super::{create, create_with, put, value};
use crate::support::admin_client;
use crate::support::gateway::Gateway;
use crate::support::installation::run;
use crate::support::process::until;
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};
use crate::support::softhsm::scratch;

/// In no other text. Each piece of a value of this is found alone.
const MARKER: &str = "Rk7vMarkerW3xQzB";
/// The bytes that are read at once.
const PIECE: usize = 1 << 20;
/// The number of searches before a copy counts as one that remains.
const SEARCHES: u32 = 20;
const LONGEST_VALUE: usize = 30_720;

/// The mappings of a process that contain the marker, once for each copy, with its surroundings.
fn copies(process: u32) -> io::Result<Vec<String>> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut found = Vec::new();
    for mapping in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let Some((range, rest)) = mapping.split_once(' ') else { continue };
        if !rest.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap().min(PIECE);
            let mut piece = vec![0; length];
            // Unmapped meanwhile.
            let Ok(read) = memory.read_at(&mut piece, at) else { break };
            piece.truncate(read);
            for position in memchr::memmem::find_iter(&piece, MARKER.as_bytes()) {
                let around = &piece[position.saturating_sub(48)..(position + 48).min(read)];
                found.push(format!("{at:x}+{position:x}: {}", around.escape_ascii()));
            }
            if read == 0 || at + read as u64 >= end {
                break;
            }
            // A marker may be across two pieces.
            at += (read.saturating_sub(MARKER.len())).max(1) as u64;
        }
    }
    Ok(found)
}

/// Whether this process may read the memory of a gateway, which forbids it to all others but root.
fn may_read_memory(gateway: &Gateway) -> bool {
    let may = File::open(format!("/proc/{}/mem", gateway.process_id())).is_ok();
    if !may {
        assert!(std::env::var_os("CI").is_none(), "run as root, or with CAP_SYS_PTRACE");
        println!("not tested: the memory of the gateway cannot be read without CAP_SYS_PTRACE");
    }
    may
}

async fn assert_forgotten(gateway: &Gateway, after: &str) {
    // The gateway waits for the next request a moment after its answer.
    let (mut last, mut searches) = (Vec::new(), 0);
    until(|| {
        last = copies(gateway.process_id()).unwrap();
        searches += 1;
        last.is_empty() || searches == SEARCHES
    })
    .await;
    let count = last.len();
    last.truncate(3);
    assert!(last.is_empty(), "{count} copies after {after}:\n{}", last.join("\n"));
}

fn start(options: &[&str]) -> Gateway {
    Gateway::start_in(TempDir::new_in(scratch()).unwrap(), options)
}

fn long_value() -> String {
    MARKER.repeat(LONGEST_VALUE / MARKER.len())
}

/// Writes and reads by the connections that the client keeps open.
async fn write_and_read(gateway: &Gateway) {
    create(gateway, "short", MARKER).await;
    assert_forgotten(gateway, "CreateSecret").await;
    put(gateway, "short", "v2", &long_value()).await;
    assert_forgotten(gateway, "PutSecretValue of the longest value").await;
    put(gateway, "short", "v2", &long_value()).await;
    let wrong = [("SecretName", "short"), ("VersionId", "v2"), ("SecretData", MARKER)];
    gateway.refused("PutSecretValue", &wrong).await;
    assert_forgotten(gateway, "PutSecretValue of an existing version").await;
    assert_eq!(value(gateway, "short").await, long_value());
    let list = r#"[{"SecretName":"short"},{"SecretName":"short","VersionId":"v1"}]"#;
    gateway.call("BatchGetSecretValue", &[("SecretsList", list)]).await;
    assert_forgotten(gateway, "reads").await;
}

#[tokio::test]
async fn the_search_finds_a_value_that_is_in_memory() {
    let value = MARKER.repeat(3);
    assert!(copies(std::process::id()).unwrap().len() >= 3, "{value}");
}

#[tokio::test]
async fn no_memory_has_a_value_after_requests_over_http() {
    let gateway = start(&[]);
    if !may_read_memory(&gateway) {
        return;
    }
    write_and_read(&gateway).await;
    let mut open = Vec::new();
    for (number, location) in
        [ParamLocation::GetQuery, ParamLocation::PostQuery, ParamLocation::PostForm]
            .into_iter()
            .enumerate()
    {
        for (length, data) in [("short", MARKER.to_owned()), ("long", long_value())] {
            for signing in [Signing::Rpc1, Signing::Acs3] {
                let variant = SigningVariant(signing, location);
                let name = format!("{length}-{number}-{}", signing == Signing::Rpc1);
                let params = [("SecretName", &*name), ("VersionId", "v1"), ("SecretData", &data)];
                let call = Call::new(&gateway, variant, "CreateSecret", &params).signed();
                let mut refused = Connection::open(gateway.address()).await;
                let changed = String::from_utf8(call.bytes()).unwrap();
                refused.send(changed.replace("VersionId=v1", "VersionId=v9").as_bytes()).await;
                assert_eq!(refused.answer().await.unwrap().status, 400);
                assert_forgotten(&gateway, &format!("a bad signature {name} {location:?}")).await;
                open.push(refused);
                let mut connection = Connection::open(gateway.address()).await;
                connection.send(&call.bytes()).await;
                assert_eq!(connection.answer().await.unwrap().status, 200);
                assert_forgotten(&gateway, &format!("CreateSecret {name} {location:?}")).await;
                // In XML, by the same connection.
                let params = [("SecretName", &*name), ("Format", "XML")];
                let mut call = Call::new(&gateway, variant, "GetSecretValue", &params);
                call.set("Format", "XML");
                connection.send(&call.signed().bytes()).await;
                let read = connection.answer().await.unwrap();
                assert!(read.body.contains("<SecretData>Rk7v"), "{}", read.status);
                assert_forgotten(&gateway, &format!("GetSecretValue {name} {location:?}")).await;
                open.push(connection);
            }
        }
    }
    let client = reader(&gateway, "point", r#"["secret/*"]"#).await;
    let read: (GetSecretValueResponse, _) = client.call("GetSecretValue", &request("short")).await;
    assert_eq!(read.0.secret_data, long_value());
    assert_forgotten(&gateway, "GetSecretValue of the instance protocol").await;
}

#[tokio::test]
async fn no_memory_has_a_value_after_requests_over_tls() {
    let gateway = start(&["--tls"]);
    if may_read_memory(&gateway) {
        write_and_read(&gateway).await;
    }
}

/// Calls a command of the secrets as the user of the gateway for development.
fn command(gateway: &Gateway, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command
        .arg("secret")
        .args(arguments)
        .env("HSMGATE_ENDPOINT", &gateway.dev.endpoint)
        .env("HSMGATE_ACCESS_KEY_ID", &gateway.dev.access_key_id)
        .env("HSMGATE_ACCESS_KEY_SECRET", &gateway.dev.access_key_secret)
        .stderr(Stdio::piped());
    let outcome = run(command, input);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.stdout
}

#[tokio::test]
async fn neither_memory_nor_files_nor_metrics_nor_a_backup_have_a_value() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let variables = [("HSMGATE_LOG", "trace".as_ref())];
    let gateway = Gateway::start_with_environment(dir, &[], &variables);
    let key = gateway.dev.key_id.clone();
    create_with(&gateway, "db", MARKER, &[("EncryptionKeyId", &key)]).await;
    command(&gateway, &["put", "db"], long_value().as_bytes());
    assert_eq!(command(&gateway, &["get", "db"], b""), long_value().as_bytes());
    gateway.call("CreateKeyVersion", &[("KeyId", &key)]).await;
    put(&gateway, "db", "v3", MARKER).await;
    assert_eq!(value(&gateway, "db").await, MARKER);
    let (status, metrics) = admin_client::get(&gateway.dev.admin, "/metrics").await;
    assert!(status == 200 && !metrics.contains(MARKER));
    if may_read_memory(&gateway) {
        assert_forgotten(&gateway, "commands and calls").await;
    }
    let state = gateway.state();
    let mut backup = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    backup
        .args(["backup", "--out"])
        .arg(state.join("backup.db"))
        .arg("--config")
        .arg(state.join("hsmgate.toml"))
        .env("SOFTHSM2_CONF", state.join("softhsm2.conf"))
        .env("HSMGATE_ALLOW_ROOT", "1");
    run(backup, b"").done();
    assert!(state.join("backup.db").exists());
    let dir = gateway.stop();
    assert_eq!(files_with(dir.path(), MARKER), Vec::<String>::new());
}
