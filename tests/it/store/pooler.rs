//! A store behind PgBouncer, with a real server.

use std::fs;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::postgresql::{configure, create_key, encrypt};
use crate::support::admin_client;
use crate::support::calls::{code, until_code};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::partition::Partition;
use crate::support::pgbouncer::{IGNORED, PgBouncer};
use crate::support::postgresql::{self, Database};
use crate::support::process::{until, until_async};

const MODE: &str = "pool_mode = transaction";

fn notify_url(url: &str) -> String {
    format!("notify_url = \"{url}\"\n")
}

#[test]
fn a_pooler_that_loses_sessions_is_refused_until_a_direct_way_is_named() {
    let database = postgresql::server().create_database();
    let init = |url: &str, further: &str| {
        let installation = Installation::new();
        configure(&installation, url, further);
        installation.init()
    };
    let pgbouncer = PgBouncer::start(&database, |text| *text = text.replace(IGNORED, ""));
    let refused = init(&pgbouncer.url_of(&database), "").failed(2);
    assert!(refused.contains("ignore_startup_parameters"), "{refused}");
    drop(pgbouncer);

    let sizes = ["default_pool_size = 1", "", "default_pool_size = 20\nserver_round_robin = 1"];
    for size in sizes {
        let edit = |text: &mut String| *text = text.replace("default_pool_size = 20", size);
        let pgbouncer = PgBouncer::start(&database, edit);
        let url = pgbouncer.url_of(&database);
        let refused = init(&url, "").failed(2);
        assert!(refused.contains("Set store.notify_url"), "{refused}");
        let refused = init(&url, &notify_url(&url)).failed(2);
        assert!(refused.contains("store.notify_url leads to a pooler"), "{refused}");
        let other = postgresql::server().create_database();
        let refused = init(&url, &notify_url(&other.url())).failed(2);
        assert!(refused.contains("another database"), "{refused}");
    }
    assert_eq!(database.execute("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let pgbouncer = PgBouncer::start(&database, |text| {
        *text = text.replace(MODE, "pool_mode = session");
    });
    let installation = Installation::new();
    configure(&installation, &pgbouncer.url_of(&database), "");
    AccessKey::of(&installation.init().json());
    let server = installation.serve();
    assert_eq!(server.stop(), Some(0));
}

/// The age of the oldest notification that a gateway has missed.
async fn notification_age(server: &Server) -> f64 {
    let admin = format!("http://{}", server.admin_address());
    let (_status, text) = admin_client::get(&admin, "/metrics").await;
    let name = "hsmgate_cluster_notification_age_seconds ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

/// Two gateways behind a pooler in transaction mode. The notifications of `b` come through the network.
fn cluster<'s>(database: Database<'s>, pgbouncer: &PgBouncer, network: &Partition) -> Cluster<'s> {
    let (pooled, direct) = (pgbouncer.url_of(&database), database.url());
    let of_b = network.url_of(&database);
    let cluster = Cluster::at(database, &pooled, &notify_url(&direct));
    for name in ["a", "b"] {
        let path = cluster.installation.path(&format!("{name}.toml"));
        let mut text = fs::read_to_string(&path).unwrap();
        text = text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
        if name == "b" {
            text = text.replace(&direct, &of_b);
        }
        fs::write(&path, text).unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_behind_a_pooler_serve_and_notice_when_notifications_do_not_arrive() {
    let database = postgresql::server().create_database();
    // Each transaction gets the session that was unused for the longest time.
    let pgbouncer = PgBouncer::start(&database, |text| text.push_str("server_round_robin = 1\n"));
    let network = Partition::before(&database.socket());
    let cluster = cluster(database, &pgbouncer, &network);
    let (a, b) = (cluster.serve("a"), cluster.serve("b"));
    let admin = &cluster.admin;
    let (of_a, of_b) = (a.client(admin), b.client(admin));

    let secret = ("SecretName", "db");
    let create = [secret, ("VersionId", "v1"), ("SecretData", "hunter 2")];
    of_a.call("CreateSecret", &create).await.unwrap();
    until_code(&of_b, "GetSecretValue", &[secret], "").await;
    let key = create_key(&a, admin).await;
    let encryption = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
    until_code(&of_b, "Encrypt", &encryption, "").await;
    let change = async |action: &str, outcome: &str| {
        of_a.call(action, &[("KeyId", key.as_str())]).await.unwrap();
        let begun = Instant::now();
        until_code(&of_b, "Encrypt", &encryption, outcome).await;
        begun.elapsed()
    };
    let mut times = Vec::new();
    for (action, outcome) in [("DisableKey", "Rejected.Disabled"), ("EnableKey", "")].repeat(10) {
        times.push(change(action, outcome).await);
    }
    times.sort_unstable();
    println!("20 changes were effective at the other gateway after, in order: {times:?}");
    assert!(times[19] < Duration::from_secs(5), "{times:?}");
    assert!(cluster.command("a", &["doctor"]).contains("store.notify_url"));

    until_async(async || notification_age(&b).await < 2.0).await;
    network.drop_notifications(true);
    until(|| b.has_logged("cluster.not_listening")).await;
    assert!(notification_age(&b).await > 5.0);
    for (action, outcome) in [("DisableKey", "Rejected.Disabled"), ("EnableKey", "")] {
        let time = change(action, outcome).await;
        assert!(time < Duration::from_secs(5), "by polling: {time:?}");
    }
    until_async(async || notification_age(&a).await < 2.0).await;
    network.drop_notifications(false);
    until(|| b.has_logged("cluster.listening")).await;
    until_async(async || notification_age(&b).await < 2.0).await;

    a.signal("KILL");
    a.wait();
    let a = cluster.serve("a");
    encrypt(&a, admin, &key).await;
    assert_eq!(code(&b.client(admin), "CreateKey", &[]).await, "");
    for server in [a, b] {
        let log = server.log();
        assert!(!log.contains("damaged") && !log.contains("lock_lost"), "{log}");
        assert_eq!(server.stop(), Some(0));
    }
}
