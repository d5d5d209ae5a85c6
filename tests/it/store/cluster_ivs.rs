//! The initialization vectors of several gateways: no key version encrypts twice with one.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::cluster::{Cluster, create_key, encrypt};
use crate::support::constant_load;
use crate::support::installation::{AccessKey, Server};
use crate::support::process::until_async;
use crate::support::raw_http::Connection;
use crate::support::scale::{report, scaled};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Connections to each gateway.
const CONNECTIONS: usize = 6;
/// The version of the key (UUID) and the IV, at the start of a ciphertext.
const PAIR_BYTES: usize = 36 + 12;

type Pair = [u8; PAIR_BYTES];

/// Clients that encrypt with `alias/a` until they are stopped or their gateway ends.
struct Clients {
    tasks: JoinSet<Vec<Pair>>,
    done: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Clients {
    fn start(servers: &[Server], user: &AccessKey) -> Self {
        let (done, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for server in servers.iter().flat_map(|server| [server; CONNECTIONS]) {
            let (address, user) = (server.address().to_owned(), user.clone());
            tasks.spawn(keep_encrypting(address, user, Arc::clone(&done), Arc::clone(&is_over)));
        }
        Self { tasks, done, is_over }
    }

    async fn until_done(&self, count: usize) {
        let done = || self.done.load(Ordering::Relaxed);
        while done() < count {
            let next = count.min(done() + CONNECTIONS);
            until_async(async || done() >= next).await;
        }
    }

    async fn stop(mut self, pairs: &mut Vec<Pair>) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(found) = self.tasks.join_next().await {
            pairs.extend(found.unwrap());
        }
    }
}

async fn keep_encrypting(
    address: String,
    user: AccessKey,
    done: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut connection = Connection::of(TcpStream::connect(&address).await.unwrap());
    while !is_over.load(Ordering::Relaxed) {
        connection.send(&constant_load::encrypt(&address, &user)).await;
        let Some(answer) = connection.answer().await else { break };
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let blob = STANDARD.decode(body["CiphertextBlob"].as_str().unwrap()).unwrap();
        pairs.push(*blob.first_chunk().unwrap());
        done.fetch_add(1, Ordering::Relaxed);
    }
    pairs
}

/// The encryptions that the database counts of each version, by its id.
pub(super) fn counted(cluster: &Cluster<'_>) -> HashMap<String, usize> {
    let rows = cluster.database.execute("SELECT id, invocations FROM key_versions");
    let rows = rows.lines().map(|row| row.split_once('|').unwrap());
    rows.map(|(id, count)| (id.to_owned(), count.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_gateway_repeats_an_iv_of_a_key_version_over_kills_and_a_restored_database() {
    let cluster = Cluster::prepared();
    let (part, rotate_at) = (scaled(3_000, 100_000), scaled(100_000, 1_000_000));
    for name in NAMES {
        let file = cluster.installation.path(&format!("{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        let budget =
            format!("[crypto]\niv_lease = 64\niv_rotate_at = {rotate_at}\niv_warn_at = 64\n");
        fs::write(&file, format!("{text}[limits]\ncalls_per_second = 0\n{budget}")).unwrap();
    }
    let serve = || NAMES.map(|name| cluster.serve(name));
    let admin = &cluster.admin;
    let mut pairs = Vec::new();

    let mut servers = serve();
    let key = create_key(&servers[0], admin).await;
    let alias = [("AliasName", "alias/a"), ("KeyId", key.as_str())];
    servers[0].client(admin).call("CreateAlias", &alias).await.unwrap();
    for server in &servers {
        until_async(async || encrypt(server, admin, "alias/a").await.is_some()).await;
    }
    let dump = cluster.database.dump();
    for (position, name) in NAMES.into_iter().enumerate() {
        let clients = Clients::start(&servers, admin);
        clients.until_done(part / 3).await;
        servers[position].signal("KILL");
        clients.until_done(part * 2 / 3).await;
        clients.stop(&mut pairs).await;
        servers[position] = cluster.serve(name);
    }
    let clients = Clients::start(&servers, admin);
    clients.until_done(part).await;
    for server in &servers {
        server.signal("KILL");
    }
    clients.stop(&mut pairs).await;
    drop(servers);

    cluster.database.restore(&dump);
    cluster.command("a", &["recover", "--reason", "a restored database"]);
    let servers = serve();
    let clients = Clients::start(&servers, admin);
    // The counts that were lost are so high now that the key needs a new version.
    until_async(async || {
        let versions = servers[0].client(admin).call("ListKeyVersions", &[("KeyId", &key)]).await;
        versions.is_ok_and(|versions| versions["TotalCount"] == 2)
    })
    .await;
    clients.until_done(clients.done.load(Ordering::Relaxed) + part).await;
    clients.stop(&mut pairs).await;

    let count = pairs.len();
    pairs.sort_unstable();
    let mut of_version = HashMap::<String, usize>::new();
    for pair in &pairs {
        *of_version.entry(String::from_utf8(pair[..36].to_vec()).unwrap()).or_default() += 1;
    }
    let counted = counted(&cluster);
    for (version, used) in &of_version {
        assert!(counted[version] >= *used, "{version}: {used} used, {counted:?}");
    }
    report(&format!("{count} IVs of {} key versions at three gateways", of_version.len()));
    pairs.dedup();
    assert_eq!(pairs.len(), count, "none twice");
    assert_eq!(of_version.len(), 2, "the key was rotated after the restore");
}
