//! Two tokens with the same keys: clones of one SoftHSM2 token, each behind a fault token of its own. The
//! test plays the replication of the vendor: it copies the files of the objects.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fault_token::{Fault, Rule, Settings, write_rules};
use hsmgate::cli::client::{CallError, Client};
use serde_json::Value;

use crate::setup::PLAINTEXT;
use crate::support::admin_client;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, LABEL, Server};
use crate::support::process::{LIMIT, until};
use crate::support::softhsm;

/// A file of an object is copied when it was not written for so long: SoftHSM2 writes the attributes of a
/// new object one by one.
const WRITTEN: Duration = Duration::from_millis(30);

/// Two tokens and the configuration of a gateway that uses both.
struct Group {
    // Dropped first: it reads the directory of the installation.
    replication: Replication,
    installation: Installation,
    user: AccessKey,
}

/// Copies new objects from each token to the other, and removes those that were removed in one.
struct Replication {
    is_on: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Group {
    fn new() -> Self {
        Self::with(|_text| {})
    }

    fn with(edit: impl FnOnce(&mut String)) -> Self {
        let (installation, user) = Installation::prepared();
        let origin = only_directory(&installation.path("tokens"));
        let mut sections = String::new();
        let mut objects = Vec::new();
        for name in ["a", "b"] {
            let directory = installation.path(name);
            fs::create_dir(&directory).unwrap();
            let configuration = softhsm::configure(&directory);
            let clone = directory.join("tokens").join(origin.file_name().unwrap());
            fs::create_dir(&clone).unwrap();
            for file in fs::read_dir(&origin).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), clone.join(file.file_name())).unwrap();
            }
            objects.push(clone);
            let settings = Settings {
                module: softhsm::module(),
                environment: [("SOFTHSM2_CONF".to_owned(), configuration)].into(),
                control: Some(directory.join("control")),
                ..Settings::default()
            };
            let module = settings.install(&directory);
            let pin = directory.join("pin");
            fs::copy(installation.path("pin"), &pin).unwrap();
            write!(
                sections,
                "[[token]]\nname = \"{name}\"\nmodule = \"{}\"\nlabel = \"{LABEL}\"\npin_file = \"{}\"\n",
                module.display(),
                pin.display()
            )
            .unwrap();
            if name == "a" {
                sections += "timeout_ms = 1000\nreplication_timeout_ms = 2000\n";
            }
        }
        installation.configure(|text| {
            let (start, end) = (text.find("[token]").unwrap(), text.find("[store]").unwrap());
            text.replace_range(start..end, &sections);
            *text = text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
            edit(text);
        });
        let replication = Replication::start(objects.try_into().unwrap());
        Self { replication, installation, user }
    }

    /// What goes wrong with a token.
    fn rules(&self, token: &str, rules: &[Rule]) {
        write_rules(&self.installation.path(token).join("control"), rules);
    }

    /// The names of the files of the objects of a token. The gateway also makes some for its tests.
    fn objects(&self, token: &str) -> BTreeSet<OsString> {
        object_names(&only_directory(&self.installation.path(token).join("tokens")))
    }

    /// Waits until the objects of the tokens are as wanted.
    async fn until_objects(&self, wanted: impl Fn(BTreeSet<OsString>, BTreeSet<OsString>) -> bool) {
        let end = Instant::now() + LIMIT;
        while !wanted(self.objects("a"), self.objects("b")) {
            assert!(Instant::now() < end, "{:?} {:?}", self.objects("a"), self.objects("b"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The names of the tokens in the audit records of this action.
    fn audited(&self, action: &str) -> BTreeSet<String> {
        let audit = fs::read_to_string(self.installation.audit_file()).unwrap();
        let records = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_action = records.filter(|record| record["eventName"] == action);
        let named = of_action
            .filter_map(|record| Some(record["additionalEventData"]["Token"].as_str()?.to_owned()));
        named.collect()
    }
}

impl Replication {
    fn start(objects: [PathBuf; 2]) -> Self {
        let (is_on, is_over) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
        let (on, over) = (Arc::clone(&is_on), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut both = BTreeSet::new();
            while !over.load(Ordering::SeqCst) {
                if on.load(Ordering::SeqCst) {
                    replicate(&objects, &mut both);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { is_on, is_over, thread: Some(thread) }
    }

    fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::SeqCst);
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Makes the files of both directories the same. `both` has the names that both had before.
fn replicate(directories: &[PathBuf; 2], both: &mut BTreeSet<OsString>) {
    let names = [object_names(&directories[0]), object_names(&directories[1])];
    for (here, there) in [(0, 1), (1, 0)] {
        for name in names[here].difference(&names[there]) {
            let (from, to) = (directories[here].join(name), directories[there].join(name));
            if both.remove(name) {
                fs::remove_file(from).ok();
                change_generation(&directories[here]);
            } else if is_written(&from) {
                // SoftHSM2 reads only files with this extension.
                let next = to.with_extension("next");
                if fs::copy(&from, &next).is_ok() {
                    fs::rename(next, to).unwrap();
                    change_generation(&directories[there]);
                }
            }
        }
    }
    both.extend(names[0].intersection(&names[1]).cloned());
}

/// SoftHSM2 reads the directory of a token again when this number has changed.
fn change_generation(directory: &Path) {
    let file = directory.join("generation");
    let number = u64::from_be_bytes(fs::read(&file).unwrap().try_into().unwrap());
    fs::write(file, (number + 1).to_be_bytes()).unwrap();
}

fn object_names(directory: &Path) -> BTreeSet<OsString> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let objects = files.filter(|path| path.extension().is_some_and(|is| is == "object"));
    objects.map(|path| path.file_name().unwrap().to_owned()).collect()
}

fn is_written(file: &Path) -> bool {
    let written = fs::metadata(file).and_then(|metadata| metadata.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > WRITTEN))
}

fn only_directory(directory: &Path) -> PathBuf {
    let mut entries = fs::read_dir(directory).unwrap();
    let only = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    only
}

/// Gives a key of SoftHSM2 the material of another one, which is encrypted with a key of the token.
fn copy_material(from: &Path, to: &Path) {
    let (source, mut target) = (fs::read(from).unwrap(), fs::read(to).unwrap());
    let (theirs, ours) = (value_of(&source), value_of(&target));
    assert_ne!(source[theirs.clone()], target[ours.clone()]);
    target.splice(ours, source[theirs].iter().copied());
    fs::write(to, target).unwrap();
}

/// Where the CKA_VALUE of an object file is: attribute number, type of a byte string, and length, 8 bytes
/// each, then the bytes.
fn value_of(file: &[u8]) -> Range<usize> {
    let head = [[0, 0, 0, 0, 0, 0, 0, 0x11], [0, 0, 0, 0, 0, 0, 0, 3]].concat();
    let start = file.windows(16).position(|window| window == head).unwrap() + 24;
    let length = u64::from_be_bytes(file[start - 8..start].try_into().unwrap());
    start..start + usize::try_from(length).unwrap()
}

fn rule(code: &str) -> Rule {
    Rule::on_all(Fault::return_code(code))
}

async fn metric(server: &Server, name: &str) -> Option<f64> {
    let admin = format!("http://{}", server.admin_address());
    let (_status, text) = admin_client::get(&admin, "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

async fn until_ready(server: &Server, token: &str, value: f64) {
    let name = format!("hsmgate_token_member_ready{{token=\"{token}\"}}");
    let end = Instant::now() + LIMIT;
    while metric(server, &name).await != Some(value) {
        assert!(Instant::now() < end, "{name} {value}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn create_key(client: &Client) -> Result<String, CallError> {
    let made = client.call("CreateKey", &[]).await?;
    Ok(text(&made["KeyMetadata"]["KeyId"]).to_owned())
}

/// A pair is used in both tokens.
async fn signs(client: &Client) {
    let params = [("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")];
    let made = client.call("CreateKey", &params).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    let versions = client.call("ListKeyVersions", &[("KeyId", key)]).await.unwrap();
    let digest = STANDARD.encode([7; 32]);
    let params = [
        ("KeyId", key),
        ("KeyVersionId", text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"])),
        ("Algorithm", "ECDSA_SHA_256"),
        ("Digest", &digest),
    ];
    for _call in 0..8 {
        // The tokens take turns, so another signature is made in the other one.
        client.call("AsymmetricSign", &params).await.unwrap();
        let signed = client.call("AsymmetricSign", &params).await.unwrap();
        let value = [&params[..], &[("Value", text(&signed["Value"]))]].concat();
        let verified = client.call("AsymmetricVerify", &value).await.unwrap();
        assert_eq!(verified["Value"], true);
    }
}

/// An encryption and its decryption, with the right result.
async fn round_trip(client: &Client, key: &str) -> Result<String, CallError> {
    let encrypted = client.call("Encrypt", &[("KeyId", key), ("Plaintext", PLAINTEXT)]).await?;
    let blob = text(&encrypted["CiphertextBlob"]).to_owned();
    decrypts(client, &blob).await?;
    Ok(blob)
}

async fn decrypts(client: &Client, blob: &str) -> Result<(), CallError> {
    let decrypted = client.call("Decrypt", &[("CiphertextBlob", blob)]).await?;
    assert_eq!(decrypted["Plaintext"], PLAINTEXT);
    Ok(())
}

/// Callers that make round trips until they are stopped, and the times of their failures.
struct Load {
    is_over: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<usize>>,
    failures: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Load {
    fn start(server: &Server, user: &AccessKey, keys: &[String]) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let failures = Arc::<Mutex<Vec<_>>>::default();
        let callers = keys.iter().map(|key| {
            let (client, key) = (server.client(user), key.clone());
            let (over, failures) = (Arc::clone(&is_over), Arc::clone(&failures));
            tokio::spawn(async move {
                let mut done = 0;
                while !over.load(Ordering::SeqCst) {
                    match round_trip(&client, &key).await {
                        Ok(_) => done += 1,
                        Err(error) => {
                            failures.lock().unwrap().push((Instant::now(), format!("{error:?}")));
                        }
                    }
                }
                done
            })
        });
        let callers = callers.collect();
        Self { is_over, callers, failures }
    }

    /// How many round trips were made, and the failures.
    async fn stop(self) -> (usize, Vec<(Instant, String)>) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut done = 0;
        for caller in self.callers {
            done += caller.await.unwrap();
        }
        let failures = self.failures.lock().unwrap().clone();
        (done, failures)
    }
}

/// Both tokens serve. One is lost under load, in two ways; after the calls that it had have failed, none
/// does. It is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_one_of_two_tokens_costs_only_the_calls_that_it_had() {
    let group = Group::new();
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let mut keys = Vec::new();
    for _key in 0..4 {
        keys.push(create_key(&client).await.unwrap());
    }
    group.until_objects(|a, b| a == b && a.len() > keys.len()).await;
    let shown = |arguments: &[&str]| group.installation.configured(arguments);
    let unnamed = shown(&["token", "info", "--listed"]).failed(2);
    assert!(unnamed.contains("name one with --token"), "{unnamed}");
    shown(&["token", "info", "--listed", "--token", "b"]).done();
    for fault in [rule("CKR_DEVICE_REMOVED"), Rule::on_all(Fault::Hang)] {
        let load = Load::start(&server, &group.user, &keys);
        tokio::time::sleep(Duration::from_millis(300)).await;
        group.rules("a", &[fault]);
        until_ready(&server, "a", 0.0).await;
        // The calls that waited then end with the deadline of the token.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let settled = Instant::now();
        assert_eq!(metric(&server, "hsmgate_token_ready").await, Some(1.0));
        tokio::time::sleep(Duration::from_millis(500)).await;
        group.rules("a", &[]);
        until_ready(&server, "a", 1.0).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (done, failures) = load.stop().await;
        let late: Vec<_> = failures.iter().filter(|(at, _error)| *at > settled).collect();
        assert!(late.is_empty(), "{late:?}\n{}", server.log());
        assert!(done > 100, "{done} round trips, {} failures", failures.len());
    }
    signs(&client).await;
    assert_eq!(server.stop(), Some(0));
    for action in ["Encrypt", "AsymmetricSign"] {
        assert_eq!(group.audited(action), ["a".to_owned(), "b".to_owned()].into(), "{action}");
    }
}

/// A key that does not reach the other token in time is not used, and nothing of it remains. While a
/// required token is away, no key is made or destroyed, and all others are used.
#[tokio::test]
async fn a_new_key_is_used_only_after_every_required_token_has_it() {
    let group = Group::new();
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let key = create_key(&client).await.unwrap();
    let objects = group.objects("a");

    group.replication.set(false);
    let refused = create_key(&client).await;
    assert!(matches!(refused, Err(CallError::Refused { status: 503, .. })), "{refused:?}");
    group.until_objects(|a, b| a.is_subset(&objects) && b.is_subset(&objects)).await;

    let (late, made) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            group.replication.set(true);
            Instant::now()
        },
        async { (create_key(&client).await, Instant::now()) },
    );
    let (second, at) = made;
    round_trip(&client, &second.unwrap()).await.unwrap();
    assert!(at > late, "the key was there before its copy");

    group.rules("b", &[rule("CKR_DEVICE_REMOVED")]);
    let load = Load::start(&server, &group.user, std::slice::from_ref(&key));
    until_ready(&server, "b", 0.0).await;
    load.stop().await;
    let refused = create_key(&client).await;
    assert!(matches!(refused, Err(CallError::Refused { status: 503, .. })), "{refused:?}");
    round_trip(&client, &key).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}

/// The other key of the second token is never used, and the token is left out with an alarm.
#[tokio::test]
async fn a_token_with_another_key_under_an_id_is_left_out() {
    let group = Group::new();
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let before = group.objects("b");
    let key = create_key(&client).await.unwrap();
    let with_key = group.objects("b");
    create_key(&client).await.unwrap();
    let with_other = group.objects("b");
    let blob = round_trip(&client, &key).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    group.replication.set(false);
    let token = only_directory(&group.installation.path("b").join("tokens"));
    let lasting = group.objects("b");
    let file = |names: &BTreeSet<OsString>, before: &BTreeSet<OsString>| {
        let mut new = names.difference(before).filter(|name| lasting.contains(*name));
        token.join(new.next().unwrap())
    };
    copy_material(&file(&with_other, &with_key), &file(&with_key, &before));

    let server = group.installation.serve();
    let client = server.client(&group.user);
    for _call in 0..20 {
        decrypts(&client, &blob).await.unwrap();
        round_trip(&client, &key).await.unwrap();
    }
    until_ready(&server, "b", 0.0).await;
    assert_eq!(server.count_logged("token.disagrees"), 1, "{}", server.log());
    let admin = format!("http://{}", server.admin_address());
    let (status, ready) = admin_client::get(&admin, "/readyz").await;
    assert_eq!(status, 200);
    assert!(ready.contains("degraded") && ready.contains("b: "), "{ready}");
    assert_eq!(server.stop(), Some(0));
    // Alone after a restart, it must not be the one that decides.
    group.rules("a", &[rule("CKR_DEVICE_ERROR")]);
    let config = group.installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    let refused = group.installation.run_under(&["timeout", "20"], &serve);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("token-disagrees.b"), "{refused:?}");
}

/// The first token has another key: the database knows which token is right, also if it has learned that from an
/// answer at a later use, as after an upgrade.
#[tokio::test]
async fn the_database_knows_that_the_first_token_is_the_wrong_one() {
    let group = Group::new();
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let token = only_directory(&group.installation.path("a").join("tokens"));
    let mut files = Vec::new();
    let mut keys = Vec::new();
    for _key in 0..3 {
        let before = group.objects("a");
        keys.push(create_key(&client).await.unwrap());
        group.until_objects(|a, b| a == b).await;
        let new = group.objects("a").difference(&before).map(|name| token.join(name)).collect();
        files.push(lasting(new).await);
    }
    assert_eq!(server.stop(), Some(0));
    group.installation.tamper("DELETE FROM key_answers").await;
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let blob = round_trip(&client, &keys[0]).await.unwrap();
    let third = round_trip(&client, &keys[2]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    group.replication.set(false);
    copy_material(&files[1], &files[0]);

    let server = group.installation.serve();
    let client = server.client(&group.user);
    for _call in 0..20 {
        decrypts(&client, &blob).await.unwrap();
        round_trip(&client, &keys[0]).await.unwrap();
    }
    until_ready(&server, "a", 0.0).await;
    until_ready(&server, "b", 1.0).await;
    decrypts(&client, &third).await.unwrap();
    assert_eq!(server.count_logged("token.disagrees"), 1, "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// The secret key among these files that stays: the gateway also makes objects for its tests, and its counter.
async fn lasting(mut files: Vec<PathBuf>) -> PathBuf {
    let end = Instant::now() + LIMIT;
    loop {
        files.retain(|file| is_secret_key(file));
        if files.len() == 1 {
            return files.remove(0);
        }
        assert!(Instant::now() < end, "{files:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the CKA_CLASS of an object file is CKO_SECRET_KEY: attribute number, type of a number, and value, 8
/// bytes each.
fn is_secret_key(file: &Path) -> bool {
    let class = [0_u64, 2, 4].map(u64::to_be_bytes).concat();
    fs::read(file).is_ok_and(|bytes| bytes.windows(24).any(|window| window == class))
}

/// A key that was replaced in a single token is not used, and all others are.
#[tokio::test]
async fn a_key_that_was_replaced_in_a_single_token_is_refused() {
    let (installation, user) = Installation::prepared();
    let token = only_directory(&installation.path("tokens"));
    let server = installation.serve();
    let client = server.client(&user);
    let (mut files, mut keys) = (Vec::new(), Vec::new());
    for _key in 0..3 {
        let before = object_names(&token);
        keys.push(create_key(&client).await.unwrap());
        let new = object_names(&token).difference(&before).map(|name| token.join(name)).collect();
        files.push(lasting(new).await);
    }
    assert_eq!(server.stop(), Some(0));
    // The answer of the first key is learned at the next use, the other is that of the creation.
    let mut database = installation.database().await;
    let forget = sqlx::query("DELETE FROM key_answers WHERE key_id = $1").bind(&*keys[0]);
    assert_eq!(forget.execute(&mut database).await.unwrap().rows_affected(), 1);
    sqlx::Connection::close(database).await.unwrap();
    let server = installation.serve();
    let client = server.client(&user);
    let mut blobs = Vec::new();
    for key in &keys {
        blobs.push(round_trip(&client, key).await.unwrap());
    }
    assert_eq!(server.stop(), Some(0));
    copy_material(&files[2], &files[0]);
    copy_material(&files[2], &files[1]);

    let server = installation.serve();
    let client = server.client(&user);
    for (key, blob) in keys.iter().zip(&blobs).take(2) {
        let encrypted = client.call("Encrypt", &[("KeyId", key), ("Plaintext", PLAINTEXT)]).await;
        assert!(matches!(encrypted, Err(CallError::Refused { .. })), "{encrypted:?}");
        assert!(decrypts(&client, blob).await.is_err());
    }
    decrypts(&client, &blobs[2]).await.unwrap();
    round_trip(&client, &keys[2]).await.unwrap();
    assert_eq!(server.count_logged("token.key_mismatch"), 2, "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// A scheduled deletion is complete only when every required token has destroyed the key. One that is away
/// delays it, and a late copy is destroyed again, also one that came while no gateway ran.
#[tokio::test]
async fn a_deletion_ends_when_every_token_has_destroyed_the_key() {
    let group = Group::new();
    let server = group.installation.serve();
    let client = server.client(&group.user);
    let before = group.objects("b");
    let key = create_key(&client).await.unwrap();
    group.until_objects(|a, b| a == b).await;
    let tokens =
        ["a", "b"].map(|name| only_directory(&group.installation.path(name).join("tokens")));
    let new = group.objects("b").difference(&before).map(|name| tokens[1].join(name)).collect();
    let file = lasting(new).await;
    let (name, copy) = (file.file_name().unwrap().to_owned(), fs::read(&file).unwrap());
    let blob = round_trip(&client, &key).await.unwrap();
    let days = [("KeyId", &*key), ("PendingWindowInDays", "7")];
    client.call("ScheduleKeyDeletion", &days).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    group.installation.change("UPDATE keys SET delete_at = 1 WHERE delete_at IS NOT NULL").await;

    group.replication.set(false);
    group.rules("b", &[rule("CKR_DEVICE_ERROR")]);
    let server = group.installation.serve();
    let client = server.client(&group.user);
    until(|| server.has_logged("a required token of the group is away")).await;
    assert!(tokens.iter().all(|token| token.join(&name).exists()), "{}", server.log());
    let tombstones = async || -> i64 {
        let mut database = group.installation.database().await;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM key_tombstones");
        count.fetch_one(&mut database).await.unwrap()
    };
    assert_eq!(tombstones().await, 0);
    assert!(decrypts(&client, &blob).await.is_err());
    group.rules("b", &[]);
    let is_gone = |a: BTreeSet<OsString>, b: BTreeSet<OsString>| {
        ![a, b].iter().any(|one| one.contains(&name))
    };
    group.until_objects(is_gone).await;
    let end = Instant::now() + LIMIT;
    while tombstones().await == 0 {
        assert!(Instant::now() < end, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // SoftHSM2 does not see a file again whose name it has deleted itself.
    let copy_late = |name: &str| {
        fs::write(tokens[1].join(name), &copy).unwrap();
        change_generation(&tokens[1]);
    };
    let is_late_gone = |_a: BTreeSet<OsString>, b: BTreeSet<OsString>| {
        !b.iter().any(|name| name.to_string_lossy().starts_with("late-"))
    };
    copy_late("late-1.object");
    group.until_objects(is_late_gone).await;
    until(|| server.has_logged("token.late_copy_destroyed")).await;
    assert_eq!(server.stop(), Some(0));
    copy_late("late-2.object");
    let server = group.installation.serve();
    group.until_objects(is_late_gone).await;
    until(|| server.has_logged("token.late_copy_destroyed")).await;
    assert!(!server.has_logged("token.unknown_keys"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// A gateway starts with one of its tokens, and uses the other as soon as that can be opened.
#[tokio::test]
async fn a_token_that_is_away_at_the_start_is_used_when_it_is_back() {
    let group = Group::new();
    let server = group.installation.serve();
    let key = create_key(&server.client(&group.user)).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    group.rules("a", &[rule("CKR_DEVICE_ERROR")]);
    let server = group.installation.serve();
    let client = server.client(&group.user);
    round_trip(&client, &key).await.unwrap();
    assert_eq!(metric(&server, "hsmgate_token_member_ready{token=\"a\"}").await, Some(0.0));
    group.rules("a", &[]);
    until_ready(&server, "a", 1.0).await;
    for _call in 0..4 {
        round_trip(&client, &key).await.unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    let used = [group.audited("Encrypt"), group.audited("Decrypt")];
    assert!(used.iter().any(|tokens| tokens.contains("a")), "{used:?}");
}
