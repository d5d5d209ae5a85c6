//! The cost of the MACs of rows: a change with and without them, and a load of many keys with and
//! without a check. Then pages of keys and aliases: the first and the last, of few and of many.
//! `cargo bench --bench store`.
//!
//! Each pair is measured by turns in one run, on a file in memory: a sync to disk would hide the
//! difference.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that fails shall stop")]

mod follower;

use std::time::{Duration, Instant};

use hsmgate::model::{
    AccountId, KeyRecord, KeySpec, KeyState, KeyUsage, KeyVersion, Origin, Page, ProtectionLevel,
    Time,
};
use hsmgate::store::{LockedStore, RowKey, Store, StoreError};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

const ROUNDS: usize = 9;
const CHANGES: u32 = 300;

fn main() {
    // `cargo test` starts the benchmark with this argument and checks only that it runs.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (keys, rounds) = if is_test { (20, 1) } else { (10_000, ROUNDS) };
    runtime.block_on(async {
        change(rounds, if is_test { 2 } else { CHANGES }).await;
        load(keys, rounds).await;
        pages(keys, rounds).await;
    });
    if !is_test {
        runtime.block_on(follower::measure(keys));
    }
}

struct Database {
    _directory: tempfile::TempDir,
    url: String,
}

impl Database {
    fn new() -> Self {
        let directory = tempfile::TempDir::new_in("/dev/shm").unwrap();
        let url = format!("sqlite://{}/store.db", directory.path().display());
        Self { _directory: directory, url }
    }
}

fn row_key() -> RowKey {
    let account: AccountId = "1234567890123456".parse().unwrap();
    RowKey::new(&[7; RowKey::SECRET_BYTES], &account)
}

fn key() -> KeyRecord {
    let created = Time::from_unix(1_700_000_000);
    let (usage, protection) = (KeyUsage::EncryptDecrypt, ProtectionLevel::Hsm);
    let mut record = KeyRecord::new(KeySpec::Aes256, usage, Origin::AliyunKms, protection, created);
    let version = KeyVersion { is_live: true, ..KeyVersion::initial(created) };
    record.state = KeyState::Enabled;
    record.primary = Some(version.id);
    record.versions = vec![version];
    record
}

async fn with_keys(url: &str, keys: usize) -> Store {
    let locked = LockedStore::open(url).await.unwrap();
    let store = locked.sign_new(row_key(), "-").await.unwrap();
    for _key in 0..keys {
        store.insert_key(key()).await.unwrap();
    }
    store
}

/// A change of a key as a caller makes it, and the same statements without MACs.
async fn change(rounds: usize, changes: u32) {
    let database = Database::new();
    let store = with_keys(&database.url, 1).await;
    let id = store.keys().first().unwrap().id;
    let mut raw = SqliteConnection::connect(&database.url).await.unwrap();
    raw.execute("PRAGMA synchronous = FULL").await.unwrap();
    let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
    for _round in 0..rounds {
        let start = Instant::now();
        for number in 0..changes {
            let change = |record: &mut KeyRecord| {
                record.description = format!("description {number}");
                Ok::<(), StoreError>(())
            };
            store.change_key(id, change).await.unwrap();
        }
        signed.push(start.elapsed() / changes);
        let start = Instant::now();
        for number in 0..changes {
            unsigned_change(&mut raw, &id.to_string(), number).await;
        }
        unsigned.push(start.elapsed() / changes);
    }
    row("a change of a key", &mut signed, &mut unsigned);
}

/// What a change of a description reads and writes beside the MACs.
async fn unsigned_change(connection: &mut SqliteConnection, id: &str, number: u32) {
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    let select = sqlx::query("SELECT * FROM keys WHERE id = $1").bind(id);
    select.fetch_one(&mut *connection).await.unwrap();
    let select = sqlx::query("SELECT * FROM key_versions WHERE key_id = $1").bind(id);
    select.fetch_all(&mut *connection).await.unwrap();
    let update = sqlx::query("UPDATE keys SET description = $2 WHERE id = $1").bind(id);
    update.bind(format!("description {number}")).execute(&mut *connection).await.unwrap();
    let count = "UPDATE facts SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) \
                 WHERE name = 'catalogue-revision'";
    connection.execute(count).await.unwrap();
    connection.execute("COMMIT").await.unwrap();
}

/// A load of all keys with and without a check of their MACs.
async fn load(keys: usize, rounds: usize) {
    let database = Database::new();
    with_keys(&database.url, keys).await.close().await;
    let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
    for _round in 0..rounds {
        let start = Instant::now();
        let locked = LockedStore::open(&database.url).await.unwrap();
        assert_eq!(locked.unchecked().keys().len(), keys);
        unsigned.push(start.elapsed());
        let start = Instant::now();
        let store = locked.unlock(row_key()).await.unwrap();
        assert_eq!(store.keys().len(), keys);
        signed.push(start.elapsed());
        store.close().await;
    }
    row(&format!("the load of {keys} keys"), &mut signed, &mut unsigned);
}

/// Pages of ten in a store of a hundredth of the keys, and in one of all of them.
async fn pages(keys: usize, rounds: usize) {
    let (few, many) = (Listed::new((keys / 100).max(1)).await, Listed::new(keys).await);
    let mut times: [[Vec<Duration>; 4]; 2] = Default::default();
    for _round in 0..rounds {
        for (listed, times) in [&few, &many].into_iter().zip(&mut times) {
            let pages = [listed.first, listed.last];
            let keys = pages.map(|page| time(|| listed.store.key_page(page)));
            let aliases = pages.map(|page| time(|| listed.store.alias_page(page)));
            for (times, time) in times.iter_mut().zip(keys.into_iter().chain(aliases)) {
                times.push(time);
            }
        }
    }
    let [few, many] = times.map(|times| times.map(|mut times| median(&mut times)));
    let names = [
        "first page of keys",
        "last page of keys",
        "first page of aliases",
        "last page of aliases",
    ];
    for ((name, few), many) in names.iter().zip(few).zip(many) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{name}: {many:?} of {keys}, {few:?} of a hundredth: {ratio:.2}");
    }
}

/// A store with as many keys as aliases.
struct Listed {
    _database: Database,
    store: Store,
    first: Page,
    last: Page,
}

impl Listed {
    async fn new(keys: usize) -> Self {
        let database = Database::new();
        let store = with_keys(&database.url, keys).await;
        for (number, key) in store.keys().iter().enumerate() {
            store.create_alias(&format!("alias/{number}").parse().unwrap(), key.id).await.unwrap();
        }
        let last = u32::try_from(keys.div_ceil(10)).unwrap();
        let [first, last] = [1, last].map(|number| Page { number, size: 10 });
        Self { _database: database, store, first, last }
    }
}

/// The time of one of a hundred calls.
fn time<T>(call: impl Fn() -> T) -> Duration {
    let start = Instant::now();
    for _call in 0..100 {
        std::hint::black_box(call());
    }
    start.elapsed() / 100
}

fn row(name: &str, signed: &mut [Duration], unsigned: &mut [Duration]) {
    let (with, without) = (median(signed), median(unsigned));
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("{name}: {with:?} with MACs, {without:?} without: {ratio:.2}");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
