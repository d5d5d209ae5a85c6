//! What a gateway of a cluster spends to follow the changes of another one, on PostgreSQL.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hsmgate::model::{KeyId, KeyRecord};
use hsmgate::store::{LockedStore, Store, StoreError};
use tokio::sync::Notify;

use super::{key, median, row_key};

#[path = "../../tests/support/postgresql.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "the integration tests use more of it")]
mod postgresql;

const CHANGES_PER_SECOND: u32 = 50;
const DURATION: Duration = Duration::from_secs(20);
/// As the jobs of a gateway: the interval of refreshes, and the pause after one as a multiple of its time.
const INTERVAL: Duration = Duration::from_millis(500);
const PAUSE_FACTOR: u32 = 4;

/// The follower reads the rows that were changed, and then all rows, because no list names them.
pub(super) async fn measure(keys: usize) {
    let database = postgresql::server().create_database();
    let url = |name: &str| format!("{}&cluster_member={name}", database.url());
    let locked = LockedStore::open(&url("a")).await.unwrap();
    let store = locked.sign_new(row_key(), "-").await.unwrap();
    for _key in 0..keys {
        store.insert_key(key()).await.unwrap();
    }
    follow(&store, url("b"), "the changed rows").await;
    database.execute(
        "CREATE FUNCTION ignored() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER ignored BEFORE INSERT ON catalogue_changes \
         FOR EACH ROW EXECUTE FUNCTION ignored()",
    );
    follow(&store, url("b"), "all rows").await;
}

/// Changes keys, while another store with a thread of its own follows.
async fn follow(store: &Store, url: String, what: &str) {
    let keys: Vec<_> = store.keys().iter().map(|key| key.id).collect();
    let writer = Arc::new(Writer {
        start: Instant::now(),
        unread: Mutex::default(),
        has_ended: AtomicBool::new(false),
    });
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let follower = std::thread::spawn({
        let writer = Arc::clone(&writer);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let locked = LockedStore::open(&url).await.unwrap();
                let store = locked.unlock(row_key()).await.unwrap();
                let listening = {
                    let (store, changed) = (store.clone(), Arc::new(Notify::new()));
                    let woken = Arc::clone(&changed);
                    tokio::spawn(async move { store.listen(changed).await });
                    woken
                };
                ready.send(()).unwrap();
                refresh(&store, &listening, &writer).await
            })
        }
    });
    is_ready.await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
    let start = Instant::now();
    let mut changes = 0_u32;
    for id in keys.iter().cycle() {
        ticks.tick().await;
        if start.elapsed() > DURATION {
            break;
        }
        let begun = writer.start.elapsed();
        let change = |record: &mut KeyRecord| {
            record.description = describe(begun);
            Ok::<(), StoreError>(())
        };
        store.change_key(*id, change).await.unwrap();
        writer.unread.lock().unwrap().push_back((*id, begun));
        changes += 1;
    }
    writer.has_ended.store(true, Ordering::Relaxed);
    let Followed { processor, elapsed, mut delays } = follower.join().unwrap();
    let share = 100.0 * processor.as_secs_f64() / elapsed.as_secs_f64();
    let rate = f64::from(changes) / start.elapsed().as_secs_f64();
    let last = delays.iter().max().copied().unwrap_or_default();
    let usual = median(&mut delays);
    println!(
        "a follower of {rate:.0} changes a second of {} keys that reads {what}: {share:.1} % of a processor, \
         a change is there {usual:?} after its begin (at most {last:?})",
        keys.len()
    );
}

/// What the follower knows of the writer.
struct Writer {
    start: Instant,
    /// The changes that the follower has not read: the key, and when the change began.
    unread: Mutex<VecDeque<(KeyId, Duration)>>,
    has_ended: AtomicBool,
}

/// The description of a key by its change.
fn describe(begun: Duration) -> String {
    begun.as_micros().to_string()
}

struct Followed {
    processor: Duration,
    elapsed: Duration,
    delays: Vec<Duration>,
}

async fn refresh(store: &Store, changed: &Notify, writer: &Writer) -> Followed {
    let (begun, processor) = (Instant::now(), processor_time());
    let (mut delays, mut pause) = (Vec::new(), Duration::ZERO);
    while !writer.has_ended.load(Ordering::Relaxed) {
        let woken = async {
            changed.notified().await;
            tokio::time::sleep(pause).await;
        };
        let _is_woken = tokio::time::timeout(INTERVAL, woken).await;
        let refreshed = Instant::now();
        store.access_keys_revision().await.unwrap();
        store.refresh().await.unwrap();
        pause = (refreshed.elapsed() * PAUSE_FACTOR).min(INTERVAL);
        let mut unread = writer.unread.lock().unwrap();
        while let Some((id, begun)) = unread.front() {
            if store.key(*id).is_none_or(|key| key.description != describe(*begun)) {
                break;
            }
            delays.push(writer.start.elapsed().saturating_sub(*begun));
            unread.pop_front();
        }
    }
    let processor = processor_time().saturating_sub(processor);
    Followed { processor, elapsed: begun.elapsed(), delays }
}

/// The time that this thread has used.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
