//! Several gateways on one PostgreSQL database and one token.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::postgresql::configure;
use crate::authn::wrong_clock::Clock;
use crate::secrets::linearizable;
use crate::support::admin_client;
use crate::support::calls::{code, until_code};
use crate::support::constant_load::{self, CLIENTS, ConstantLoad};
use crate::support::identity::{AUDIENCE, Federation, ISSUER, Issuer, PROVIDER, SUBJECT};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::partition::Partition;
use crate::support::postgresql::{self, Database};
use crate::support::process::{until, until_async};
use crate::support::proxy::{Proxy, haproxy};
use crate::support::raw_http::Connection;
use crate::support::scale::{allowed, is_long, report};
use crate::support::signed_calls::{Call, SigningVariant};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

/// The configuration files of an installation with the gateways `a`, `b` and `c`, and the first AccessKey.
pub(super) struct Cluster<'s> {
    pub(super) installation: Installation,
    pub(super) admin: AccessKey,
    pub(super) database: Database<'s>,
}

impl Cluster<'static> {
    pub(super) fn prepared() -> Self {
        Self::on(postgresql::server().create_database())
    }
}

impl<'s> Cluster<'s> {
    fn on(database: Database<'s>) -> Self {
        let url = database.url();
        Self::at(database, &url, "")
    }

    /// At a URL of the database, with further settings of the store.
    pub(super) fn at(database: Database<'s>, url: &str, further: &str) -> Self {
        Self::of(Installation::new(), database, url, further)
    }

    /// Of an installation that has no database yet.
    pub(super) fn of(
        installation: Installation,
        database: Database<'s>,
        url: &str,
        further: &str,
    ) -> Self {
        configure(&installation, url, further);
        let text = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
        for name in ["a", "b", "c"] {
            let own = text.replace("/state\"", &format!("/state-{name}\""));
            let own = format!("{own}[cluster]\nname = \"{name}\"\n");
            fs::write(installation.path(&format!("{name}.toml")), own).unwrap();
        }
        let admin = AccessKey::of(&installation.init().json());
        Self { installation, admin, database }
    }

    /// Changes the configuration of a gateway.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut String)) {
        let path = self.installation.path(&format!("{name}.toml"));
        let mut text = fs::read_to_string(&path).unwrap();
        edit(&mut text);
        fs::write(&path, text).unwrap();
    }

    pub(super) fn serve(&self, name: &str) -> Server {
        self.installation.serve_file(&format!("{name}.toml"), &[], &[])
    }

    /// Runs a command with the configuration of a gateway.
    pub(super) fn command(&self, name: &str, arguments: &[&str]) -> String {
        let config = self.installation.path(&format!("{name}.toml"));
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        self.installation.run_under(&["timeout", "60"], &arguments).done()
    }

    /// The gateways `a` and `b` have the same addresses after each start, for a proxy.
    pub(super) fn keep_addresses(&self) {
        let held = ["a", "b"].map(|name| {
            let free = [0; 2].map(|_port| TcpListener::bind("127.0.0.1:0").unwrap());
            let [api, admin] = [0, 1].map(|at: usize| free[at].local_addr().unwrap());
            self.edit(name, |text| {
                *text = text
                    .replace("drain_ms = 0\n", "")
                    .replace("address = \"127.0.0.1:0\"", &format!("address = \"{api}\""))
                    .replace("address = \"\"", &format!("address = \"{admin}\""))
                    .replace(
                        "[service]\n",
                        "drain_ms = 3000\nproxy_protocol_from = [\"127.0.0.2\"]\n[service]\n",
                    )
                    .replace("[token]\n", "[token]\nmax_queue_wait_ms = 4000\n")
                    + "[limits]\ncalls_per_second = 0\n";
            });
            free
        });
        drop(held);
    }

    fn holder(&self) -> String {
        self.database
            .execute("SELECT holder FROM cluster_leases WHERE name = 'jobs' AND expires > 0")
    }
}

pub(super) async fn create_key(server: &Server, user: &AccessKey) -> String {
    let created = server.client(user).call("CreateKey", &[]).await.unwrap();
    created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

pub(super) async fn encrypt(server: &Server, user: &AccessKey, key: &str) -> Option<String> {
    let parameters = [("KeyId", key), ("Plaintext", PLAINTEXT)];
    let encrypted = server.client(user).call("Encrypt", &parameters).await.ok()?;
    encrypted["CiphertextBlob"].as_str().map(str::to_owned)
}

async fn decrypts(server: &Server, user: &AccessKey, blob: &str) -> bool {
    let decrypted = server.client(user).call("Decrypt", &[("CiphertextBlob", blob)]).await;
    decrypted.is_ok_and(|decrypted| decrypted["Plaintext"] == PLAINTEXT)
}

/// A change at one gateway is effective at all others within this time, and usually within the shorter one.
const AT_MOST: Duration = Duration::from_secs(5);
const USUALLY: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_gateway_is_effective_at_the_other_also_without_notifications() {
    let cluster = Cluster::prepared();
    let network = Partition::before(&cluster.database.socket());
    cluster.edit("a", |text| {
        *text = text.replace(&cluster.database.url(), &network.url_of(&cluster.database));
    });
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let admin = &cluster.admin;
    let key = create_key(&a, admin).await;
    until_async(async || encrypt(&b, admin, &key).await.is_some()).await;
    let blob = encrypt(&a, admin, &key).await.unwrap();
    assert!(decrypts(&b, admin, &blob).await);

    let of_key = [("KeyId", key.as_str())];
    let encryption = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    let (of_a, of_b) = (a.client(admin), b.client(admin));
    for arrive in [true, false] {
        network.drop_notifications(!arrive);
        let mut times = Vec::new();
        let changes = [("DisableKey", "Rejected.Disabled"), ("EnableKey", "")];
        for (action, outcome) in changes.repeat(if arrive { 10 } else { 5 }) {
            of_b.call(action, &of_key).await.unwrap();
            let begun = Instant::now();
            until_code(&of_a, "Encrypt", &encryption, outcome).await;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let how = if arrive { "with" } else { "without" };
        report(&format!(
            "{} changes {how} notifications were effective at the other gateway after {median:?} \
             (median) and {longest:?} (longest)",
            times.len()
        ));
        assert!(longest < AT_MOST, "{how} notifications: {times:?}");
        assert!(!arrive || median < allowed(USUALLY), "{times:?}");
    }

    let create = ["access-key", "create", "--json", "--user", "alice", "--policy"];
    let create = [&create[..], &["AliyunKMSFullAccess", "--reason", "a test"]].concat();
    let json: Value = serde_json::from_str(&cluster.command("a", &create)).unwrap();
    let alice = AccessKey::of(&json);
    until_async(async || encrypt(&b, &alice, &key).await.is_some()).await;
    let begun = Instant::now();
    cluster.command("b", &["access-key", "disable", &alice.id]);
    let client = a.client(&alice);
    until_async(async || !code(&client, "Encrypt", &encryption).await.is_empty()).await;
    assert!(begun.elapsed() < AT_MOST, "a right is taken away: {:?}", begun.elapsed());
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_change_of_a_secret_is_visible_at_the_other_gateway_with_its_answer() {
    let cluster = Cluster::prepared();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let clients = [a.client(&cluster.admin), b.client(&cluster.admin)];
    let name = ("SecretName", "db");
    let params = [name, ("VersionId", "v0"), ("SecretData", "v0")];
    clients[0].call("CreateSecret", &params).await.unwrap();
    // SoftHSM2 may not see a new key of another process at once.
    until_code(&clients[1], "GetSecretValue", &[name], "").await;
    for number in 1..=20 {
        let (writer, reader) = (&clients[number % 2], &clients[(number + 1) % 2]);
        let (version, former) = (format!("v{number}"), format!("v{}", number - 1));
        let params = [name, ("VersionId", &*version), ("SecretData", &*version)];
        writer.call("PutSecretValue", &params).await.unwrap();
        let current = async || {
            let read = reader.call("GetSecretValue", &[name]).await.unwrap();
            (read["VersionId"].clone(), read["SecretData"].clone())
        };
        assert_eq!(current().await, (version.as_str().into(), version.as_str().into()));
        for to in [&former, &version] {
            let stage = [name, ("VersionStage", "ACSCurrent"), ("MoveToVersion", to.as_str())];
            writer.call("UpdateSecretVersionStage", &stage).await.unwrap();
            assert_eq!(current().await, (to.as_str().into(), to.as_str().into()));
        }
    }
    let [a_client, b_client] = &clients;
    a_client.call("DeleteSecret", &[name]).await.unwrap();
    let window = "Rejected.ResourceInDeleteWindow";
    assert_eq!(code(b_client, "GetSecretValue", &[name]).await, window);
    b_client.call("RestoreSecret", &[name]).await.unwrap();
    assert_eq!(code(a_client, "GetSecretValue", &[name]).await, "");
    a_client.call("DeleteSecret", &[name, ("ForceDeleteWithoutRecovery", "true")]).await.unwrap();
    assert_eq!(code(b_client, "GetSecretValue", &[name]).await, "Forbidden.ResourceNotFound");
    b_client.call("CreateSecret", &params).await.unwrap();
    assert_eq!(code(a_client, "GetSecretValue", &[name]).await, "");
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test]
async fn labels_move_at_two_gateways_as_if_one_call_came_after_the_other() {
    let cluster = Cluster::prepared();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let clients = [a.client(&cluster.admin), b.client(&cluster.admin)];
    linearizable::create(&clients[0]).await;
    let readers = linearizable::instance_readers(&clients[0], &[&a.endpoint, &b.endpoint]).await;
    // SoftHSM2 may not see a new key of another process at once, and a client key is known with its
    // notification.
    until_code(&clients[1], "GetSecretValue", &[("SecretName", "db")], "").await;
    until_async(async || linearizable::may_read(&readers[1]).await).await;
    linearizable::assert_linearizable(&clients, &readers, 11).await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test]
async fn changes_at_all_gateways_lose_nothing_and_restarts_find_nothing_damaged() {
    let cluster = Cluster::prepared();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let admin = &cluster.admin;
    let create = async |server: &Server| {
        let mut keys = Vec::new();
        for _ in 0..8 {
            keys.push(create_key(server, admin).await);
        }
        keys
    };
    let (of_a, of_b) = tokio::join!(create(&a), create(&b));
    a.signal("KILL");
    a.wait();
    // SoftHSM2 may not see objects that another process created at the same instant, until it is opened again.
    let a = cluster.serve("a");
    assert_eq!(b.stop(), Some(0));
    let b = cluster.serve("b");
    for key in of_a.iter().chain(&of_b) {
        let blob = encrypt(&a, admin, key).await.unwrap();
        assert!(decrypts(&b, admin, &blob).await);
    }
    for (name, server) in [("a", a), ("b", b)] {
        let log = server.log();
        assert!(!log.contains("damaged"), "{log}");
        assert_eq!(server.stop(), Some(0));
        let audit = cluster.installation.path(&format!("state-{name}/audit.jsonl"));
        let opened = fs::read_to_string(&audit).unwrap();
        assert!(opened.contains(&format!("\"gateway\":\"{name}\"")), "{opened}");
        let bundle = cluster.installation.path(name);
        cluster.command(name, &["audit", "export", "--out", bundle.to_str().unwrap()]);
    }
    assert_audits_are_verified_together(&cluster);
}

/// The bundles `a` and `b` of both gateways.
fn assert_audits_are_verified_together(cluster: &Cluster<'_>) {
    let installation = &cluster.installation;
    let path = |name: &str| installation.path(name).to_str().unwrap().to_owned();
    let (a, b, copy) = (path("a"), path("b"), path("copy.jsonl"));
    let verify = |arguments: &[&str]| {
        let arguments = [&["audit", "verify"], arguments].concat();
        installation.run_under(&["timeout", "60"], &arguments)
    };
    let heads = format!("b={b}/manifest.json");
    let report = verify(&[&b, &a, "--heads", &heads, "--json"]).json();
    let [of_a, of_b] = report["gateways"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    for (report, name) in [(of_a, "a"), (of_b, "b")] {
        assert_eq!((&report["gateway"], &report["faults"]), (&json!(name), &json!([])), "{report}");
        assert_eq!(report["last"], report["witnessedThrough"], "{report}");
    }
    assert!(verify(&[&a]).done().contains("gateway b: its audit is not here"));
    verify(&[&a, &b, "--heads", &format!("{b}/manifest.json")]).failed(1);
    verify(&[&a, &b, "--from", "2"]).failed(1);

    // The manifest of `a` has a record of `b` too.
    let records = fs::read_to_string(path("state-b/audit.jsonl")).unwrap();
    fs::write(&copy, records.replace("\"eventName\":\"CreateKey\"", "\"eventName\":\"CreateKez\""))
        .unwrap();
    let altered = verify(&[&a, &copy]);
    assert_eq!(altered.code, Some(1), "{altered:?}");
    assert!(String::from_utf8_lossy(&altered.stdout).contains("was altered"), "{altered:?}");
    // One record of the middle is not there, or all from it on.
    let lines: Vec<_> = records.split_inclusive('\n').collect();
    let created =
        lines.iter().position(|line| line.contains("\"eventName\":\"CreateKey\"")).unwrap();
    let (before, after) = (lines[..created].concat(), lines[created + 1..].concat());
    for (kept, kind) in [(before.clone() + &after, "missing"), (before, "unsigned")] {
        fs::write(&copy, kept).unwrap();
        let removed = verify(&[&a, &copy, "--json"]);
        assert_eq!(removed.code, Some(1), "{removed:?}");
        let report: Value = serde_json::from_slice(&removed.stdout).unwrap();
        let [of_a, of_b] = report["gateways"].as_array().unwrap().as_slice() else {
            panic!("{report}")
        };
        assert_eq!(of_a["faults"], json!([]), "{report}");
        assert_eq!(of_b["faults"][0]["kind"], kind, "{report}");
    }
    fs::write(&copy, records.replace("\"gateway\":\"b\"", "\"gateway\":\"c\"")).unwrap();
    let lacking = verify(&[&a, &copy, "--json"]);
    assert!(
        String::from_utf8_lossy(&lacking.stdout).contains("gateway b: its audit is not here"),
        "{lacking:?}"
    );
}

#[tokio::test]
async fn one_gateway_runs_the_jobs_and_another_takes_them_over() {
    let cluster = Cluster::prepared();
    let a = cluster.serve("a");
    assert_eq!(cluster.holder(), "a");
    let b = cluster.serve("b");
    assert_eq!(cluster.holder(), "a");
    assert!(!b.has_logged("cluster.jobs_taken"));
    let status = || -> Value {
        serde_json::from_str(&cluster.command("a", &["cluster", "status", "--json"])).unwrap()
    };
    let shown = status();
    assert_eq!((&shown["jobs"], &shown["database_is_standby"]), (&"a".into(), &false.into()));
    let members = shown["members"].as_array().unwrap();
    let named: Vec<_> = members.iter().map(|one| (&one["name"], &one["is_alive"])).collect();
    assert_eq!(named, [(&"a".into(), &true.into()), (&"b".into(), &true.into())], "{shown}");
    for member in members {
        assert!(member["clock_offset_ms"].as_i64().unwrap().abs() < 60_000, "{shown}");
        assert_eq!(member["changes_behind"], 0, "{shown}");
    }
    a.stop();
    until(|| cluster.holder() == "b").await;
    let a = cluster.serve("a");
    let key = create_key(&a, &cluster.admin).await;
    b.signal("STOP");
    until(|| cluster.holder() == "a").await;
    assert!(encrypt(&a, &cluster.admin, &key).await.is_some());
    let of_key = [("KeyId", key.as_str())];
    a.client(&cluster.admin).call("DisableKey", &of_key).await.unwrap();
    // A gateway that was halted finds out that it runs the jobs no longer, and what has changed.
    b.signal("CONT");
    until(|| b.has_logged("cluster.jobs_lost")).await;
    let encryption = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    let client = b.client(&cluster.admin);
    until_code(&client, "Encrypt", &encryption, "Rejected.Disabled").await;
    assert_eq!(cluster.holder(), "a");
    b.signal("KILL");
    b.wait();
    until(|| status()["members"][1]["is_alive"] == false).await;
    let text = cluster.command("b", &["cluster", "status"]);
    assert!(text.contains("run by a") && text.contains("primary"), "{text}");
}

/// They start together, without a supervisor that would start one again, with several kinds of objects.
#[test]
fn gateways_that_start_together_with_one_seed_make_each_object_once() {
    let cluster = Cluster::prepared();
    let seed = cluster.installation.path("seed.toml");
    let keys = (0..8).map(|at| format!("[[key]]\nalias = \"key-{at}\"\nrotation = \"30d\"\n"));
    let rest = "[[user]]\nname = \"app\"\npolicies = [\"AliyunKMSReadOnlyAccess\"]\n\
                [[access_policy]]\nname = \"app\"\npermissions = [\"CryptoServiceKeyUser\"]\n\
                [[access_point]]\nname = \"app\"\npolicies = [\"app\"]\n";
    fs::write(&seed, keys.chain([rest.to_owned()]).collect::<String>()).unwrap();
    for name in ["a", "b"] {
        let file = cluster.installation.path(&format!("{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        let line = format!("[service]\nseed_file = \"{}\"\n", seed.display());
        fs::write(&file, text.replace("[service]\n", &line)).unwrap();
    }
    let (a, b) = std::thread::scope(|scope| {
        let b = scope.spawn(|| cluster.serve("b"));
        (cluster.serve("a"), b.join().unwrap())
    });
    for (name, server) in [("a", &a), ("b", &b)] {
        let listed = cluster.installation.client(
            &server.endpoint,
            &cluster.admin,
            &["key", "list", "--json"],
            b"",
        );
        assert_eq!(listed.json().as_array().unwrap().len(), 8, "{name}: {}", server.log());
        cluster.command(name, &["apply", "--plan", seed.to_str().unwrap()]);
    }
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_cut_off_serves_what_needs_no_change_and_then_catches_up() {
    let cluster = Cluster::prepared();
    let partition = Partition::before(&cluster.database.socket());
    for name in ["a", "b"] {
        let path = cluster.installation.path(&format!("{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let text = match name {
            "b" => text.replace(&cluster.database.url(), &partition.url_of(&cluster.database)),
            _ => text,
        };
        fs::write(&path, format!("{text}nonces = \"gateway\"\n")).unwrap();
    }
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let admin = &cluster.admin;
    let (kept, disabled) = (create_key(&a, admin).await, create_key(&a, admin).await);
    until_async(async || encrypt(&b, admin, &disabled).await.is_some()).await;
    until_async(async || encrypt(&b, admin, &kept).await.is_some()).await;
    let blob = encrypt(&a, admin, &kept).await.unwrap();

    partition.cut();
    assert!(decrypts(&b, admin, &blob).await);
    let client = b.client(admin);
    until_async(async || code(&client, "CreateKey", &[]).await == "ServiceUnavailableTemporary")
        .await;
    assert!(decrypts(&b, admin, &blob).await && encrypt(&b, admin, &kept).await.is_some());
    a.client(admin).call("DisableKey", &[("KeyId", disabled.as_str())]).await.unwrap();
    let made = create_key(&a, admin).await;

    partition.end();
    let encryption = [("KeyId", disabled.as_str()), ("Plaintext", PLAINTEXT)];
    until_code(&client, "Encrypt", &encryption, "Rejected.Disabled").await;
    until_async(async || encrypt(&b, admin, &made).await.is_some()).await;
    until_code(&client, "CreateKey", &[], "").await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_shares_nonces_refuses_requests_while_it_is_cut_off_and_accepts_none_twice()
{
    let cluster = Cluster::prepared();
    let partition = Partition::before(&cluster.database.socket());
    cluster.edit("b", |text| {
        *text = text.replace(&cluster.database.url(), &partition.url_of(&cluster.database));
    });
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let admin = &cluster.admin;
    let key = create_key(&a, admin).await;
    until_async(async || encrypt(&b, admin, &key).await.is_some()).await;
    let encryption = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    let captured = requests(&a, admin, "Encrypt", &encryption, 9);
    let secret = [("SecretName", "db"), ("VersionId", "v1"), ("SecretData", "x")];
    a.client(admin).call("CreateSecret", &secret).await.unwrap();
    until_code(&b.client(admin), "GetSecretValue", &secret[..1], "").await;

    partition.cut();
    let client = b.client(admin);
    // The first one waits for the database, and finds out.
    let refused = "ServiceUnavailableTemporary";
    let begun = Instant::now();
    // What reads the database while the nonce is written waits no longer.
    let codes = tokio::join!(
        code(&client, "Encrypt", &encryption),
        code(&client, "GetSecretValue", &secret[..1])
    );
    assert_eq!((&*codes.0, &*codes.1), (refused, refused));
    let waited = begun.elapsed();
    report(&format!("the first calls after the cut are refused after {waited:?}"));
    // Without a look at the server it would be the limit of a statement, 5 s.
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    until(|| b.has_logged("store.lock_lost") || b.has_logged("cluster.nonces_failed")).await;
    for action in ["Encrypt", "DescribeKey"] {
        assert_eq!(code(&client, action, &encryption[..]).await, refused, "{action}");
    }
    assert!(sent(&b, &captured[..3]).await.iter().all(|code| code == refused));
    let accepted = sent(&a, &captured).await;
    assert!(accepted.iter().all(String::is_empty), "the other gateway goes on: {accepted:?}");
    a.client(admin).call("DisableKey", &encryption[..1]).await.unwrap();

    partition.end();
    until_code(&client, "Encrypt", &encryption, "Rejected.Disabled").await;
    let again = sent(&b, &captured).await;
    assert!(again.iter().all(|code| code == "SignatureNonceUsed"), "{again:?}");
    until_code(&client, "EnableKey", &encryption[..1], "").await;
    assert!(encrypt(&b, admin, &key).await.is_some());
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

/// How many gateways a gateway counts.
async fn counted_members(server: &Server) -> String {
    let admin = format!("http://{}", server.admin_address());
    let (_status, text) = admin_client::get(&admin, "/metrics").await;
    let name = "hsmgate_cluster_members ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

/// The encryptions that gateways accept from clients that call without a pause, from the first refusal on.
async fn accepted(servers: &[&Server], user: &AccessKey, key: &str, window: Duration) -> usize {
    let calls = servers.iter().map(async |server| {
        let client = server.client(user);
        let encryption = [("KeyId", key), ("Plaintext", PLAINTEXT)];
        // What was saved in a second without calls.
        while code(&client, "Encrypt", &encryption).await.is_empty() {}
        let (begun, mut accepted) = (Instant::now(), 0);
        while begun.elapsed() < window {
            match &*code(&client, "Encrypt", &encryption).await {
                "" => accepted += 1,
                code => assert_eq!(code, "Rejected.Throttling"),
            }
        }
        accepted
    });
    futures_util::future::join_all(calls).await.into_iter().sum()
}

#[tokio::test]
async fn gateways_allow_the_limit_of_calls_together_and_the_last_one_alone() {
    const RATE: usize = 20;
    const SECONDS: usize = 3;
    let window = Duration::from_secs(SECONDS as u64);
    let cluster = Cluster::prepared();
    for name in ["a", "b"] {
        cluster.edit(name, |text| {
            let listener = "[admin]\naddress = \"127.0.0.1:0\"";
            *text = text.replace("[admin]\naddress = \"\"", listener);
            let limits = format!("[limits]\ncalls_per_second = {RATE}\n");
            text.push_str(&limits);
        });
    }
    let a = cluster.serve("a");
    let key = create_key(&a, &cluster.admin).await;
    let b = cluster.serve("b");
    let begun = Instant::now();
    until_async(async || counted_members(&a).await == "2" && counted_members(&b).await == "2")
        .await;
    let counted = begun.elapsed();
    assert!(counted < allowed(Duration::from_secs(2)), "{counted:?}");
    until_async(async || {
        let refused = code(&b.client(&cluster.admin), "Encrypt", &[("KeyId", &key)]).await;
        refused != "Forbidden.KeyNotFound"
    })
    .await;
    let together = accepted(&[&a, &b], &cluster.admin, &key, window).await;

    b.signal("KILL");
    b.wait();
    let begun = Instant::now();
    until_async(async || counted_members(&a).await == "1").await;
    let forgotten = begun.elapsed();
    assert!(forgotten < Duration::from_secs(12) + allowed(Duration::from_secs(1)), "{forgotten:?}");
    let alone = accepted(&[&a], &cluster.admin, &key, window).await;
    report(&format!(
        "of {RATE} calls a second, two gateways allowed {together} in {window:?} and one alone {alone}; a \
         gateway counted the other {counted:?} after its start and no more {forgotten:?} after its end"
    ));
    let limit = RATE * SECONDS;
    for accepted in [together, alone] {
        assert!((limit * 8 / 10..=limit + 4).contains(&accepted), "{accepted} of {limit}");
    }
    assert_eq!(a.stop(), Some(0));
}

#[tokio::test]
async fn gateways_of_one_name_or_without_a_name_are_refused_beside_a_cluster() {
    let cluster = Cluster::prepared();
    let a = cluster.serve("a");
    for file in ["a.toml", "hsmgate.toml"] {
        let text = fs::read_to_string(cluster.installation.path(file)).unwrap();
        let path = cluster.installation.path("another.toml");
        fs::write(&path, text.replace("/state", "/another-state")).unwrap();
        let serve = ["serve", "--config", path.to_str().unwrap()];
        let refused = cluster.installation.run_under(&["timeout", "60"], &serve);
        assert_ne!(refused.code, Some(124), "{refused:?}");
        assert!(refused.stderr.contains("another gateway uses the store"), "{refused:?}");
    }
    assert_eq!(a.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_leaves_what_another_gateway_is_making() {
    let cluster = Cluster::prepared();
    let a = cluster.serve("a");
    let admin = &cluster.admin;
    let create = async |server: &Server| {
        let parameters = [("KeySpec", "RSA_4096"), ("KeyUsage", "ENCRYPT/DECRYPT")];
        let created = server.client(admin).call("CreateKey", &parameters).await.unwrap();
        created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    };
    let starts = async {
        let mut keys = Vec::new();
        for _ in 0..3 {
            let server = tokio::task::block_in_place(|| cluster.serve("b"));
            keys.push(create(&server).await);
            server.signal("KILL");
            server.wait();
        }
        keys
    };
    let makes = async {
        let mut keys = Vec::new();
        for _ in 0..6 {
            keys.push(create(&a).await);
        }
        keys
    };
    let (of_a, of_b) = tokio::join!(makes, starts);
    assert_eq!(a.stop(), Some(0));
    let a = cluster.serve("a");
    for key in of_a.iter().chain(&of_b) {
        let versions = a.client(admin).call("ListKeyVersions", &[("KeyId", key)]).await.unwrap();
        let version = versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"].as_str().unwrap();
        let parameters = [
            ("KeyId", key.as_str()),
            ("KeyVersionId", version),
            ("Plaintext", PLAINTEXT),
            ("Algorithm", "RSAES_OAEP_SHA_1"),
        ];
        a.client(admin).call("AsymmetricEncrypt", &parameters).await.unwrap();
    }
    assert_eq!(a.stop(), Some(0));
}

/// Requests of all ways to sign, with a nonce of their own each.
fn requests(
    server: &Server,
    user: &AccessKey,
    action: &str,
    params: &[(&str, &str)],
    count: usize,
) -> Vec<Vec<u8>> {
    let variants: Vec<SigningVariant> = SigningVariant::all().collect();
    let user = (user.id.as_str(), user.secret.as_str());
    let request = |number: usize| {
        let variant = variants[number % variants.len()];
        Call::to(server.address(), user, variant, action, params).signed().bytes()
    };
    (0..count).map(request).collect()
}

/// The code of the answer to each request, over one connection; empty for a success.
async fn sent(server: &Server, requests: &[Vec<u8>]) -> Vec<String> {
    let mut connection = Connection::open(server.address()).await;
    let mut codes = Vec::new();
    for request in requests {
        connection.send(request).await;
        let answer = connection.answer().await.expect("the connection is kept");
        codes.push(answer.json()["Code"].as_str().unwrap_or_default().to_owned());
    }
    codes
}

#[tokio::test]
async fn a_request_is_accepted_once_by_all_gateways() {
    let cluster = Cluster::prepared();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let replays = std::env::var("HSMGATE_REPLAYS").map_or(500, |count| count.parse().unwrap());
    let key = create_key(&a, &cluster.admin).await;
    until_async(async || encrypt(&b, &cluster.admin, &key).await.is_some()).await;
    let encrypt = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    for (action, params, count) in [("Encrypt", &encrypt[..], replays), ("ListKeys", &[], 50)] {
        let calls = requests(&a, &cluster.admin, action, params, count);
        let first = sent(&a, &calls).await;
        assert!(first.iter().all(String::is_empty), "{first:?}");
        // The token encrypts while the nonce is looked for: the result is thrown away.
        let again = sent(&b, &calls).await;
        assert!(again.iter().all(|code| code == "SignatureNonceUsed"), "{again:?}");
    }

    let changes = requests(&a, &cluster.admin, "CreateKey", &[], 30);
    let (of_a, of_b) = tokio::join!(sent(&a, &changes), sent(&b, &changes));
    for codes in of_a.iter().zip(&of_b) {
        let accepted = usize::from(codes.0.is_empty()) + usize::from(codes.1.is_empty());
        let refused =
            [codes.0, codes.1].iter().filter(|code| **code == "SignatureNonceUsed").count();
        assert_eq!((accepted, refused), (1, 1), "{codes:?}");
    }
    assert_eq!(cluster.database.execute("SELECT COUNT(*) FROM keys"), "31");
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_is_warned_of_and_no_request_is_accepted_twice() {
    let clock = Clock::new();
    let mut cluster = Cluster::prepared();
    let a = cluster.serve("a");
    cluster.installation.environment =
        vec![("LD_PRELOAD", clock.library()), ("CLOCK_OFFSET_FILE", clock.offset_file())];
    let b = cluster.serve("b");
    cluster.installation.environment.clear();
    clock.move_by(120);
    until(|| b.has_logged("cluster.clock_wrong")).await;
    assert!(!a.has_logged("cluster.clock_wrong"), "{}", a.log());
    let status = cluster.command("a", &["cluster", "status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let mut members = status["members"].as_array().unwrap().iter();
    let of_b = members.find(|member| member["name"] == "b").unwrap();
    let offset = of_b["clock_offset_ms"].as_i64().unwrap();
    assert!((110_000..=130_000).contains(&offset), "{status}");

    for order in [[&a, &b], [&b, &a]] {
        let calls = requests(&a, &cluster.admin, "ListKeys", &[], 8);
        let codes = [sent(order[0], &calls).await, sent(order[1], &calls).await];
        // The young gateway refuses what its clock shows to be older than its start.
        let [first, second] = &codes;
        assert!(first.iter().chain(second).any(String::is_empty), "{codes:?}");
        for (first, second) in first.iter().zip(second) {
            assert_ne!((first.is_empty(), second.is_empty()), (true, true), "{codes:?}");
        }
    }
    clock.move_by(0);
    until(|| b.has_logged("cluster.clock_right")).await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test]
async fn requests_are_refused_while_nonces_cannot_be_shared_unless_each_gateway_decides() {
    let server = postgresql::Server::start(&[]);
    let cluster = Cluster::on(server.create_database());
    let a = cluster.serve("a");
    let path = cluster.installation.path("b.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}nonces = \"gateway\"\n")).unwrap();
    let b = cluster.serve("b");
    let key = create_key(&a, &cluster.admin).await;
    until_async(async || encrypt(&b, &cluster.admin, &key).await.is_some()).await;
    server.stop();
    let parameters = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    let code_of_a = code(&a.client(&cluster.admin), "Encrypt", &parameters).await;
    assert_eq!(code_of_a, "ServiceUnavailableTemporary");
    assert!(encrypt(&b, &cluster.admin, &key).await.is_some());
    server.restart();
    until_async(async || encrypt(&a, &cluster.admin, &key).await.is_some()).await;
}

#[tokio::test]
async fn a_session_works_at_every_gateway_at_once_and_its_token_once_in_the_cluster() {
    const LIMITS: &str = "[limits]\nauthentication_failures_per_second = 0\n";
    let cluster = Cluster::prepared();
    let issuer = Issuer::new();
    let path = |name: &str| cluster.installation.path(name).to_str().unwrap().to_owned();
    let (keys, providers, trust) = (path("jwks.json"), path("providers.toml"), path("trust.json"));
    fs::write(&keys, issuer.key_set().to_string()).unwrap();
    let provider = format!(
        "[[provider]]\nname = \"k8s\"\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\"]\n\
         keys_file = \"{keys}\"\naccept_once = true\n"
    );
    fs::write(&providers, provider).unwrap();
    for name in ["a.toml", "b.toml"] {
        let text = fs::read_to_string(path(name)).unwrap();
        let text = format!("{text}[identity]\nproviders_file = \"{providers}\"\n{LIMITS}");
        fs::write(path(name), text).unwrap();
    }
    let policy = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Federated": [PROVIDER]},
        "Condition": {"StringEquals": {"oidc:sub": SUBJECT}}}]});
    fs::write(&trust, policy.to_string()).unwrap();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let create = ["role", "create", "shop", "--policy", "AliyunKMSCryptoUserAccess"];
    cluster.command("a", &[&create[..], &["--reason", "a test"]].concat());
    let update = ["role", "update", "shop", "--trust", &trust, "--reason", "a test"];
    cluster.command("a", &update);
    let key = create_key(&a, &cluster.admin).await;
    until_async(async || encrypt(&b, &cluster.admin, &key).await.is_some()).await;
    let token = |number: usize| {
        let mut claims = Issuer::claims();
        claims["jti"] = number.into();
        issuer.token(&claims)
    };
    // Of a token of this second a gateway that has just started knows whether it was used.
    until_async(async || Federation::exchange_at(a.address(), &token(1000)).await.status == 200)
        .await;
    until_async(async || Federation::exchange_at(b.address(), &token(1001)).await.status == 200)
        .await;
    let encryption = [("KeyId", key.as_str()), ("Plaintext", PLAINTEXT)];
    for number in 0..20 {
        let token = token(number);
        let (at_a, at_b) = tokio::join!(
            Federation::exchange_at(a.address(), &token),
            Federation::exchange_at(b.address(), &token)
        );
        let (accepted, refused, other) =
            if at_a.status == 200 { (at_a, at_b, &b) } else { (at_b, at_a, &a) };
        assert_eq!((accepted.status, refused.status), (200, 401), "{}", refused.body);
        let session = accepted.json();
        let part = |name: &str| session["Credentials"][name].as_str().unwrap().to_owned();
        let user = AccessKey { id: part("AccessKeyId"), secret: part("AccessKeySecret") };
        let client = other.client(&user).with_security_token(part("SecurityToken").into());
        assert_eq!(code(&client, "Encrypt", &encryption).await, "", "at the other gateway");
        for gateway in [&a, &b] {
            let again = Federation::exchange_at(gateway.address(), &token).await;
            assert_eq!(again.refusal().1, "AuthenticationFail.OIDCToken.Invalid");
        }
    }
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

/// What a newer program makes of the database with a migration that this program works with.
const COMPATIBLE_MIGRATION: &str = "ALTER TABLE keys ADD COLUMN notes TEXT; \
    CREATE TABLE notes (name TEXT NOT NULL PRIMARY KEY); \
    INSERT INTO _sqlx_migrations SELECT 9999, 'compatible notes', installed_on, success, checksum, \
    execution_time FROM _sqlx_migrations WHERE version = 22";

/// The sample for HAProxy, with the addresses of these gateways.
fn sample(address: &str, gateways: [&Server; 2]) -> String {
    let mut text = include_str!("../../../packaging/haproxy/haproxy.cfg").to_owned();
    for (gateway, sample) in gateways.iter().zip(["192.0.2.11", "192.0.2.12"]) {
        let admin = gateway.admin_address();
        let (_host, port) = admin.rsplit_once(':').unwrap();
        // Another source than that of the other calls of the test, which have no PROXY header.
        let own = format!("{} port {port} source 127.0.0.2", gateway.address());
        text = text.replace(&format!("{sample}:8443 port 8080"), &own);
    }
    text.replace("bind :8443", &format!("bind {address}"))
}

/// HAProxy with the sample, in front of these gateways.
pub(super) async fn proxy_before(
    program: &str,
    cluster: &Cluster<'_>,
    gateways: [&Server; 2],
) -> Proxy {
    let configuration = |address: &str| sample(address, gateways);
    Proxy::start(program, &cluster.installation.path(""), configuration).await
}

/// Waits until a gateway encrypts with `alias/a` for callers of the proxy.
pub(super) async fn until_proxied(proxy: &Proxy, server: &Server, admin: &AccessKey) {
    let calls = || server.count_logged("action=\"Encrypt\"");
    let before = calls();
    until_async(async || {
        // A new connection goes to the gateway that has the fewest.
        let mut connection = Connection::open(&proxy.address).await;
        connection.send(&constant_load::encrypt(&proxy.address, admin)).await;
        connection.answer().await;
        calls() > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_behind_a_proxy_fails_no_request_and_a_kill_only_those_in_progress() {
    let Some(program) = haproxy() else { return };
    let cluster = Cluster::prepared();
    cluster.keep_addresses();
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let key = create_key(&a, &cluster.admin).await;
    let alias = [("AliasName", "alias/a"), ("KeyId", key.as_str())];
    a.client(&cluster.admin).call("CreateAlias", &alias).await.unwrap();
    until_async(async || encrypt(&b, &cluster.admin, "alias/a").await.is_some()).await;
    let rate = if is_long() { 500 } else { 200 };
    let proxy = proxy_before(&program, &cluster, [&a, &b]).await;

    let load = ConstantLoad::start(&proxy.address, &cluster.admin, rate);
    let serves = async |server: &Server| until_proxied(&proxy, server, &cluster.admin).await;
    serves(&a).await;
    serves(&b).await;
    cluster.database.execute(COMPATIBLE_MIGRATION);
    assert_eq!(a.stop(), Some(0));
    let a = cluster.serve("a");
    serves(&a).await;
    assert_eq!(b.stop(), Some(0));
    let b = cluster.serve("b");
    serves(&b).await;
    let seen = load.stop().await;
    report(&format!("rolling restart: {seen}"));
    assert_eq!(seen.failures, [""; 0], "{seen}");

    let load = ConstantLoad::start(&proxy.address, &cluster.admin, rate);
    serves(&b).await;
    b.signal("KILL");
    assert_eq!(b.wait(), None);
    let (before, after) = (a.count_logged("action=\"Encrypt\""), rate as usize);
    until(|| a.count_logged("action=\"Encrypt\"") > before + after).await;
    let seen = load.stop().await;
    report(&format!("kill: {seen}"));
    assert!(seen.failures.len() <= CLIENTS as usize, "{seen}: {:?}", seen.failures);
    assert_eq!(a.stop(), Some(0));
}
