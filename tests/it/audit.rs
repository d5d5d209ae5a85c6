//! The audit: every operation leaves its record before its answer, and whatever happens to the
//! process or the disk, no answer is without one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmgate::audit::{Expectation, Report, Verifier};
use hsmgate::cli::client::{CallError, Client};
use hsmgate::wire::rpc::table::TABLE;
use secrecy::SecretString;
use serde_json::Value;

use crate::gateway;
use crate::harness::{Gateway, text};
use crate::installation::{AccessKey, Installation};
use crate::small_disk::SmallDisk;

const MARKER: &str = "bWFya2VyLXBsYWludGV4dC03Zg==";
const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", MARKER)];

fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn audit_file(gateway: &Gateway) -> PathBuf {
    gateway.process.state().join("audit.jsonl")
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
    for entry in TABLE {
        let request_id = match gateway.client.call(entry.name, &[]).await {
            Ok(answer) => text(&answer["RequestId"]).to_owned(),
            Err(CallError::Refused { request_id, .. }) => request_id,
            Err(error) => panic!("{}: {error:?}", entry.name),
        };
        answered.insert(entry.name, request_id);
    }
    let unsupported = gateway.refused("GetSecretValue", &[("SecretName", "s")]).await;
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
    let unsupported = events(&records, "GetSecretValue");
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
async fn who_is_refused_at_the_door_is_on_record_and_cannot_forge_a_line() {
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
    let sealed = gateway.call("Encrypt", &ENCRYPT).await;
    let blob = text(&sealed["CiphertextBlob"]);
    gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    let data_key = gateway.call("GenerateDataKey", &[("KeyId", "alias/demo")]).await;
    let wrong = SecretString::from("wrong-secret-marker");
    let dev = gateway.dev.clone();
    let thief = Client::new(&dev.endpoint, &dev.access_key_id, wrong).unwrap();
    assert!(thief.call("Encrypt", &ENCRYPT).await.is_err());
    // In wrong places too.
    let misplaced = [("KeyId", "alias/demo"), ("plaintext", MARKER), ("SecurityToken", MARKER)];
    gateway.refused("Encrypt", &misplaced).await;
    let state = gateway.process.state();
    let pins: Vec<String> =
        ["pin", "so-pin"].map(|name| fs::read_to_string(state.join(name)).unwrap()).into();
    // Between the lines of the log stand the words with which `dev` shows its AccessKey.
    let log = gateway.process.log();
    let log: String = log.lines().filter(|line| line.starts_with("20")).collect();
    assert!(log.contains("hsmgate::request"));
    let directory = gateway.process.stop();
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
    let create = ["access-key", "create", "--json", "--user", "stranger"];
    let stranger = server.client(&AccessKey::of(&installation.configured(&create).json()));
    let created = admin.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
    let alias = ("AliasName", "alias/vault");
    admin.call("CreateAlias", &[("KeyId", &key), alias]).await.unwrap();
    let plaintext = ("Plaintext", MARKER);
    let sealed = admin.call("Encrypt", &[("KeyId", &key), plaintext]).await.unwrap();
    let blob = text(&sealed["CiphertextBlob"]).to_owned();
    let version = text(&sealed["KeyVersionId"]).to_owned();
    // Whom nobody knows yet is refused with another code.
    while !matches!(
        stranger.call("ListKeys", &[]).await,
        Err(CallError::Refused { status: 403, code, .. }) if code == "Forbidden.NoPermission"
    ) {
        tokio::task::yield_now().await;
    }
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
        match stranger.call(action, &params).await {
            Err(CallError::Refused { status: 403, code, message, request_id }) => {
                assert_eq!(code, "Forbidden.NoPermission", "{action}");
                assert!(!message.contains(key), "{action}: {message}");
                answers.insert(request_id, (action, key.to_owned()));
            }
            other => panic!("{action} was not refused: {other:?}"),
        }
    }
    while !answers.keys().all(|request_id| server.has_logged(request_id)) {
        tokio::task::yield_now().await;
    }
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
        assert_eq!(record["userIdentity"]["userName"], "stranger", "{action}");
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
async fn no_answer_survives_a_kill_without_its_record() {
    let kills = std::env::var("HSMGATE_AUDIT_KILLS").ok().and_then(|text| text.parse().ok());
    let mut gateway = Gateway::start_with(&["--calls-per-second", "0"]);
    let mut answered = Vec::new();
    for round in 0..kills.unwrap_or(20_u64) {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let loads: Vec<_> =
            (0..8).map(|_| tokio::spawn(load(gateway.client.clone(), Arc::clone(&stop)))).collect();
        let pause = Duration::from_millis(60 + 37 * (round % 7));
        tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
        let directory = gateway.process.kill();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for load in loads {
            answered.extend(load.await.unwrap());
        }
        gateway = Gateway::of(gateway::Gateway::start_in(directory, &["--calls-per-second", "0"]));
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
async fn a_full_disk_refuses_at_once_and_room_is_noticed_at_once() {
    let Some(disk) = SmallDisk::mount(512) else { return };
    let file = disk.path().join("audit.jsonl");
    let gateway = Gateway::start_with(&["--audit-file", file.to_str().unwrap()]);
    gateway.call("Encrypt", &ENCRYPT).await;
    disk.fill();
    for action in ["Encrypt", "DescribeKey"] {
        // What fits behind the last record still fits.
        while gateway.client.call(action, &ENCRYPT).await.is_ok() {}
        let start = Instant::now();
        let refused = gateway.refused(action, &ENCRYPT).await;
        assert_eq!(refused, (503, "ServiceUnavailableTemporary".to_owned()));
        // It does not even wait for as long as a record may take.
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
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
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(keys(&listed), 1, "nothing was made without its record");
    assert_eq!(verified(&[file]).faults, []);
    gateway.process.stop();
}

fn hang_up(gateway: &Gateway) {
    let status = Command::new("kill").args(["-HUP", &gateway.process.id()]).status().unwrap();
    assert!(status.success());
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rotated_file_goes_on_in_the_next_and_a_deleted_one_is_noticed() {
    let gateway = Gateway::start();
    let file = audit_file(&gateway);
    let rotated = file.with_file_name("audit.jsonl.1");
    gateway.call("Encrypt", &ENCRYPT).await;
    fs::rename(&file, &rotated).unwrap();
    gateway.call("Encrypt", &ENCRYPT).await;
    hang_up(&gateway);
    until(|| file.exists() && fs::metadata(&file).unwrap().len() > 0).await;
    gateway.call("Encrypt", &ENCRYPT).await;
    let state = gateway.process.state();
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
    assert!(gateway.process.log().contains("the audit file was changed"));
    assert_ne!(verified(&[file]).faults, [], "what was deleted is told");
}

#[tokio::test]
async fn a_file_that_was_cut_while_the_gateway_was_down_is_noticed() {
    let gateway = Gateway::start();
    gateway.call("Encrypt", &ENCRYPT).await;
    let directory = gateway.process.stop();
    let file = directory.path().join("state/audit.jsonl");
    assert!(verified(std::slice::from_ref(&file)).is_closed);
    let text = fs::read_to_string(&file).unwrap();
    let cut: Vec<&str> = text.lines().take(2).collect();
    fs::write(&file, cut.join("\n") + "\n").unwrap();
    let gateway = Gateway::of(gateway::Gateway::start_in(directory, &[]));
    gateway.call("Encrypt", &ENCRYPT).await;
    let report = verified(&[file]);
    assert!(!report.faults.is_empty());
    assert!(gateway.process.log().contains("lacks records"));
}
