//! No change is acknowledged before it is on disk: the disk of the database is full, or writes and
//! syncs fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hsmgate::cli::client::{CallError, Client};
use tokio::task::JoinSet;

use crate::scale::{report, scaled};
use crate::support::admin_client::get;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::process::{eventually, until};
use crate::support::small_disk::SmallDisk;

const KEYS: usize = 4;

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Acknowledged,
    /// It may have come about or not.
    Failed,
}

/// What may be found of a key: all that was tried since the last acknowledged change of its kind, and
/// that.
#[derive(Debug, Default, Clone)]
struct Possible {
    descriptions: BTreeSet<String>,
    states: BTreeSet<&'static str>,
    aliases: BTreeMap<String, Ended>,
}

fn note<T: Ord>(possible: &mut BTreeSet<T>, value: T, ended: Ended) {
    if ended == Ended::Acknowledged {
        possible.clear();
    }
    possible.insert(value);
}

/// A production installation, its keys, and what has been said of them.
struct Case {
    installation: Installation,
    user: AccessKey,
    server: Option<Server>,
    keys: BTreeMap<String, Possible>,
    serial: usize,
    made: BTreeSet<String>,
    /// What was found after a restart and must stay: names, and the keys that they stand for.
    found: BTreeMap<String, String>,
}

impl Case {
    async fn start(installation: Installation, user: AccessKey) -> Self {
        let server = installation.serve();
        let client = server.client(&user);
        let mut keys = BTreeMap::new();
        for _ in 0..KEYS {
            let created = client.call("CreateKey", &[]).await.unwrap();
            let possible = Possible {
                descriptions: [String::new()].into(),
                states: ["Enabled"].into(),
                aliases: BTreeMap::new(),
            };
            keys.insert(text(&created["KeyMetadata"]["KeyId"]).to_owned(), possible);
        }
        let (made, found) = (BTreeSet::new(), BTreeMap::new());
        Self { installation, user, server: Some(server), keys, serial: 0, made, found }
    }

    fn client(&self) -> Client {
        self.server.as_ref().unwrap().client(&self.user)
    }

    /// Changes every key at once; how many of the changes failed.
    async fn change_all(&mut self) -> usize {
        let mut changes = JoinSet::new();
        for (key, possible) in &self.keys {
            self.serial += 1;
            let (key, serial, mut possible) = (key.clone(), self.serial, possible.clone());
            let client = self.client();
            changes.spawn(async move {
                let failed = change(&client, &key, serial, &mut possible).await;
                (key, possible, failed)
            });
        }
        let mut failures = 0;
        for (key, possible, failed) in changes.join_all().await {
            self.keys.insert(key, possible);
            failures += failed;
        }
        failures
    }

    /// Makes a key. To fail it must not take as long as a lock is waited for, five seconds.
    async fn make_key(&mut self) -> Ended {
        let begun = Instant::now();
        let made = self.client().call("CreateKey", &[]).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}: {made:?}");
        let ended = ended(&made);
        if let Ok(made) = made {
            self.made.insert(text(&made["KeyMetadata"]["KeyId"]).to_owned());
        }
        ended
    }

    /// Stops the gateway in an orderly way, starts it, and compares what it then tells.
    async fn restart(&mut self) {
        assert_eq!(self.server.take().unwrap().stop(), Some(0));
        self.server = Some(self.installation.serve());
        let client = self.client();
        for (key, possible) in &mut self.keys {
            let found = client.call("DescribeKey", &[("KeyId", key)]).await.unwrap();
            let found = &found["KeyMetadata"];
            let description = text(&found["Description"]);
            assert!(possible.descriptions.contains(description), "{found} {possible:?}");
            assert!(possible.states.contains(text(&found["KeyState"])), "{found} {possible:?}");
            for (alias, ended) in std::mem::take(&mut possible.aliases) {
                let found = client.call("DescribeKey", &[("KeyId", &alias)]).await;
                let exists = found.is_ok_and(|found| text(&found["KeyMetadata"]["KeyId"]) == key);
                assert!(exists || ended == Ended::Failed, "{alias} is lost");
                if exists {
                    self.found.insert(alias, key.clone());
                }
            }
        }
        for key in std::mem::take(&mut self.made) {
            client.call("Encrypt", &[("KeyId", &key), ("Plaintext", "SGVsbG8=")]).await.unwrap();
            self.found.insert(key.clone(), key);
        }
    }

    /// Whether all is there that ever was.
    async fn nothing_was_lost(&mut self) {
        self.restart().await;
        let client = self.client();
        for (name, key) in &self.found {
            let found = client.call("DescribeKey", &[("KeyId", name)]).await.unwrap();
            assert_eq!(found["KeyMetadata"]["KeyId"], key.as_str());
        }
    }

    /// What is promised once the disk is well again.
    async fn changes_pass_and_stay(&mut self) {
        for _ in 0..3 {
            assert_eq!(self.change_all().await, 0, "changes fail although the disk is well");
        }
        assert_eq!(self.make_key().await, Ended::Acknowledged);
        self.restart().await;
    }

    fn admin(&self) -> String {
        format!("http://{}", self.server.as_ref().unwrap().admin_address())
    }

    /// Until readiness says this of the store.
    async fn store_becomes(&self, status: &str) {
        let admin = self.admin();
        eventually(async || {
            let (_code, body) = get(&admin, "/readyz").await;
            let told: serde_json::Value = serde_json::from_str(&body).unwrap();
            if told["dependencies"]["store"]["status"] == status { Ok(()) } else { Err(body) }
        })
        .await;
    }
}

fn ended<T: std::fmt::Debug>(answer: &Result<T, CallError>) -> Ended {
    match answer {
        Ok(_) => Ended::Acknowledged,
        Err(CallError::Refused { status: 503, .. }) => Ended::Failed,
        other => panic!("{other:?}"),
    }
}

/// One change of each kind; how many failed.
async fn change(client: &Client, key: &str, serial: usize, possible: &mut Possible) -> usize {
    let mut failures = 0;
    let mut count = |ended: Ended| {
        failures += usize::from(ended == Ended::Failed);
        ended
    };
    let description = format!("{serial} {}", "x".repeat(3000));
    let params = [("KeyId", key), ("Description", description.as_str())];
    let answer = count(ended(&client.call("UpdateKeyDescription", &params).await));
    note(&mut possible.descriptions, description, answer);
    let (action, state) = if serial.is_multiple_of(2) {
        ("DisableKey", "Disabled")
    } else {
        ("EnableKey", "Enabled")
    };
    let answer = count(ended(&client.call(action, &[("KeyId", key)]).await));
    note(&mut possible.states, state, answer);
    let alias = format!("alias/{serial}");
    let params = [("KeyId", key), ("AliasName", alias.as_str())];
    let answer = count(ended(&client.call("CreateAlias", &params).await));
    possible.aliases.insert(alias, answer);
    failures
}

/// With an admin listener, the database at a place of its own, and no limit of calls.
fn configured(installation: &Installation, database: Option<PathBuf>) {
    installation.configure(|text| {
        *text = text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
        if let Some(database) = database {
            let usual = installation.path("hsmgate.db");
            *text = text.replace(&*usual.to_string_lossy(), &database.to_string_lossy());
        }
    });
}

fn prepared(installation: &Installation) -> AccessKey {
    let so_pin = installation.path("so-pin");
    let init = ["init", "--so-pin-file", so_pin.to_str().unwrap(), "--json"];
    AccessKey::of(&installation.configured(&init).json())
}

#[tokio::test]
async fn what_is_acknowledged_after_the_disk_was_full_is_there_after_a_restart() {
    let Some(disk) = SmallDisk::mount(12 * 1024) else { return };
    let installation = Installation::new();
    configured(&installation, Some(disk.path().join("hsmgate.db")));
    let user = prepared(&installation);
    let mut case = Case::start(installation, user).await;
    let (rounds, mut failures) = (scaled(3, 200), 0);
    for _ in 0..rounds {
        disk.fill();
        let mut failed = 0;
        // What fits into the log that is there still fits.
        while failed < 20 {
            failed += case.change_all().await;
        }
        case.store_becomes("failed").await;
        case.make_key().await;
        failures += failed;
        disk.make_room();
        case.changes_pass_and_stay().await;
    }
    case.nothing_was_lost().await;
    report(&format!("full disk: {rounds} rounds, {failures} changes failed, 0 lost"));
}

#[tokio::test]
async fn readiness_tells_of_a_failed_change_until_one_passes_and_one_is_tried() {
    let Some(disk) = SmallDisk::mount(12 * 1024) else { return };
    let installation = Installation::new();
    configured(&installation, Some(disk.path().join("hsmgate.db")));
    let user = prepared(&installation);
    let mut case = Case::start(installation, user).await;
    case.store_becomes("ok").await;
    disk.fill();
    while case.change_all().await == 0 {}
    case.store_becomes("failed").await;
    assert!(metric(&case, "hsmgate_store_write_failures_total").await >= 1.0);
    assert!(metric(&case, "hsmgate_store_ready").await < 0.5);
    disk.make_room();
    // Nobody changes anything.
    case.store_becomes("ok").await;
    assert!(metric(&case, "hsmgate_store_ready").await > 0.5);
    let server = case.server.as_ref().unwrap();
    until(|| server.has_logged("store.write_recovered")).await;
    assert!(server.has_logged("store.write_failed"));
    assert_eq!(case.change_all().await, 0);
}

async fn metric(case: &Case, name: &str) -> f64 {
    let (_status, text) = get(&case.admin(), "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

/// The library that lets writes and syncs fail.
fn io_faults(installation: &Installation) -> PathBuf {
    let library = installation.path("io_faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fault/io_faults.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    library
}

#[tokio::test]
async fn what_is_acknowledged_while_writes_and_syncs_fail_is_there_after_a_restart() {
    let mut installation = Installation::new();
    configured(&installation, None);
    let user = prepared(&installation);
    let control = installation.path("io-faults");
    fs::write(&control, "off").unwrap();
    let library = io_faults(&installation);
    let database = installation.path("hsmgate.db");
    installation.environment = vec![
        ("LD_PRELOAD", library),
        ("HSMGATE_IO_FAULTS", control.clone()),
        ("HSMGATE_IO_FAULTS_DATABASE", database),
    ];
    let mut case = Case::start(installation, user).await;
    let (rounds, mut failures) = (scaled(12, 400), 0);
    for round in 0..rounds {
        let faults = ["write 5", "sync 20", "both 10", "write 100", "sync 100", "both 60"];
        fs::write(&control, faults[round % faults.len()]).unwrap();
        for _ in 0..3 {
            failures += case.change_all().await;
        }
        fs::write(&control, "off").unwrap();
        for _ in 0..2 {
            assert_eq!(case.change_all().await, 0, "changes fail although the disk is well");
        }
        if round % 6 == 5 {
            case.changes_pass_and_stay().await;
        }
    }
    case.nothing_was_lost().await;
    assert!(failures > rounds, "{failures}");
    report(&format!("I/O errors: {rounds} rounds, {failures} changes failed, 0 lost"));
}
