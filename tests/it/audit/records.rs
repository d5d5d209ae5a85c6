//! The audit log: each operation is recorded before its answer, also if the process is killed or
//! the disk is full.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmgate::api::rpc::table::TABLE;
use hsmgate::audit::{Expectation, Report, Verifier};
use hsmgate::cli::client::{CallError, Client};
use secrecy::SecretString;
use serde_json::Value;

use crate::support::admin_client::{get, metric};
use crate::support::audit_file::records;
use crate::support::calls::until_code;
use crate::support::gateway::{Gateway, text};
use crate::support::installation::{AccessKey, Installation, Outcome, run};
use crate::support::process::{signal, until, until_async};
use crate::support::recorded::{Recorded, fault_kinds};
use crate::support::small_disk::SmallDisk;

const MARKER: &str = "bWFya2VyLXBsYWludGV4dC03Zg==";
/// The default of `audit.timeout_ms`: a refusal that comes sooner has not waited for its record.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);
/// A change of the disk is noticed sooner, also on a busy machine.
const NOTICED: Duration = Duration::from_secs(10);
const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", MARKER)];

fn audit_file(gateway: &Gateway) -> PathBuf {
    gateway.state().join("audit.jsonl")
}

fn verified(files: &[PathBuf]) -> Report {
    Verifier::new(None, Expectation::default()).files(files).unwrap()
}

fn events<'a>(records: &'a [Value], name: &str) -> Vec<&'a Value> {
    let is_event = |record: &&Value| record["record"] == "event" && record["eventName"] == name;
    records.iter().filter(is_event).collect()
}

#[tokio::test]
async fn every_operation_of_the_table_leaves_a_record() {
    let gateway = Gateway::start();
    let mut answered = HashMap::new();
    for entry in TABLE.iter() {
        let request_id =
            match gateway.client.clone().with_api(entry.api).call(entry.name, &[]).await {
                Ok(answer) => text(&answer["RequestId"]).to_owned(),
                Err(CallError::Refused { request_id, .. }) => request_id,
                Err(error) => panic!("{}: {error:?}", entry.name),
            };
        answered.insert(entry.name, request_id);
    }
    let unsupported = gateway.refused("GetChallenge", &[]).await;
    assert_eq!(unsupported.1, "UnsupportedOperation");
    let records = records(&audit_file(&gateway));
    for (name, request_id) in answered {
        let found = events(&records, name);
        if name == "DescribeRegions" {
            assert_eq!(found.len(), 0, "ActionTrail does not record it");
            continue;
        }
        let found = found.iter().find(|record| record["requestId"] == *request_id);
        let record = found.unwrap_or_else(|| panic!("{name} left no record"));
        assert_eq!(record["userIdentity"]["accessKeyId"], *gateway.dev.access_key_id);
    }
    let unsupported = events(&records, "GetChallenge");
    assert_eq!(unsupported.len(), 1);
    assert_eq!(unsupported[0]["userIdentity"]["userName"], "dev", "its signature was good");
    assert_eq!(verified(&[audit_file(&gateway)]).faults, []);
}

#[tokio::test]
async fn a_record_tells_who_did_what_with_which_key() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let context = r#"{"purpose":"payroll"}"#;
    let params = [("KeyId", &*key), ("Plaintext", MARKER), ("EncryptionContext", context)];
    let answer = gateway.call("Encrypt", &params).await;
    let gone = gateway.refused("DescribeKey", &[("KeyId", "key-hzz630494463ejqjx1234")]).await;
    assert_eq!(gone.0, 404);
    let records = records(&audit_file(&gateway));

    let encrypt = events(&records, "Encrypt");
    let record = encrypt.iter().find(|it| it["requestId"] == answer["RequestId"]).unwrap();
    assert_eq!(record["eventRW"], "Read");
    assert_eq!(record["resourceName"], *key);
    assert_eq!(record["requestParameters"]["EncryptionContext"], context);
    assert_eq!(record["responseElements"]["KeyVersionId"], answer["KeyVersionId"]);
    assert_eq!(record["sourceIpAddress"], "127.0.0.1");
    assert!(record.get("errorCode").is_none());

    let refused = events(&records, "DescribeKey").pop().unwrap();
    assert_eq!(refused["errorCode"], "Forbidden.KeyNotFound");
    assert_eq!(refused["responseElements"], Value::Null);

    let create = events(&records, "CreateKey").pop().unwrap();
    let at = |kind: &str| {
        let is_it = |it: &Value| it["record"] == kind && it["requestId"] == create["requestId"];
        records.iter().position(is_it).unwrap()
    };
    assert!(at("intent") < at("event"), "a change is announced before it is made");
    assert_eq!(create["resourceName"], *key);
}

#[tokio::test]
async fn a_refusal_before_authentication_is_recorded_and_cannot_forge_a_line() {
    let gateway = Gateway::start();
    let dev = &gateway.dev;
    let wrong = SecretString::from("wrong-secret-marker");
    let thief = Client::new(&dev.endpoint, &dev.access_key_id, wrong).unwrap();
    assert!(thief.call("Encrypt", &ENCRYPT).await.is_err());
    let evil = "alias/x\n{\"sequence\":1,\"record\":\"event\"}\r\u{9b}31m\u{2028}";
    gateway.refused("DescribeKey", &[("KeyId", evil)]).await;
    let raw = fs::read(audit_file(&gateway)).unwrap();
    let is_plain = |byte: &u8| *byte == b'\n' || (b' '..=b'~').contains(byte);
    assert!(raw.iter().all(is_plain));
    assert_eq!(verified(&[audit_file(&gateway)]).faults, []);
    let records = records(&audit_file(&gateway));
    let stolen = events(&records, "Encrypt");
    let stolen = stolen.iter().find(|it| it["errorCode"] == "SignatureDoesNotMatch").unwrap();
    assert_eq!(stolen["userIdentity"]["type"], "unknown");
    assert_eq!(stolen["userIdentity"]["accessKeyId"], *dev.access_key_id);
    let described = events(&records, "DescribeKey");
    assert!(described.iter().any(|it| it["requestParameters"]["KeyId"] == evil));
}

#[tokio::test]
async fn no_secret_is_in_audit_log_or_database() {
    let gateway = Gateway::start();
    let encrypted = gateway.call("Encrypt", &ENCRYPT).await;
    let blob = text(&encrypted["CiphertextBlob"]);
    gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    let data_key = gateway.call("GenerateDataKey", &[("KeyId", "alias/demo")]).await;
    let wrong = SecretString::from("wrong-secret-marker");
    let dev = gateway.dev.clone();
    let thief = Client::new(&dev.endpoint, &dev.access_key_id, wrong).unwrap();
    assert!(thief.call("Encrypt", &ENCRYPT).await.is_err());
    // In wrong places too.
    let misplaced = [("KeyId", "alias/demo"), ("plaintext", MARKER), ("SecurityToken", MARKER)];
    gateway.refused("Encrypt", &misplaced).await;
    let state = gateway.state();
    let pins: Vec<String> =
        ["pin", "so-pin"].map(|name| fs::read_to_string(state.join(name)).unwrap()).into();
    // Lines are written after their answers: all of them are there at the end.
    let directory = gateway.stop();
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    // Between the lines of the log, `dev` shows its AccessKey.
    let log: String = log.lines().filter(|line| line.starts_with("20")).collect();
    assert!(log.contains("hsmgate::request"));
    let mut places = vec![("log".to_owned(), log.into_bytes())];
    for entry in fs::read_dir(directory.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("audit.jsonl") || name.starts_with("hsmgate.db") {
            places.push((name, fs::read(path).unwrap()));
        }
    }
    assert!(places.len() >= 3);
    let mut markers = vec![MARKER, &dev.access_key_secret, "wrong-secret-marker"];
    markers.push(text(&data_key["Plaintext"]));
    markers.extend(pins.iter().map(String::as_str));
    for (name, bytes) in &places {
        for marker in &markers {
            let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
            assert!(!found, "{marker} is in {name}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_recorded_with_the_key_that_was_refused() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let admin = server.client(&admin);
    let create = ["access-key", "create", "--json", "--user", "outsider"];
    let outsider = server.client(&AccessKey::of(&installation.configured(&create).json()));
    let created = admin.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
    let alias = ("AliasName", "alias/vault");
    admin.call("CreateAlias", &[("KeyId", &key), alias]).await.unwrap();
    let plaintext = ("Plaintext", MARKER);
    let encrypted = admin.call("Encrypt", &[("KeyId", &key), plaintext]).await.unwrap();
    let blob = text(&encrypted["CiphertextBlob"]).to_owned();
    let version = text(&encrypted["KeyVersionId"]).to_owned();
    // A user that the gateway does not know yet is refused with another code.
    until_code(&outsider, "ListKeys", &[], "Forbidden.NoPermission").await;
    let unknown = "key-hzz630494463ejqjx1234";
    let key = key.as_str();
    let attempts = [
        ("Decrypt", vec![("CiphertextBlob", blob.as_str())], key),
        ("Encrypt", vec![("KeyId", "alias/vault"), plaintext], key),
        ("DescribeKeyVersion", vec![("KeyId", key), ("KeyVersionId", version.as_str())], key),
        ("DisableKey", vec![("KeyId", key)], key),
        ("DeleteAlias", vec![alias], key),
        ("DescribeKey", vec![("KeyId", unknown)], unknown),
    ];
    let mut answers = HashMap::new();
    for (action, params, key) in attempts {
        match outsider.call(action, &params).await {
            Err(CallError::Refused { status: 403, code, message, request_id }) => {
                assert_eq!(code, "Forbidden.NoPermission", "{action}");
                assert!(!message.contains(key), "{action}: {message}");
                answers.insert(request_id, (action, key.to_owned()));
            }
            other => panic!("{action} was not refused: {other:?}"),
        }
    }
    until(|| answers.keys().all(|request_id| server.has_logged(request_id))).await;
    let log = server.log();
    assert_eq!(server.stop(), Some(0));
    let records = records(&installation.path("state/audit.jsonl"));
    let events = records.iter().filter(|record| record["record"] == "event");
    let mut found = 0;
    for record in events {
        let Some((action, key)) = answers.get(text(&record["requestId"])) else { continue };
        assert_eq!(record["errorCode"], "Forbidden.NoPermission", "{action}");
        assert_eq!(record["resourceName"], **key, "{action}");
        assert_eq!(record["referencedResources"]["ACS::KMS::Key"][0], **key, "{action}");
        assert_eq!(record["userIdentity"]["userName"], "outsider", "{action}");
        let line = log.lines().find(|line| line.contains(text(&record["requestId"])));
        assert!(line.is_some_and(|line| line.contains(&**key)), "{action}: {line:?}");
        found += 1;
    }
    assert_eq!(found, answers.len());
}

/// Answers of one gateway under load: the ids of all requests that were answered.
async fn load(client: Client, stop: Arc<std::sync::atomic::AtomicBool>) -> Vec<String> {
    let mut answered = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let description = ("Description", "under load");
        let outcome = match answered.len() % 5 {
            0 => client.call("Encrypt", &ENCRYPT).await,
            1 => client.call("DescribeKey", &[("KeyId", "alias/demo")]).await,
            2 => client.call("GenerateDataKey", &[("KeyId", "alias/demo")]).await,
            3 => client.call("DescribeKey", &[("KeyId", "alias/nothing")]).await,
            _ => client.call("UpdateKeyDescription", &[("KeyId", "alias/demo"), description]).await,
        };
        match outcome {
            Ok(answer) => answered.push(text(&answer["RequestId"]).to_owned()),
            Err(CallError::Refused { request_id, .. }) => answered.push(request_id),
            Err(_killed) => break,
        }
    }
    answered
}

/// `HSMGATE_AUDIT_KILLS` raises the number of kills.
#[tokio::test(flavor = "multi_thread")]
async fn every_answered_request_has_its_record_after_a_kill() {
    let kills = std::env::var("HSMGATE_AUDIT_KILLS").ok().and_then(|text| text.parse().ok());
    let mut gateway = Gateway::start_with(&["--calls-per-second", "0"]);
    let mut answered = Vec::new();
    for round in 0..kills.unwrap_or(20_u64) {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let loads: Vec<_> =
            (0..8).map(|_| tokio::spawn(load(gateway.client.clone(), Arc::clone(&stop)))).collect();
        let pause = Duration::from_millis(60 + 37 * (round % 7));
        tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
        let directory = gateway.kill();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for load in loads {
            answered.extend(load.await.unwrap());
        }
        gateway = Gateway::start_in(directory, &["--calls-per-second", "0"]);
    }
    let records = records(&audit_file(&gateway));
    let recorded: HashSet<&str> = records
        .iter()
        .filter(|record| record["record"] == "event")
        .map(|record| text(&record["requestId"]))
        .collect();
    assert!(answered.len() > 100, "only {} answers", answered.len());
    for request_id in &answered {
        assert!(recorded.contains(&**request_id), "{request_id} was answered without a record");
    }
    let report = verified(&[audit_file(&gateway)]);
    assert_eq!(report.faults, [], "{} answers", answered.len());
}

#[tokio::test]
async fn a_full_disk_refuses_immediately_and_free_space_is_used_immediately() {
    let Some(disk) = SmallDisk::mount(512) else { return };
    let file = disk.path().join("audit.jsonl");
    let gateway = Gateway::start_with(&["--audit-file", file.to_str().unwrap()]);
    gateway.call("Encrypt", &ENCRYPT).await;
    disk.fill();
    for action in ["Encrypt", "DescribeKey"] {
        // What fits behind the last record still fits.
        while gateway.client.call(action, &ENCRYPT).await.is_ok() {}
        // A busy machine may delay one refusal.
        let mut times = Vec::new();
        for _try in 0..3 {
            let start = Instant::now();
            let refused = gateway.refused(action, &ENCRYPT).await;
            assert_eq!(refused, (503, "ServiceUnavailableTemporary".to_owned()));
            times.push(start.elapsed());
        }
        assert!(times.iter().min() < Some(&RECORD_TIMEOUT), "{times:?}");
        assert!(times.iter().max() < Some(&NOTICED), "{times:?}");
    }
    let keys = |answer: &Value| answer["TotalCount"].clone();
    let refused = gateway.refused("CreateKey", &[]).await;
    assert_eq!(refused.0, 503);
    let wrong = SecretString::from("wrong");
    let thief = Client::new(&gateway.dev.endpoint, &gateway.dev.access_key_id, wrong).unwrap();
    assert!(matches!(
        thief.call("Encrypt", &ENCRYPT).await,
        Err(CallError::Refused { status: 503, .. })
    ));
    disk.make_room();
    let start = Instant::now();
    let listed = gateway.call("ListKeys", &[]).await;
    assert!(start.elapsed() < NOTICED, "{:?}", start.elapsed());
    assert_eq!(keys(&listed), 1, "nothing was made without its record");
    assert_eq!(verified(&[file]).faults, []);
    gateway.stop();
}

fn hang_up(gateway: &Gateway) {
    signal("HUP", &gateway.process_id());
}

#[tokio::test]
async fn a_rotated_file_continues_in_the_next_and_a_deleted_one_is_detected() {
    let gateway = Gateway::start();
    let file = audit_file(&gateway);
    let rotated = file.with_file_name("audit.jsonl.1");
    gateway.call("Encrypt", &ENCRYPT).await;
    fs::rename(&file, &rotated).unwrap();
    gateway.call("Encrypt", &ENCRYPT).await;
    hang_up(&gateway);
    until(|| file.exists() && fs::metadata(&file).unwrap().len() > 0).await;
    gateway.call("Encrypt", &ENCRYPT).await;
    let state = gateway.state();
    let report = verified(&[file.clone(), rotated.clone()]);
    assert_eq!(report.faults, []);
    assert_eq!(records(&rotated).last().unwrap()["record"], "close");
    assert_eq!(records(&file)[0]["reason"], "rotated");

    let out = state.join("bundle");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hsmgate")).args(arguments).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), format!("{out}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let (bundle, dev) = (out.to_str().unwrap(), state.to_str().unwrap());
    let exported = run(&["audit", "export", "--dev-dir", dev, "--out", bundle]);
    assert_eq!(exported.0, Some(0), "{}", exported.1);
    let report = run(&["audit", "verify", bundle, "--json"]);
    assert_eq!(report.0, Some(0), "{}", report.1);
    let report: Value = serde_json::from_str(report.1.lines().next().unwrap()).unwrap();
    assert!(report["checkpoints"].as_u64().unwrap() >= 1, "{report}");
    let copy = out.join("audit.jsonl.1");
    let tampered = fs::read_to_string(&copy).unwrap().replace("ram-user", "ram-used");
    let tampered_file = state.join("tampered");
    fs::write(&tampered_file, tampered).unwrap();
    let report = run(&["audit", "verify", tampered_file.to_str().unwrap()]);
    assert_eq!(report.0, Some(1));
    assert!(report.1.contains("was altered"), "{}", report.1);

    fs::remove_file(&file).unwrap();
    gateway.call("Encrypt", &ENCRYPT).await;
    assert_eq!(records(&file)[0]["reason"], "deleted");
    until(|| gateway.log().contains("the audit file was changed")).await;
    assert_ne!(verified(&[file]).faults, [], "what was deleted is told");
}

#[tokio::test]
async fn a_bundle_has_rotated_files_of_any_name_and_says_where_it_begins() {
    let recorded = Recorded::stopped().await;
    let installation = &recorded.installation;
    let state = installation.path("state");
    let mut rotated = Vec::new();
    for name in ["january.log", "audit-2.jsonl"] {
        let server = installation.serve();
        fs::rename(recorded.file(), state.join(name)).unwrap();
        server.signal("HUP");
        until(|| server.has_logged("audit.reopened")).await;
        server.client(&recorded.admin).call("ListKeys", &[]).await.unwrap();
        assert_eq!(server.stop(), Some(0));
        let file = state.join(name);
        let first = records(&file)[0]["sequence"].to_string();
        let faults = recorded.faults(&[&file], &["--from", &first]);
        assert_eq!(faults, [""; 0], "each file is signed to its end");
        rotated.push(file);
    }
    let export = |name: &str| {
        let out = installation.path(name);
        let outcome = installation.configured(&["audit", "export", "--out", out.to_str().unwrap()]);
        (out, outcome.stderr)
    };
    let (whole, told) = export("whole");
    assert!(told.contains("begins with record 1."), "{told}");
    for file in &rotated {
        assert!(whole.join(file.file_name().unwrap()).is_file());
    }
    let outcome = recorded.verify(&[&whole], &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(Recorded::report(&outcome)["first"], 1);
    fs::remove_file(&rotated[0]).unwrap();
    let (_part, told) = export("part");
    assert!(told.contains("WARNING: the bundle begins with record"), "{told}");
}

#[tokio::test]
async fn a_renamed_audit_file_is_reported_until_a_new_one_is_opened() {
    let gateway = Gateway::start();
    let file = audit_file(&gateway);
    let audit = async || {
        let (status, body) = get(&gateway.dev.admin, "/readyz").await;
        assert_eq!(status, 200);
        let ready: Value = serde_json::from_str(&body).unwrap();
        text(&ready["dependencies"]["audit"]["status"]).to_owned()
    };
    let renamed = async || metric(&gateway, "hsmgate_audit_file_renamed").await == Some(1.0);
    assert_eq!(audit().await, "ok");
    fs::rename(&file, file.with_file_name("elsewhere.jsonl")).unwrap();
    until_async(async || audit().await == "degraded").await;
    assert!(renamed().await);
    until(|| gateway.log().contains("event=\"audit.file_renamed\"")).await;
    gateway.call("Encrypt", &ENCRYPT).await;
    hang_up(&gateway);
    until_async(async || audit().await == "ok").await;
    assert!(!renamed().await);
}

const PRIVATE_KEY: u8 = 3;
const SECRET_KEY: u8 = 4;

/// The files of the objects of a class. SoftHSM2 encrypts the labels of private objects, not their
/// classes: the attribute 0 (`CKA_CLASS`), of the form 2 (a number), eight bytes each.
fn objects(installation: &Installation, class: u8) -> HashSet<PathBuf> {
    let mut attribute = [0; 24];
    (attribute[15], attribute[23]) = (2, class);
    let tokens = fs::read_dir(installation.path("tokens")).unwrap();
    let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "object"))
        .filter(|path| {
            fs::read(path).unwrap().windows(attribute.len()).any(|window| window == attribute)
        })
        .collect()
}

/// Makes an object's file empty: what SoftHSM2 leaves of an object that a power cut took.
fn tear(objects: &HashSet<PathBuf>) {
    assert_eq!(objects.len(), 1, "{objects:?}");
    for path in objects {
        fs::write(path, b"").unwrap();
    }
}

/// `serve`, which must not start; one that does is ended after a minute.
fn refused_start(installation: &Installation) -> Outcome {
    let config = installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    run(installation.command_under(&["timeout", "60"], &serve), b"")
}

#[tokio::test]
async fn a_damaged_audit_key_is_replaced_by_a_command_and_the_chain_continues() {
    let recorded = Recorded::stopped().await;
    let installation = &recorded.installation;
    let refused = installation.configured(&["audit", "replace-key"]).failed(1);
    assert!(refused.contains("is usable"), "{refused}");
    tear(&objects(installation, PRIVATE_KEY));
    let refused = refused_start(installation).failed(1);
    assert!(refused.contains("hsmgate audit replace-key"), "{refused}");
    let sick = installation.configured(&["doctor"]);
    assert_eq!(sick.code, Some(7));
    assert!(
        String::from_utf8_lossy(&sick.stdout).contains("hsmgate audit replace-key"),
        "{sick:?}"
    );
    let changed = installation.configured(&["audit", "replace-key", "--json"]).json();
    let new_key = installation.path("new-key.pem");
    fs::write(&new_key, text(&changed["new_public_key"])).unwrap();
    let server = installation.serve();
    server.client(&recorded.admin).call("ListKeys", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let well = installation.configured(&["doctor"]);
    assert_eq!(well.code, Some(0), "{well:?}");

    let file = recorded.file();
    let half = recorded.verify(&[&file], &[]);
    assert_eq!(half.code, Some(1));
    assert_eq!(fault_kinds(&Recorded::report(&half)), ["unproven-key"]);
    let whole = recorded.verify(&[&file], &["--public-key", new_key.to_str().unwrap()]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let report = Recorded::report(&whole);
    let signed_by = report["signedBy"].as_array().unwrap();
    assert_eq!(signed_by.len(), 2);
    assert_eq!(signed_by[1]["fingerprint"], changed["new_fingerprint"]);
    let out = installation.path("both");
    installation.configured(&["audit", "export", "--out", out.to_str().unwrap()]).done();
    let verify = ["audit", "verify", out.to_str().unwrap()];
    run(installation.command(&verify), b"").done();
    let records = records(&file);
    let change = records.iter().find(|record| record["record"] == "key").unwrap();
    assert_eq!(change["newKey"]["publicKey"], changed["new_public_key"]);
    assert!(text(&change["operator"]).starts_with("uid:"));
}

#[tokio::test]
async fn a_damaged_encryption_key_is_replaced_by_a_command_and_access_keys_are_made_again() {
    let (installation, admin) = Installation::prepared();
    let refused = installation.configured(&["access-key", "replace-encryption-key"]).failed(1);
    assert!(refused.contains("nothing was replaced"), "{refused}");
    tear(&objects(&installation, SECRET_KEY));
    let refused = refused_start(&installation).failed(1);
    assert!(refused.contains("hsmgate access-key replace-encryption-key"), "{refused}");
    let sick = installation.configured(&["doctor"]);
    assert_eq!(sick.code, Some(7));
    assert!(
        String::from_utf8_lossy(&sick.stdout).contains("access-key replace-encryption-key"),
        "{sick:?}"
    );
    let deleted =
        installation.configured(&["access-key", "replace-encryption-key", "--json"]).json();
    assert_eq!(deleted["deleted_access_keys"][0], *admin.id);
    let create = ["access-key", "create", "--json", "--user", "admin"];
    let admin = AccessKey::of(&installation.through_gateway(&create).json());
    let server = installation.serve();
    server.client(&admin).call("ListKeys", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(installation.configured(&["doctor"]).code, Some(0));
}

#[tokio::test]
async fn an_encryption_key_that_the_token_has_twice_is_replaced_by_a_command() {
    let (installation, _admin) = Installation::prepared();
    for path in objects(&installation, SECRET_KEY) {
        fs::copy(&path, path.with_file_name("5ea1.object")).unwrap();
    }
    let refused = refused_start(&installation).failed(1);
    assert!(refused.contains("hsmgate access-key replace-encryption-key"), "{refused}");
    let sick = installation.configured(&["doctor"]);
    assert!(
        String::from_utf8_lossy(&sick.stdout).contains("access-key replace-encryption-key"),
        "{sick:?}"
    );
    installation.configured(&["access-key", "replace-encryption-key"]).done();
    let create = ["access-key", "create", "--json", "--user", "admin"];
    let admin = AccessKey::of(&installation.through_gateway(&create).json());
    let server = installation.serve();
    server.client(&admin).call("ListKeys", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn with_the_damaged_key_of_one_caller_all_others_are_served() {
    let recorded = Recorded::stopped().await;
    let installation = &recorded.installation;
    let server = installation.serve();
    let client = server.client(&recorded.admin);
    let mut keys = Vec::new();
    let mut before = HashSet::new();
    for _ in 0..2 {
        before = objects(installation, SECRET_KEY);
        let created = client.call("CreateKey", &[]).await.unwrap();
        keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
    }
    assert_eq!(server.stop(), Some(0));
    let after = objects(installation, SECRET_KEY);
    tear(&after.difference(&before).cloned().collect());
    let server = installation.serve();
    let client = server.client(&recorded.admin);
    let encrypt = async |key: &str| {
        client.call("Encrypt", &[("KeyId", key), ("Plaintext", MARKER)]).await.is_ok()
    };
    assert!(!encrypt(&keys[1]).await);
    assert!(encrypt(&keys[0]).await);
    client.call("CreateKey", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn the_keys_of_the_gateway_itself_are_made_by_init() {
    let (installation, _admin) = Installation::prepared();
    let info = installation.configured(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&info.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let objects = checks.iter().find(|check| check["name"] == "key objects").unwrap();
    // A pair counts as one: that of the audit, and the key that encrypts AccessKeys.
    assert!(text(&objects["found"]).starts_with("2,"), "{objects}");
}
