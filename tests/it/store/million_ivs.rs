//! A million initialization vectors in three processes, over kills and a restored database: no key version
//! encrypts twice with one, and the database counts no fewer encryptions.
//!
//! A process has the store, the token and its threads as a gateway of a cluster has them, and leases
//! encryptions before it makes them. It leaves out HTTP, signatures and the audit, which take nearly all the
//! time of a test build. `cluster_ivs` has fewer encryptions, of whole gateways.

use std::collections::HashMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hsmgate::app::Backend;
use hsmgate::config::Config;
use hsmgate::token::{Budget, KeyIdentity, TokenError, TokenSelector, TokenSettings};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::cluster::{Cluster, create_key, encrypt};
use super::cluster_ivs::counted;
use crate::support::installation::LABEL;
use crate::support::process::{Process, until};
use crate::support::scale::{report, scaled};
use crate::support::softhsm;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// What a process is started for: the configuration, the key, the file of its pairs, and their number.
const ORDER: &str = "HSMGATE_TEST_ENCRYPTIONS";
const TEST: &str = "store::million_ivs::a_million_ivs_of_three_processes_are_all_different";
/// Encryptions that are leased and written together.
const BATCH: usize = 4096;
/// Encryptions of one job of the token.
const JOB: usize = 64;
/// More than all encryptions of the test.
const MOST: u64 = 1 << 33;
const CALL_TIME: Duration = Duration::from_mins(1);
/// The version of the key and the IV.
const PAIR_BYTES: usize = 16 + 12;

type Pair = [u8; PAIR_BYTES];

/// A process that encrypts.
struct Encrypting {
    process: Process,
    file: PathBuf,
}

impl Encrypting {
    fn start(cluster: &Cluster<'_>, name: &str, key: &str, count: usize) -> Self {
        let installation = &cluster.installation;
        let file = installation.path(&format!("pairs-{}", Uuid::new_v4()));
        fs::write(&file, "").unwrap();
        let config = installation.path(&format!("{name}.toml"));
        let order = format!("{}\n{key}\n{}\n{count}", config.display(), file.display());
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(ORDER, order)
            .envs(installation.token.environment())
            .stdout(Stdio::null())
            .spawn();
        Self { process: Process::of(child.unwrap()), file }
    }

    fn done(&self) -> usize {
        usize::try_from(fs::metadata(&self.file).unwrap().len()).unwrap() / PAIR_BYTES
    }

    /// Waits until it has ended. Its pairs are added to the others.
    fn end(self, is_killed: bool, pairs: &mut Vec<Pair>) {
        let ended = self.process.wait().expect("it ends in time");
        assert_eq!(ended.success(), !is_killed, "{ended}");
        pairs.extend(fs::read(&self.file).unwrap().as_chunks().0);
    }
}

/// Lets three processes make `part` encryptions each. One is killed when it has made half of them, and another
/// one of its name makes the others.
async fn encrypt_in_three(
    cluster: &Cluster<'_>,
    key: &str,
    part: usize,
    killed: Option<usize>,
    pairs: &mut Vec<Pair>,
) {
    let mut all = NAMES.map(|name| Encrypting::start(cluster, name, key, part));
    if let Some(position) = killed {
        until(|| all[position].done() >= part / 2).await;
        all[position].process.signal("KILL");
        until(|| !all[position].process.is_alive()).await;
        let next = Encrypting::start(cluster, NAMES[position], key, part / 2);
        std::mem::replace(&mut all[position], next).end(true, pairs);
    }
    for process in all {
        process.end(false, pairs);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_ivs_of_three_processes_are_all_different() {
    if let Ok(order) = env::var(ORDER) {
        return carry_out(&order).await;
    }
    let (cluster, total, begun) =
        (Cluster::prepared(), scaled(1_000_000, 10_000_000), Instant::now());
    let part = total / 4 / NAMES.len() + 1;
    let server = cluster.serve("a");
    let key = create_key(&server, &cluster.admin).await;
    assert!(encrypt(&server, &cluster.admin, &key).await.is_some());
    assert_eq!(server.stop(), Some(0));
    let dump = cluster.database.dump();

    let mut pairs = Vec::with_capacity(2 * total);
    for position in 0..NAMES.len() {
        encrypt_in_three(&cluster, &key, part, Some(position), &mut pairs).await;
    }
    cluster.database.restore(&dump);
    cluster.command("a", &["recover", "--reason", "a restored database"]);
    encrypt_in_three(&cluster, &key, part / 2 + 1, None, &mut pairs).await;
    let server = cluster.serve("a");
    server.client(&cluster.admin).call("CreateKeyVersion", &[("KeyId", &key)]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    encrypt_in_three(&cluster, &key, part / 2 + 1, None, &mut pairs).await;

    let count = pairs.len();
    assert!(count >= total, "{count}");
    let mut of_version = HashMap::<String, usize>::new();
    for pair in &pairs {
        let version = Uuid::from_slice(&pair[..16]).unwrap().to_string();
        *of_version.entry(version).or_default() += 1;
    }
    let counted = counted(&cluster);
    for (version, used) in &of_version {
        assert!(counted[version] >= *used, "{version}: {used} used, {counted:?}");
    }
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), count, "none twice");
    assert_eq!(of_version.len(), 2);
    let took = begun.elapsed();
    report(&format!("{count} IVs of 2 key versions in three processes, in {took:.1?}"));
}

/// Encrypts as a gateway does.
async fn carry_out(order: &str) {
    let order: Vec<&str> = order.lines().collect();
    let [config_file, key, file, count] = order[..] else { panic!("{order:?}") };
    let count: usize = count.parse().unwrap();
    let config = Config::load(Path::new(config_file)).unwrap();
    let pin = fs::read_to_string(Path::new(config_file).with_file_name("pin")).unwrap();
    let label = TokenSelector::Label(LABEL.to_owned());
    let token = TokenSettings {
        max_queue_wait: CALL_TIME,
        ..TokenSettings::new(softhsm::module(), label, pin.trim_end().into())
    };
    let backend =
        Backend::open(token.into(), &config.store_url, &config.region_account).await.unwrap();
    let (store, token) = (backend.store(), backend.token());
    store.become_gateway().await.unwrap();
    store.end_start().await.unwrap();
    let record = store.key(key.parse().unwrap()).unwrap();
    let version = record.version(record.primary.unwrap()).unwrap();
    let identity = KeyIdentity::of_key(record.id, record.spec, version.number, version.id)
        .with_iv_length(version.iv_length);
    let id = version.id.to_string().parse::<Uuid>().unwrap();
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    let mut done = 0;
    while done < count {
        let lease = store.lease_invocations(version.id, BATCH as u64, MOST).await.unwrap();
        assert_eq!(lease.granted, BATCH as u64);
        let mut jobs = JoinSet::new();
        for _job in 0..BATCH / JOB {
            let token = token.clone();
            jobs.spawn(async move {
                let budget = Budget::new(CALL_TIME);
                let encrypt_all = token.run(&budget, move |worker| {
                    let encrypted = (0..JOB).map(|_| worker.encrypt(identity, None, b"text"));
                    encrypted.collect::<Result<Vec<_>, TokenError>>()
                });
                encrypt_all.await.unwrap()
            });
        }
        let mut pairs = Vec::with_capacity(BATCH * PAIR_BYTES);
        for encrypted in jobs.join_all().await.into_iter().flatten() {
            assert_eq!(encrypted.uses, 1);
            pairs.extend(id.as_bytes());
            pairs.extend(encrypted.iv.as_slice());
        }
        file.write_all(&pairs).unwrap();
        done += BATCH;
    }
    backend.close().await;
}
