//! What `hsmgate doctor` finds. It changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmgate::cli::client::Client;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::support::gateway::{Gateway, text};
use crate::support::installation::{self, Installation, Server};

/// With two keys, and no gateway running.
async fn with_keys() -> Installation {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    for params in [&[][..], &[("KeySpec", "EC_P256")]] {
        client.call("CreateKey", params).await.unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    installation
}

/// The checks with this verdict, by name.
fn named(checks: &Value, verdict: &str) -> Vec<String> {
    let checks = checks["checks"].as_array().unwrap().iter();
    let is_it = |check: &&Value| check["verdict"] == verdict;
    checks.filter(is_it).map(|check| text(&check["name"]).to_owned()).collect()
}

fn examined(installation: &Installation, code: i32) -> Value {
    let outcome = installation.configured(&["doctor", "--json"]);
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    serde_json::from_slice(&outcome.stdout).unwrap()
}

/// The one thing that is wrong.
#[track_caller]
fn found(installation: &Installation, name: &str) {
    let checks = examined(installation, 7);
    assert_eq!(checks["is_well"], false);
    assert_eq!(named(&checks, "failed"), [name], "{checks}");
    let failed = checks["checks"].as_array().unwrap().iter();
    let failed = failed.clone().find(|check| check["verdict"] == "failed").unwrap();
    assert!(!text(&failed["remedy"]).is_empty());
}

/// Every file below, with what is in it.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// The files of SoftHSM2 that hold key objects.
fn objects(installation: &Installation) -> Vec<PathBuf> {
    let files = contents(&installation.path("tokens")).into_iter().map(|(path, _)| path);
    let is_object = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.ends_with(".object") && name != "token.object"
    };
    files.filter(is_object).collect()
}

/// Every object, and every row of what matters.
async fn state(installation: &Installation) -> (Vec<Vec<u8>>, Vec<String>) {
    let objects = objects(installation).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut database = installation.database().await;
    let rows = sqlx::query_scalar(
        "SELECT id || state || hex(row_mac) FROM keys UNION ALL SELECT id || is_live FROM key_versions \
         UNION ALL SELECT name || value FROM facts UNION ALL SELECT id || principal FROM access_keys",
    );
    (objects, rows.fetch_all(&mut database).await.unwrap())
}

#[tokio::test]
async fn a_healthy_installation_has_no_fault_and_is_not_changed() {
    let installation = with_keys().await;
    let before = state(&installation).await;
    let checks = examined(&installation, 0);
    assert_eq!(checks["is_well"], true);
    assert_eq!(named(&checks, "failed"), Vec::<String>::new(), "{checks}");
    let deep: Value = installation.configured(&["doctor", "--deep", "--json"]).json();
    assert!(named(&deep, "ok").contains(&"capability rsa-4096".to_owned()), "{deep}");
    assert!(state(&installation).await == before, "it changes nothing");
    let table = installation.configured(&["doctor"]).done();
    assert!(table.contains("key objects") && !table.contains("user-pin-8163"), "{table}");
}

#[tokio::test]
async fn a_key_that_only_the_database_knows_is_found() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let before = objects(&installation);
    server.client(&user).call("CreateKey", &[]).await.unwrap();
    let mut made = objects(&installation);
    made.retain(|object| !before.contains(object));
    assert_eq!(server.stop(), Some(0));
    for object in made {
        // The counter of the database has another object since the stop.
        fs::remove_file(object).ok();
    }
    found(&installation, "rows without an object");
}

#[tokio::test]
async fn a_key_that_only_the_token_knows_is_found() {
    let installation = with_keys().await;
    installation.change("DELETE FROM keys").await;
    found(&installation, "objects without a row");
}

#[tokio::test]
async fn an_object_of_a_key_that_was_destroyed_is_found() {
    let installation = with_keys().await;
    installation
        .change(
            "INSERT INTO key_tombstones (key_id, account, removed) SELECT id, account, 1 FROM keys",
        )
        .await;
    installation.change("DELETE FROM keys").await;
    found(&installation, "destroyed keys");
}

#[tokio::test]
async fn the_other_checks_run_without_the_token() {
    let installation = with_keys().await;
    fs::rename(installation.path("tokens"), installation.path("away")).unwrap();
    fs::create_dir(installation.path("tokens")).unwrap();
    found(&installation, "token");
    assert!(named(&examined(&installation, 7), "ok").contains(&"database".to_owned()));
}

#[tokio::test]
async fn a_wrong_pin_and_one_that_others_can_read_are_found() {
    let installation = with_keys().await;
    let pin = installation.path("pin");
    fs::set_permissions(&pin, Permissions::from_mode(0o644)).unwrap();
    found(&installation, "PIN file");
    fs::set_permissions(&pin, Permissions::from_mode(0o600)).unwrap();
    fs::write(&pin, "wrong-pin").unwrap();
    found(&installation, "token");
    let told = String::from_utf8(installation.configured(&["doctor"]).stdout).unwrap();
    assert!(!told.contains("wrong-pin"), "{told}");
}

#[tokio::test]
async fn a_damaged_or_lost_database_is_found() {
    let installation = with_keys().await;
    let database = installation.path("hsmgate.db");
    let whole = fs::read(&database).unwrap();
    let mut damaged = whole.clone();
    damaged[8192..].fill(0xa5);
    fs::write(&database, damaged).unwrap();
    found(&installation, "database");
    fs::remove_file(&database).unwrap();
    found(&installation, "database");
    assert!(!database.exists(), "it makes nothing");
}

#[tokio::test]
async fn a_database_of_another_token_is_found() {
    let installation = with_keys().await;
    // With another number alone, it may be another member of a group of HSMs.
    installation
        .change("UPDATE facts SET value = 'feed' WHERE name IN ('token-serial', 'token-label')")
        .await;
    found(&installation, "belonging");
}

#[tokio::test]
async fn a_clock_that_is_behind_the_database_is_found() {
    let installation = with_keys().await;
    installation.change("UPDATE keys SET created = created + 86400").await;
    found(&installation, "clock");
}

#[tokio::test]
async fn tables_of_a_newer_program_are_found() {
    let installation = with_keys().await;
    installation
        .tamper(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99990101, 'later', 1, x'00', 0)",
        )
        .await;
    found(&installation, "database");
}

#[tokio::test]
async fn an_expired_certificate_is_found() {
    let installation = with_keys().await;
    let (certificate, key) = (installation.path("server.pem"), installation.path("server.key"));
    let mut params = CertificateParams::new(["kms.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let pair = KeyPair::generate().unwrap();
    fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    installation.configure(|text| {
        let (certificate, key) = (certificate.display(), key.display());
        let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        text.push_str(&tls);
    });
    found(&installation, "certificate");
}

#[tokio::test]
async fn an_audit_file_that_is_another_file_is_found() {
    let installation = with_keys().await;
    fs::write(installation.audit_file(), "nothing of ours\n").unwrap();
    found(&installation, "audit file");
}

#[tokio::test]
async fn incomplete_objects_of_a_killed_process_are_reported_and_are_no_fault() {
    let installation = with_keys().await;
    installation.change("UPDATE key_versions SET is_live = 0").await;
    let checks = examined(&installation, 0);
    assert!(named(&checks, "warning").contains(&"incomplete keys".to_owned()), "{checks}");
}

/// A key that waits for its material, and a wrapping pair for that.
async fn begin_import(client: &Client) {
    let made = client.call("CreateKey", &[("Origin", "EXTERNAL")]).await.unwrap();
    let wanted = [
        ("KeyId", text(&made["KeyMetadata"]["KeyId"])),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_1"),
    ];
    client.call("GetParametersForImport", &wanted).await.unwrap();
}

/// The files of the token's objects, the largest first.
fn object_files(installation: &Installation) -> Vec<PathBuf> {
    let mut files = contents(&installation.path("tokens"));
    files.retain(|(path, _bytes)| path.extension().is_some_and(|is| is == "object"));
    files.sort_by_key(|(_path, bytes)| std::cmp::Reverse(bytes.len()));
    files.into_iter().map(|(path, _bytes)| path).collect()
}

#[tokio::test]
async fn half_a_pair_is_a_fault_of_a_key_and_none_of_an_import_that_was_killed() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    begin_import(&client).await;
    // Of a pair the private half is the larger file.
    fs::remove_file(&object_files(&installation)[0]).unwrap();
    let checks = examined(&installation, 0);
    assert_eq!(named(&checks, "failed"), [""; 0], "{checks}");
    assert!(named(&checks, "warning").contains(&"incomplete objects".to_owned()), "{checks}");
    let rsa = [("KeySpec", "RSA_2048"), ("KeyUsage", "SIGN/VERIFY")];
    client.call("CreateKey", &rsa).await.unwrap();
    fs::remove_file(&object_files(&installation)[0]).unwrap();
    found(&installation, "key objects");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_key_pair_without_its_import_token_is_reported_and_is_no_fault() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    begin_import(&server.client(&user)).await;
    assert_eq!(server.stop(), Some(0));
    installation.change("DELETE FROM documents WHERE kind = 'import-parameters'").await;
    let checks = examined(&installation, 0);
    assert!(named(&checks, "warning").contains(&"import-wrapping pairs".to_owned()), "{checks}");
}

/// So many keys of each kind: a look takes the longer the more there are, and they must not come
/// faster than it looks.
const KEYS_AT_WORK: usize = 150;

#[tokio::test]
async fn a_running_gateway_has_no_fault() {
    let (installation, user) = Installation::prepared();
    let server: Server = installation.serve();
    let client = server.client(&user);
    let work = tokio::spawn(async move {
        for _ in 0..KEYS_AT_WORK {
            client.call("CreateKey", &[]).await.unwrap();
            client.call("CreateKey", &[("KeySpec", "EC_P256")]).await.unwrap();
        }
    });
    let looks = tokio::task::spawn_blocking(move || {
        let mut looks = 0;
        while !work.is_finished() {
            assert_eq!(examined(&installation, 0)["is_well"], true);
            looks += 1;
        }
        (installation, work, looks)
    });
    let (_installation, work, looks) = looks.await.unwrap();
    work.await.unwrap();
    assert!(looks > 0);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_gateway_for_development_leaves_a_configuration_for_the_commands_that_take_one() {
    let gateway = Gateway::start_with(&["--tls"]);
    let state = gateway.state();
    let config = state.join("hsmgate.toml");
    let config = config.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
        command.args(arguments).env("SOFTHSM2_CONF", state.join("softhsm2.conf"));
        installation::run(command, b"")
    };
    let told = run(&["doctor", "--json", "--config", config]).json();
    assert_eq!(told["is_well"], true, "{told}");
    assert!(named(&told, "ok").contains(&"certificate".to_owned()), "{told}");
    let backup = state.join("backup.db");
    run(&["backup", "--config", config, "--out", backup.to_str().unwrap()]).done();
    assert!(backup.is_file());
}

#[test]
fn operators_that_do_not_exist_or_can_act_as_two_persons_are_reported() {
    let (installation, _user) = Installation::prepared();
    let operators = |duties: &str| {
        installation.configure(|text| {
            text.push_str("[approval]\noperations = [\"AccessPoints\"]\n[operators]\n");
            text.push_str(duties);
        });
        let checks = examined(&installation, 0);
        let checks = checks["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["name"] == "operators").unwrap();
        (text(&check["verdict"]).to_owned(), text(&check["found"]).to_owned())
    };
    let (verdict, found) = operators("revoke = [\"no-such-account\", \"root\"]\n");
    assert_eq!(verdict, "warning");
    assert_eq!(found, "these accounts do not exist: no-such-account");
    let duties = "principals = [\"root\", \"1000\"]\napprovals = [\"1000\", \"1001\"]\n";
    let (verdict, found) = operators(duties);
    assert_eq!(verdict, "warning");
    assert!(found.ends_with("release its dangerous calls: 1000"), "{found}");
    let (verdict, _found) = operators("principals = [\"root\"]\napprovals = [\"1001\"]\n");
    assert_eq!(verdict, "ok");
}
