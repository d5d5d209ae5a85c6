//! The promotion of a PostgreSQL standby under gateways of a cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::postgresql::{create_key, encrypt};
use crate::support::admin_client::get;
use crate::support::calls::{code, refused};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::postgresql::{self, ROLE};
use crate::support::process::{until, until_async};
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, SigningVariant};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const UNAVAILABLE: &str = "ServiceUnavailableTemporary";
pub(super) const REFUSED_AS_OLD: [&str; 2] = ["InvalidTimeStamp.Expired", "SignatureNonceUsed"];

/// A primary with a standby, behind one socket, and an installation with the gateways `a` and `b` on it.
pub(super) struct Site {
    primary: postgresql::Server,
    pub(super) standby: postgresql::Server,
    installation: Installation,
    pub(super) admin: AccessKey,
}

impl Site {
    pub(super) fn prepared() -> Self {
        let primary = postgresql::Server::start(&[]);
        primary.execute("postgres", "CREATE DATABASE keys");
        let installation = Installation::new();
        let sockets = installation.path("sockets");
        fs::create_dir(&sockets).unwrap();
        let url = format!("postgres://{ROLE}@localhost/keys?host={}", sockets.display());
        let file = format!("sqlite://{}", installation.path("hsmgate.db").display());
        installation.configure(|text| *text = text.replace(&file, &url));
        let text = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
        for name in ["a", "b"] {
            let own = text
                .replace("/state\"", &format!("/state-{name}\""))
                .replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
            let own = format!("{own}[cluster]\nname = \"{name}\"\n");
            fs::write(installation.path(&format!("{name}.toml")), own).unwrap();
        }
        let standby = primary.standby();
        lead_to(&installation, &primary);
        let admin = AccessKey::of(&installation.init().json());
        Self { primary, standby, installation, admin }
    }

    pub(super) fn serve(&self, name: &str) -> Server {
        self.installation.serve_file(&format!("{name}.toml"), &[], &[])
    }

    fn command(&self, name: &str, arguments: &[&str]) -> String {
        let config = self.installation.path(&format!("{name}.toml"));
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        self.installation.run_under(&["timeout", "60"], &arguments).done()
    }

    /// Waits until the standby has a key, and knows that the gateways were there in a later second.
    pub(super) async fn replicated(&self, key: &str) {
        let now = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let now: i64 = self.standby.execute("keys", now).parse().unwrap();
        let has_key = format!("SELECT COUNT(*) FROM keys WHERE id = '{key}'");
        until(|| self.standby.execute("keys", &has_key) == "1").await;
        let seen = || self.standby.execute("keys", "SELECT MIN(seen) FROM cluster_members");
        until(|| seen().parse::<i64>().unwrap() > now + 1000).await;
    }

    /// Waits until the standby knows that a gateway has stopped.
    async fn has_stopped(&self, name: &str) {
        let count = format!("SELECT COUNT(*) FROM cluster_leases WHERE name = 'stopped/{name}'");
        until(|| self.standby.execute("keys", &count) == "1").await;
    }

    /// Ends the primary at once, and lets the standby take its place.
    pub(super) fn fail_over(&self) {
        self.primary.crash();
        lead_to(&self.installation, &self.standby);
        self.standby.promote();
    }
}

/// Lets the socket of the configurations lead to this server.
fn lead_to(installation: &Installation, server: &postgresql::Server) {
    let socket: PathBuf = installation.path("sockets/.s.PGSQL.5432");
    let new = installation.path("sockets/new");
    symlink(server.directory().join(".s.PGSQL.5432"), &new).unwrap();
    fs::rename(new, socket).unwrap();
}

async fn readiness(gateway: &Server) -> (u16, String) {
    let (status, body) = get(&format!("http://{}", gateway.admin_address()), "/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["dependencies"]["store"]["status"].as_str().unwrap().to_owned())
}

async fn decrypts(server: &Server, user: &AccessKey, blob: &str) -> bool {
    let decrypted = server.client(user).call("Decrypt", &[("CiphertextBlob", blob)]).await;
    decrypted.is_ok_and(|decrypted| decrypted["Plaintext"] == PLAINTEXT)
}

/// Waits until a gateway decrypts again.
pub(super) async fn until_decrypts(server: &Server, user: &AccessKey, blob: &str) {
    let decrypted = until_async(async || decrypts(server, user, blob).await);
    let limit = Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, decrypted).await.is_ok(), "{}", server.log());
}

pub(super) fn signed_list(user: &AccessKey, address: &str) -> Vec<u8> {
    let variant = SigningVariant::all().next().unwrap();
    Call::to(address, (&user.id, &user.secret), variant, "ListKeys", &[]).signed().bytes()
}

/// The code of the answer to a request that was signed before.
pub(super) async fn sent(server: &Server, request: &[u8]) -> String {
    let mut connection = Connection::open(server.address()).await;
    connection.send(request).await;
    let answer = connection.answer().await.unwrap();
    answer.json()["Code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_changes_are_recognized_listed_and_accepted_and_cryptography_goes_on() {
    let site = Site::prepared();
    let (a, b) = (site.serve("a"), site.serve("b"));
    let admin = &site.admin;
    let kept = create_key(&a, admin).await;
    let blob = encrypt(&a, admin, &kept).await;
    // SoftHSM2 may not see a new key of another process at once.
    until_decrypts(&b, admin, &blob).await;
    site.replicated(&kept).await;

    site.standby.cut_replication();
    let lost = create_key(&a, admin).await;
    let lost_blob = encrypt(&a, admin, &lost).await;
    a.client(admin).call("DisableKey", &[("KeyId", &kept)]).await.unwrap();
    let lost_at_b = create_key(&b, admin).await;
    let request = signed_list(admin, b.address());
    assert_eq!(sent(&a, &request).await, "");

    site.fail_over();
    for gateway in [&a, &b] {
        until(|| gateway.has_logged("store.lost_changes")).await;
        until_decrypts(gateway, admin, &blob).await;
        encrypt(gateway, admin, &kept).await;
        assert_eq!(readiness(gateway).await, (200, "degraded".to_owned()));
        let client = gateway.client(admin);
        let decrypted = code(&client, "Decrypt", &[("CiphertextBlob", &lost_blob)]).await;
        assert_eq!(decrypted, "Forbidden.KeyNotFound");
        assert_eq!(refused(&client, "CreateKey", &[]).await, (503, UNAVAILABLE.to_owned()));
        assert_eq!(gateway.count_logged("event=\"store.lost_changes\""), 1, "{}", gateway.log());
        assert!(!gateway.has_logged("damaged"), "{}", gateway.log());
    }
    let again = sent(&b, &request).await;
    assert!(REFUSED_AS_OLD.contains(&&*again), "{again}");
    // A start follows what the others have found.
    b.signal("KILL");
    b.wait();
    let b = site.serve("b");
    assert_eq!(readiness(&b).await, (200, "degraded".to_owned()));
    assert!(decrypts(&b, admin, &blob).await);

    let audits =
        ["a", "b"].map(|name| site.installation.path(&format!("state-{name}/audit.jsonl")));
    let audits = audits.each_ref().map(|path| path.to_str().unwrap());
    let listed = site.command("a", &["cluster", "lost", "--json", audits[0], audits[1]]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let gateways = listed["gateways"].as_array().unwrap().iter();
    let changes = gateways.flat_map(|one| one["changes"].as_array().unwrap());
    let changes: Vec<_> = changes
        .map(|one| (one["action"].as_str().unwrap(), one["resource"].as_str().unwrap()))
        .collect();
    let expected = [("CreateKey", &*lost), ("DisableKey", &*kept), ("CreateKey", &*lost_at_b)];
    assert_eq!(changes, expected, "{listed}");
    let text = site.command("a", &["cluster", "lost"]);
    assert!(text.contains(&lost) && !text.contains(&lost_at_b), "{text}");

    site.command("b", &["cluster", "accept", "--yes", "--reason", "a drill"]);
    for gateway in [&a, &b] {
        let client = gateway.client(admin);
        until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
        until_async(async || readiness(gateway).await == (200, "ok".to_owned())).await;
    }
    assert!(fs::read_to_string(audits[1]).unwrap().contains("a drill"));
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
    // The token has the lost keys.
    site.command("a", &["recover", "--reason", "a drill"]);
    // What a gateway remembers of the former primary, that comes back after the loss was accepted.
    let seen = site.installation.path("state-a/database-seen.json");
    let mut remembered: Value = serde_json::from_slice(&fs::read(&seen).unwrap()).unwrap();
    remembered["timeline"] = "00000001".into();
    for part in remembered["parts"]["catalogue"].as_object_mut().unwrap().values_mut() {
        *part = (part.as_i64().unwrap() + 1000).into();
    }
    fs::write(&seen, remembered.to_string()).unwrap();
    let a = site.serve("a");
    assert!(a.has_logged("store.loss_accepted_before"), "{}", a.log());
    assert!(decrypts(&a, admin, &lost_blob).await, "{}", a.log());
    create_key(&a, admin).await;
    assert!(!a.has_logged("store.lost_changes"), "{}", a.log());
    assert_eq!(a.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_on_a_database_that_lost_changes_while_no_gateway_ran() {
    let site = Site::prepared();
    let a = site.serve("a");
    let admin = &site.admin;
    let kept = create_key(&a, admin).await;
    let blob = encrypt(&a, admin, &kept).await;
    site.replicated(&kept).await;
    site.standby.cut_replication();
    create_key(&a, admin).await;
    // An orderly stop raises the counter of the token.
    assert_eq!(a.stop(), Some(0));

    site.fail_over();
    let a = site.serve("a");
    assert_eq!(a.count_logged("event=\"store.lost_changes\""), 1, "{}", a.log());
    assert!(decrypts(&a, admin, &blob).await);
    let client = a.client(admin);
    assert_eq!(refused(&client, "CreateKey", &[]).await, (503, UNAVAILABLE.to_owned()));
    site.command("a", &["cluster", "accept", "--yes", "--reason", "a drill"]);
    create_key(&a, admin).await;
    assert_eq!(a.stop(), Some(0));
    let a = site.serve("a");
    assert_eq!(readiness(&a).await, (200, "ok".to_owned()));
    assert_eq!(a.stop(), Some(0));
    // A promotion that no gateway has compared, or a copy of another server's database.
    let other = "UPDATE cluster_leases SET holder = '0000000A' WHERE name = 'timeline'";
    site.standby.execute("keys", other);
    site.command("a", &["recover", "--reason", "a drill"]);
    let a = site.serve("a");
    create_key(&a, admin).await;
    assert_eq!(a.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_synchronous_replication_a_promotion_loses_nothing_and_needs_no_operator() {
    let site = Site::prepared();
    site.primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    site.primary.execute("postgres", "SELECT pg_reload_conf()");
    let (a, b) = (site.serve("a"), site.serve("b"));
    let admin = &site.admin;
    let mut keys = Vec::new();
    let making = async |server: &Server| {
        let mut made = Vec::new();
        loop {
            match server.client(admin).call("CreateKey", &[]).await {
                Ok(created) => {
                    made.push(created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned());
                }
                Err(_unknown) => return made,
            }
        }
    };
    let failing = async {
        let made = "SELECT COUNT(*) FROM keys";
        until(|| site.standby.execute("keys", made).parse::<usize>().unwrap() >= 8).await;
        tokio::task::block_in_place(|| site.fail_over());
    };
    let (of_a, of_b, ()) = tokio::join!(making(&a), making(&b), failing);
    keys.extend(of_a.into_iter().chain(of_b));
    for gateway in [&a, &b] {
        let client = gateway.client(admin);
        until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
        for key in &keys {
            let described = code(&client, "DescribeKey", &[("KeyId", key)]).await;
            assert_eq!(described, "", "{}", gateway.log());
        }
        assert!(!gateway.has_logged("store.lost_changes"), "{}", gateway.log());
    }
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_at_a_standby_serves_what_needs_no_change_until_its_promotion() {
    let site = Site::prepared();
    let a = site.serve("a");
    let admin = &site.admin;
    let kept = create_key(&a, admin).await;
    let blob = encrypt(&a, admin, &kept).await;
    site.replicated(&kept).await;
    let file = site.installation.path("b.toml");
    let text = fs::read_to_string(&file).unwrap();
    let sockets = site.installation.path("sockets").display().to_string();
    let text = text.replace(&sockets, &site.standby.directory().display().to_string());
    fs::write(&file, format!("{text}nonces = \"gateway\"\n")).unwrap();

    let b = site.serve("b");
    assert!(decrypts(&b, admin, &blob).await);
    let of_b = encrypt(&b, admin, &kept).await;
    let client = b.client(admin);
    assert_eq!(refused(&client, "CreateKey", &[]).await, (503, UNAVAILABLE.to_owned()));
    assert_eq!(readiness(&b).await, (200, "degraded".to_owned()));
    let later = create_key(&a, admin).await;
    until_async(async || code(&client, "DescribeKey", &[("KeyId", &later)]).await.is_empty()).await;
    assert_eq!(a.stop(), Some(0));
    site.has_stopped("a").await;

    site.fail_over();
    let promoted = Instant::now();
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    // Nobody waits for a gateway that has stopped.
    assert!(promoted.elapsed() < Duration::from_secs(10), "{}", b.log());
    until_async(async || readiness(&b).await == (200, "ok".to_owned())).await;
    // Requests that were signed in the second of the promotion are refused.
    until_decrypts(&b, admin, &of_b).await;
    encrypt(&b, admin, &kept).await;
    assert!(!b.has_logged("store.lost_changes"), "{}", b.log());
    assert_eq!(b.stop(), Some(0));
    let b = site.serve("b");
    assert!(decrypts(&b, admin, &of_b).await);
    // Which nonces of the former primary are missing is not known to a gateway that was not there.
    let request = signed_list(admin, b.address());
    let a = site.serve("a");
    assert!(a.has_logged("cluster.nonces_lost"), "{}", a.log());
    let code = sent(&a, &request).await;
    assert!(REFUSED_AS_OLD.contains(&&*code), "{code}");
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_gateway_finds_a_loss_that_changes_hide_and_a_former_primary_is_recognized() {
    let site = Site::prepared();
    let (a, b) = (site.serve("a"), site.serve("b"));
    let admin = &site.admin;
    let kept = create_key(&a, admin).await;
    let blob = encrypt(&a, admin, &kept).await;
    site.replicated(&kept).await;
    assert_eq!(a.stop(), Some(0));
    site.has_stopped("a").await;
    site.standby.cut_replication();
    let describe = async |gateway: &Server, text: &str| {
        let params = [("KeyId", kept.as_str()), ("Description", text)];
        gateway.client(admin).call("UpdateKeyDescription", &params).await.unwrap();
    };
    describe(&b, "lost").await;
    let revision = "SELECT value FROM facts WHERE name = 'catalogue-revision'";
    let revision: i64 = site.primary.execute("keys", revision).parse().unwrap();
    // What it has seen is known after its end once it has recorded it.
    let seen = site.installation.path("state-b/database-seen.json");
    let recorded = || serde_json::from_slice::<Value>(&fs::read(&seen).unwrap()).unwrap();
    until(|| recorded()["catalogue"].as_i64().unwrap() >= revision).await;
    b.signal("KILL");
    b.wait();

    site.fail_over();
    // As if it had been away for long.
    let earlier = "UPDATE cluster_members SET seen = seen - 20000 WHERE name = 'b'";
    site.standby.execute("keys", earlier);
    let a = site.serve("a");
    // They raise the same revisions as the change that was lost.
    for text in ["1", "2", "3"] {
        describe(&a, text).await;
    }
    assert!(!a.has_logged("store.lost_changes"), "{}", a.log());
    let b = site.serve("b");
    for gateway in [&a, &b] {
        until(|| gateway.has_logged("store.lost_changes")).await;
        until_decrypts(gateway, admin, &blob).await;
    }
    site.command("b", &["cluster", "accept", "--yes", "--reason", "a drill"]);
    for gateway in [&a, &b] {
        let client = gateway.client(admin);
        until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    }
    // What b may have leased before it ended is counted.
    let counts = format!("SELECT MIN(invocations) FROM key_versions WHERE key_id = '{kept}'");
    assert!(site.standby.execute("keys", &counts).parse::<i64>().unwrap() >= 60_000_000);

    site.standby.crash();
    site.primary.restart();
    lead_to(&site.installation, &site.primary);
    for gateway in [&a, &b] {
        let lost = || gateway.count_logged("event=\"store.lost_changes\"") == 2;
        until(lost).await;
        until_decrypts(gateway, admin, &blob).await;
        let client = gateway.client(admin);
        assert_eq!(refused(&client, "CreateKey", &[]).await, (503, UNAVAILABLE.to_owned()));
    }
    site.command("a", &["cluster", "accept", "--yes", "--reason", "a drill"]);
    for gateway in [&a, &b] {
        let client = gateway.client(admin);
        until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    }
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}
