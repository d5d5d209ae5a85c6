//! Several hosts in `store.url`: gateways find the primary, and follow a promotion by themselves.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::postgresql::{configure, create_key, encrypt};
use crate::support::admin_client::get;
use crate::support::calls::code;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgresql::{self, ROLE};
use crate::support::process::{until, until_async};
use crate::support::scale::{allowed, report};

/// A primary with a synchronous standby, and an installation on both.
struct Site {
    primary: postgresql::Server,
    standby: postgresql::Server,
    installation: Installation,
    admin: AccessKey,
}

impl Site {
    fn prepared() -> Self {
        let primary = postgresql::Server::start(&[]);
        primary.execute("postgres", "CREATE DATABASE keys");
        let standby = primary.standby();
        primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.execute("postgres", "SELECT pg_reload_conf()");
        let installation = Installation::new();
        configure(&installation, &url_of(&[&standby, &primary], ""), "");
        edit(&installation, |text| {
            text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"")
        });
        let admin = AccessKey::of(&installation.init().json());
        Self { primary, standby, installation, admin }
    }

    /// Starts a gateway of a cluster with this URL and these further settings of the store.
    fn serve(&self, name: &str, url: &str, further: &str) -> Server {
        let text = fs::read_to_string(self.installation.path("hsmgate.toml")).unwrap();
        let text = text
            .replace(&url_of(&[&self.standby, &self.primary], ""), url)
            .replace("[store]\n", &format!("[store]\n{further}"))
            .replace("/state\"", &format!("/state-{name}\""));
        let text = format!("{text}[cluster]\nname = \"{name}\"\n");
        let file = format!("{name}.toml");
        fs::write(self.installation.path(&file), text).unwrap();
        self.installation.serve_file(&file, &[], &[])
    }

    fn command(&self, file: &str, arguments: &[&str]) -> String {
        let config = self.installation.path(file);
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        self.installation.run_under(&["timeout", "60"], &arguments).done()
    }

    /// How often the promoted standby has a key.
    fn promoted_has(&self, key: &str) -> String {
        self.standby.execute("keys", &format!("SELECT COUNT(*) FROM keys WHERE id = '{key}'"))
    }
}

/// Changes the configuration.
fn edit(installation: &Installation, edit: impl FnOnce(String) -> String) {
    let file = installation.path("hsmgate.toml");
    fs::write(&file, edit(fs::read_to_string(&file).unwrap())).unwrap();
}

fn url_of(servers: &[&postgresql::Server], further: &str) -> String {
    let hosts: Vec<_> =
        servers.iter().map(|server| server.directory().display().to_string()).collect();
    format!("postgres://{ROLE}@localhost/keys?host={}{further}", hosts.join(","))
}

async fn readiness(gateway: &Server) -> (u16, Value) {
    let (status, body) = get(&format!("http://{}", gateway.admin_address()), "/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["dependencies"]["store"].clone())
}

async fn metric(gateway: &Server, name: &str) -> f64 {
    let admin = format!("http://{}", gateway.admin_address());
    let (_status, text) = get(&admin, "/metrics").await;
    let name = format!("{name} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Creates keys until it is told to end. Returns those that were acknowledged, and when.
async fn made(server: &Server, user: &AccessKey, has_ended: &AtomicBool) -> Vec<(String, Instant)> {
    let client = server.client(user);
    let mut made = Vec::new();
    while !has_ended.load(Ordering::Relaxed) {
        match client.call("CreateKey", &[]).await {
            Ok(created) => {
                let key = created["KeyMetadata"]["KeyId"].as_str().unwrap();
                made.push((key.to_owned(), Instant::now()));
            }
            // As a client that tries again.
            Err(_unavailable) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_go_on_at_a_promoted_standby_and_no_acknowledged_one_is_lost() {
    let site = Site::prepared();
    let in_order = url_of(&[&site.primary, &site.standby], "");
    let further = "&target_session_attrs=read-write";
    let reversed = url_of(&[&site.standby, &site.primary], further);
    let (a, b) = (site.serve("a", &in_order, ""), site.serve("b", &reversed, ""));
    let admin = &site.admin;
    let primary = site.primary.directory().display().to_string();
    for gateway in [&a, &b] {
        create_key(gateway, admin).await;
        assert!(gateway.has_logged(&primary), "{}", gateway.log());
    }
    assert!(metric(&a, "hsmgate_store_standby").await < 0.5);

    let count =
        || site.standby.execute("keys", "SELECT COUNT(*) FROM keys").parse::<usize>().unwrap();
    let has_ended = AtomicBool::new(false);
    let failing = async {
        until(|| count() >= 12).await;
        let promoted = tokio::task::block_in_place(|| {
            site.primary.kill();
            site.standby.promote();
            Instant::now()
        });
        let before = count();
        until(|| count() >= before + 8).await;
        has_ended.store(true, Ordering::Relaxed);
        promoted
    };
    let (of_a, of_b, promoted) =
        tokio::join!(made(&a, admin, &has_ended), made(&b, admin, &has_ended), failing);
    let acknowledged: Vec<_> = of_a.iter().chain(&of_b).collect();
    let later = acknowledged.iter().map(|(_key, at)| *at).filter(|at| *at > promoted);
    let recovered = later.min().unwrap() - promoted;
    report(&format!("changes are possible {recovered:?} after the standby is promoted"));
    assert!(recovered < allowed(Duration::from_secs(2)), "{recovered:?}");
    for (key, _at) in &acknowledged {
        assert_eq!(site.promoted_has(key), "1", "{} {}", a.log(), b.log());
    }
    for gateway in [&a, &b] {
        let client = gateway.client(admin);
        until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
        for (key, _at) in &acknowledged {
            let described = code(&client, "DescribeKey", &[("KeyId", key)]).await;
            assert_eq!(described, "", "{}", gateway.log());
        }
        until_async(async || readiness(gateway).await.1["status"] == "ok").await;
        assert!(!gateway.has_logged("store.lost_changes"), "{}", gateway.log());
    }
    let promoted = site.standby.directory().display().to_string();
    let status = site.command("a.toml", &["cluster", "status"]);
    assert!(status.contains(&promoted) && status.contains("primary"), "{status}");
    assert_eq!(a.stop(), Some(0));
    let a = site.serve("a", &in_order, "");
    create_key(&a, admin).await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_primary_is_left_and_not_used_again_when_it_comes_back() {
    let site = Site::prepared();
    let admin = &site.admin;
    let reversed = url_of(&[&site.standby, &site.primary], "");
    let in_order = url_of(&[&site.primary, &site.standby], "");
    edit(&site.installation, |text| text.replace(&reversed, &in_order));
    let gateway = site.installation.serve();
    let key = create_key(&gateway, admin).await;
    let blob = encrypt(&gateway, admin, &key).await;
    let client = gateway.client(admin);
    // No key of a gateway alone goes to a standby.
    site.primary.halt();
    until_async(async || readiness(&gateway).await.1["status"] == "degraded").await;
    assert!(!gateway.has_logged("store.standby"), "{}", gateway.log());
    site.standby.promote();
    let begun = Instant::now();
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    report(&format!(
        "a silent primary: changes are possible {:?} after the promotion",
        begun.elapsed()
    ));
    site.primary.resume();
    let key = create_key(&gateway, admin).await;
    assert_eq!(site.promoted_has(&key), "1");
    assert_eq!(gateway.stop(), Some(0));

    // It is the first host, and accepts changes.
    let gateway = site.installation.serve();
    let key = create_key(&gateway, admin).await;
    assert_eq!(site.promoted_has(&key), "1", "{}", gateway.log());
    let decrypted = gateway.client(admin).call("Decrypt", &[("CiphertextBlob", &blob)]).await;
    decrypted.unwrap();
    // A server without changes is left, even if there is no other one.
    site.standby.execute("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    site.standby.execute("postgres", "SELECT pg_reload_conf()");
    until(|| gateway.has_logged("store.no_server")).await;
    site.standby.execute("postgres", "ALTER SYSTEM RESET default_transaction_read_only");
    site.standby.execute("postgres", "SELECT pg_reload_conf()");
    let client = gateway.client(admin);
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    let doctor = site.installation.configured(&["doctor"]).done();
    assert!(doctor.contains("PostgreSQL responds"), "{doctor}");
    site.installation.configured(&["config", "check"]).done();
    assert_eq!(gateway.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_at_another_server_than_the_locks_is_shown_and_followed_if_a_host_leads_there() {
    let site = Site::prepared();
    let admin = &site.admin;
    // PgBouncer runs as another account.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    let sockets = directory.path();
    let lead_to = |server: &postgresql::Server| {
        let new = sockets.join("new");
        symlink(server.directory().join(".s.PGSQL.5432"), &new).unwrap();
        fs::rename(new, sockets.join(".s.PGSQL.5432")).unwrap();
    };
    lead_to(&site.primary);
    let pgbouncer = PgBouncer::before(&site.primary, "keys", |text| {
        let from = site.primary.directory().display().to_string();
        *text = text.replace(&format!("host={from}"), &format!("host={}", sockets.display()));
    });
    let pooled = pgbouncer.url("keys");
    let direct =
        |servers: &[&postgresql::Server]| format!("notify_url = \"{}\"\n", url_of(servers, ""));
    let a = site.serve("a", &pooled, &direct(&[&site.primary]));
    let b = site.serve("b", &pooled, &direct(&[&site.primary, &site.standby]));
    for gateway in [&a, &b] {
        create_key(gateway, admin).await;
    }
    // The former primary stays alive, and the pooler leads to the promoted one.
    site.standby.promote();
    lead_to(&site.standby);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = 'keys' AND pid <> pg_backend_pid()";
    site.primary.execute("postgres", cut);
    let client = b.client(admin);
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    let key = create_key(&b, admin).await;
    assert_eq!(site.promoted_has(&key), "1");
    until(|| a.has_logged("store.lock_lost")).await;
    let (status, store) = readiness(&a).await;
    assert_eq!((status, &store["status"]), (503, &"failed".into()), "{store}");
    until(|| a.has_logged("cluster.not_listening")).await;
    assert!(metric(&a, "hsmgate_cluster_notification_age_seconds").await > 5.0);
    until_async(async || metric(&b, "hsmgate_cluster_notification_age_seconds").await < 2.5).await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}
