//! The nonces that the gateways of a cluster have accepted, in a table of the database. A nonce is accepted
//! once by all of them.
//!
//! Nonces that wait are written together, in one statement: at a high rate a commit serves many requests. A
//! statement inserts what is not there, and says which nonces it inserted. While calls wait for the token, their
//! nonces wait for more of them: the call is answered no earlier with its nonce.
//!
//! Expired nonces are deleted in two steps: first a time is committed, from which on no gateway accepts a nonce
//! that expires before it, and later the nonces are deleted. So a gateway whose clock is behind accepts none
//! again.

use std::collections::HashSet;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::health::Health;
use super::servers::{InUse, silent};
use super::tables::NONCES_PRUNED;
use super::{Store, StoreError, server_settings, timeline, unsigned_metadata};
use crate::model::{Time, clock};

/// Nonces that may wait. More are refused.
const QUEUE: usize = 65_536;
/// Nonces of one statement.
const MAX_BATCH: usize = 4096;
/// How long a statement may take at a server that responds to others. It is shorter than the pause between the
/// steps of a deletion.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a nonce waits for others at most, while its call waits for the token.
const MAX_DELAY: Duration = Duration::from_millis(5);
/// A timer may be late by this. A shorter delay is none.
const MIN_DELAY: Duration = Duration::from_millis(1);
/// The pause between the steps of a deletion.
const PRUNE_PAUSE: Duration = Duration::from_secs(10);
/// How long expired nonces are kept, in seconds: the difference of the clocks of two gateways.
const MARGIN_SECONDS: i64 = 60;

/// Inserts nonces, and returns those that were not there and do not expire before the time up to which nonces
/// were deleted. Sorted nonces cannot deadlock with those of another gateway.
const INSERT: &str = "INSERT INTO used_nonces (nonce, expires) \
    SELECT nonce, expires FROM UNNEST($1, $2) AS new (nonce, expires) \
    WHERE expires > COALESCE((SELECT CAST(value AS BIGINT) FROM facts WHERE name = 'nonces-pruned'), 0) \
    ON CONFLICT (nonce) DO NOTHING RETURNING nonce";
const SETTINGS: &str = "SET statement_timeout = '5s'";

/// Writes nonces to the table. Clones share the queue.
#[derive(Clone)]
pub struct SharedNonces {
    queue: mpsc::Sender<QueuedNonce>,
    health: Arc<Health>,
    /// How long a call that begins now will wait for the token.
    token_wait: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl fmt::Debug for SharedNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedNonces").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct QueuedNonce {
    nonce: i64,
    expires: i64,
    /// When it is written at the latest.
    due: Instant,
    /// Whether it was inserted. Dropped if that is not known.
    is_first: oneshot::Sender<bool>,
}

/// The first step of the last deletion: the time, and when it was committed.
#[derive(Debug, Default)]
pub(super) struct PrunedNonces(Mutex<Option<(i64, Instant)>>);

impl Store {
    /// Starts to write nonces for all gateways of the cluster. `token_wait` tells how long a call that begins now
    /// will wait for the token. `None` without a cluster.
    pub fn share_nonces(
        &self,
        token_wait: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Option<SharedNonces> {
        self.member()?;
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(self.clone(), queued));
        let (health, token_wait) = (Arc::clone(&self.inner.health), Arc::new(token_wait));
        Some(SharedNonces { queue, health, token_wait })
    }

    /// Deletes nonces that have expired, in two steps of two calls.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn prune_nonces(&self) -> Result<(), StoreError> {
        if self.member().is_none() {
            return Ok(());
        }
        let last = *self.inner.pruned_nonces.0.lock();
        if let Some((until, at)) = last {
            if clock::since(at) < PRUNE_PAUSE {
                return Ok(());
            }
            let delete = sqlx::query("DELETE FROM used_nonces WHERE expires <= $1").bind(until);
            self.inner.connection().await?.execute(delete).await?;
        }
        let mut write = self.write_record().await?;
        let now = sqlx::query("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)");
        let now: i64 = write.connection().value(now).await?;
        let known = unsigned_metadata::read_count(write.connection(), NONCES_PRUNED).await?.0;
        // The clock that is behind decides: a time ahead would refuse valid requests.
        let until = now.min(clock::now().unix()).saturating_sub(MARGIN_SECONDS).max(known);
        unsigned_metadata::put_count(write.connection(), NONCES_PRUNED, until).await?;
        write.finish().await?;
        *self.inner.pruned_nonces.0.lock() = Some((until, clock::monotonic()));
        Ok(())
    }
}

impl SharedNonces {
    /// Writes a nonce whose request is too old after `expires`. The receiver gets whether it is the first use
    /// in the cluster, once that is durable, and is closed if that cannot be found out: at once, if the
    /// database is known not to respond.
    pub fn write(&self, nonce: i64, expires: Time) -> oneshot::Receiver<bool> {
        let (is_first, answer) = oneshot::channel();
        // The rest is for the statement.
        let delay = ((self.token_wait)() * 3 / 4).min(MAX_DELAY);
        let due = clock::monotonic() + if delay < MIN_DELAY { Duration::ZERO } else { delay };
        let queued = QueuedNonce { nonce, expires: expires.unix(), due, is_first };
        if self.health.outage.require_readable().is_ok() {
            // If the queue is full, the sender of the answer is dropped with it.
            let _ = self.queue.try_send(queued);
        }
        answer
    }
}

/// Writes nonces until the queue is closed.
async fn write_all(store: Store, mut queued: mpsc::Receiver<QueuedNonce>) {
    let Some(server) = &store.inner.database.server else { return };
    let (mut connection, mut is_failing) = (None, false);
    let mut used = server.servers().in_use();
    let mut batch = Vec::new();
    let outage = &store.inner.health.outage;
    while receive(&mut queued, &mut batch).await {
        // It was found while they waited for the statement before.
        if outage.require_readable().is_err() {
            batch.clear();
            continue;
        }
        if !server.servers().uses(used) {
            (connection, used) = (None, server.servers().in_use());
        }
        let start = clock::monotonic();
        let mut is_repeated = false;
        let insert = insert_or_repeat(&store, used, &mut connection, &mut batch, &mut is_repeated);
        let inserted = timeout(TIMEOUT, insert).await.unwrap_or_else(|_elapsed| Err(silent()));
        if inserted.as_ref().is_err_and(is_silence) {
            outage.note_unanswered(start);
        }
        let was_failing = is_failing;
        match inserted {
            Ok(mut first) => {
                is_failing = false;
                let accepted = batch.iter().filter(|queued| first.contains(&queued.nonce));
                if let Some(youngest) = accepted.max_by_key(|queued| queued.expires) {
                    store.inner.promotion.note_nonce(youngest.nonce, youngest.expires);
                }
                for QueuedNonce { nonce, is_first, .. } in batch.drain(..) {
                    let is_inserted = first.remove(&nonce);
                    // The statement before the repeated one may have inserted it: that is not known.
                    if is_inserted || !is_repeated {
                        // The request may be gone.
                        let _ = is_first.send(is_inserted);
                    }
                }
                if was_failing {
                    tracing::info!(event = "cluster.nonces_written", "nonces are shared again");
                }
            }
            Err(error) => {
                (connection, is_failing) = (None, true);
                batch.clear();
                if !was_failing {
                    tracing::error!(
                        event = "cluster.nonces_failed",
                        error = &error as &dyn std::error::Error,
                        "cannot share nonces with the other gateways of the cluster; requests are refused"
                    );
                }
            }
        }
    }
}

/// Receives the nonces of the next statement. False once the queue is closed and empty.
async fn receive(queued: &mut mpsc::Receiver<QueuedNonce>, batch: &mut Vec<QueuedNonce>) -> bool {
    if queued.recv_many(batch, MAX_BATCH).await == 0 {
        return false;
    }
    if let Some(due) = batch.iter().map(|queued| queued.due).min()
        && due > clock::monotonic()
    {
        tokio::time::sleep_until(due.into()).await;
        while batch.len() < MAX_BATCH
            && let Ok(next) = queued.try_recv()
        {
            batch.push(next);
        }
    }
    true
}

/// As [`insert`], as long as the server responds. On a connection that was open before, it is repeated once on a
/// new one after a failure: a server that ended or was replaced has closed it.
async fn insert_or_repeat(
    store: &Store,
    used: InUse,
    connection: &mut Option<PgConnection>,
    batch: &mut [QueuedNonce],
    is_repeated: &mut bool,
) -> Result<HashSet<i64>, sqlx::Error> {
    let server = store.inner.database.server.as_ref().ok_or(sqlx::Error::PoolClosed)?;
    let servers = server.servers();
    if connection.is_some() {
        let inserted = tokio::select! {
            biased;
            inserted = insert(store, connection, batch) => inserted,
            () = servers.left(used) => Err(silent()),
            () = servers.silence() => Err(silent()),
        };
        let is_silent = inserted.as_ref().is_err_and(is_silence) && servers.uses(used);
        if inserted.is_ok() || is_silent {
            return inserted;
        }
        *connection = None;
        *is_repeated = true;
    }
    tokio::select! {
        biased;
        inserted = insert(store, connection, batch) => inserted,
        () = servers.silence() => Err(silent()),
    }
}

/// Inserts the nonces of a batch, and returns those that were not there.
async fn insert(
    store: &Store,
    connection: &mut Option<PgConnection>,
    batch: &mut [QueuedNonce],
) -> Result<HashSet<i64>, sqlx::Error> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(connect(store).await?),
    };
    batch.sort_unstable_by_key(|queued| queued.nonce);
    let nonces: Vec<i64> = batch.iter().map(|queued| queued.nonce).collect();
    let expires: Vec<i64> = batch.iter().map(|queued| queued.expires).collect();
    let first = sqlx::query_scalar(INSERT).bind(nonces).bind(expires).fetch_all(open).await?;
    Ok(first.into_iter().collect())
}

fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut)
}

async fn connect(store: &Store) -> Result<PgConnection, sqlx::Error> {
    let server = store.inner.database.server.as_ref().ok_or(sqlx::Error::PoolClosed)?;
    let mut connection = server.connect_native().await?;
    for settings in [server_settings::OF_SESSION, SETTINGS] {
        sqlx::Executor::execute(&mut connection, sqlx::raw_sql(settings)).await?;
    }
    // A promotion ends all connections to the former server.
    let compared = sqlx::query_as(timeline::IS_COMPARED).fetch_one(&mut connection).await?;
    let (timeline, is_compared): (String, bool) = compared;
    if is_compared && store.inner.promotion.knows(&timeline) {
        Ok(connection)
    } else {
        Err(sqlx::Error::Protocol(StoreError::Promoted.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, open};

    /// A gateway of a cluster on the database of the test. `None` while the tests run on SQLite.
    async fn member(bench: &Bench, name: &str) -> Option<Store> {
        if bench.is_on_file() {
            return None;
        }
        Some(open(&format!("{}&cluster_member={name}", bench.url)).await.unwrap())
    }

    /// Its nonces, while calls wait so long for the token.
    fn share(member: &Store, token_wait: Duration) -> SharedNonces {
        member.share_nonces(move || token_wait).unwrap()
    }

    fn in_seconds(seconds: i64) -> Time {
        clock::now().plus_seconds(seconds)
    }

    #[tokio::test]
    async fn a_nonce_is_accepted_once_by_all_gateways() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let b = member(&bench, "b").await.unwrap();
        let (of_a, of_b) = (share(&a, Duration::ZERO), share(&b, Duration::ZERO));
        let mut answers = Vec::new();
        for nonce in 0..5000_i64 {
            // In different orders, so that the gateways meet.
            let expires = in_seconds(600);
            answers.push((nonce, of_a.write(nonce, expires)));
            answers.push((4999 - nonce, of_b.write(4999 - nonce, expires)));
        }
        let mut accepted = vec![0; 5000];
        for (nonce, answer) in answers {
            accepted[usize::try_from(nonce).unwrap()] += usize::from(answer.await.unwrap());
        }
        assert_eq!(accepted, vec![1; 5000]);
        assert!(!of_a.write(7, in_seconds(600)).await.unwrap(), "and never again");
    }

    #[tokio::test]
    async fn nonces_of_calls_that_wait_for_the_token_are_written_together() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let nonces = share(&a, Duration::from_mins(1));
        let first = nonces.write(1, in_seconds(600));
        // The task that writes has taken the first one.
        tokio::task::yield_now().await;
        let answers = (2..10).map(|nonce| nonces.write(nonce, in_seconds(600)));
        let answers: Vec<_> = std::iter::once(first).chain(answers).collect();
        for answer in answers {
            assert!(answer.await.unwrap());
        }
        let count = sqlx::query("SELECT COUNT(DISTINCT CAST(xmin AS TEXT)) FROM used_nonces");
        let statements: i64 = a.inner.connection().await.unwrap().value(count).await.unwrap();
        assert_eq!(statements, 1);
    }

    #[tokio::test]
    async fn a_nonce_is_written_again_after_a_cut_and_unknown_if_it_was_there_before() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let nonces = share(&a, Duration::ZERO);
        assert!(nonces.write(1, in_seconds(600)).await.unwrap());
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        bench.tamper(cut).await;
        assert!(nonces.write(2, in_seconds(600)).await.unwrap());
        assert!(!nonces.write(1, in_seconds(600)).await.unwrap());
        // Whether the statement that was cut had inserted this one is not known.
        bench.tamper(cut).await;
        nonces.write(2, in_seconds(600)).await.unwrap_err();
        assert!(!nonces.write(2, in_seconds(600)).await.unwrap());
    }

    #[tokio::test]
    async fn nothing_waits_for_a_database_that_is_known_not_to_respond() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let rules = crate::config::OutageRules {
            limit: Duration::from_mins(1),
            is_ready_meanwhile: false,
            refuses_after: false,
        };
        a.set_outage_rules(rules);
        let (nonces, outage) = (share(&a, Duration::ZERO), &a.inner.health.outage);
        let earlier = clock::monotonic().checked_sub(Duration::from_mins(1)).unwrap();
        outage.note_unanswered(earlier);
        assert!(nonces.write(1, in_seconds(600)).await.unwrap(), "it has responded since");
        outage.note_unanswered(clock::monotonic());
        let mut refused = nonces.write(2, in_seconds(600));
        assert_eq!(refused.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let change = a.set_metadata("a", "1").await;
        assert!(matches!(change, Err(StoreError::Outage)), "{change:?}");
        let removed = a.removed_at(crate::model::KeyId::random()).await;
        assert!(matches!(removed, Err(StoreError::Outage)), "{removed:?}");
        a.refresh().await.unwrap();
        assert!(nonces.write(2, in_seconds(600)).await.unwrap());
        a.set_metadata("a", "1").await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_slow_and_responds_is_waited_for() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let nonces = share(&a, Duration::ZERO);
        assert!(nonces.write(1, in_seconds(600)).await.unwrap());
        // Longer than a silent server is waited for.
        let slow = "BEGIN; LOCK TABLE used_nonces IN EXCLUSIVE MODE; SELECT pg_sleep(2); COMMIT";
        let locks = "SELECT COUNT(*) FROM pg_locks WHERE mode = 'ExclusiveLock' \
                     AND relation = CAST('used_nonces' AS REGCLASS)";
        let is_locked = async || {
            let mut connection = a.inner.connection().await.unwrap();
            connection.value::<i64>(sqlx::query(locks)).await.unwrap() > 0
        };
        let written = async {
            while !is_locked().await {}
            let begun = clock::monotonic();
            (nonces.write(2, in_seconds(600)).await.unwrap(), clock::since(begun))
        };
        let ((), (is_first, waited)) = tokio::join!(bench.tamper(slow), written);
        assert!(is_first && waited > Duration::from_millis(1500), "{waited:?}");
    }

    #[tokio::test]
    async fn a_deleted_nonce_is_not_accepted_again() {
        let bench = Bench::new().await;
        let Some(a) = member(&bench, "a").await else { return };
        let nonces = share(&a, Duration::ZERO);
        let expired = in_seconds(-MARGIN_SECONDS - 5);
        assert!(nonces.write(1, expired).await.unwrap());
        assert!(nonces.write(2, in_seconds(5)).await.unwrap());
        a.prune_nonces().await.unwrap();
        assert!(!nonces.write(3, expired).await.unwrap(), "refused before it is deleted");
        let first = a.inner.pruned_nonces.0.lock().take().unwrap().0;
        let earlier = clock::monotonic().checked_sub(PRUNE_PAUSE).unwrap();
        *a.inner.pruned_nonces.0.lock() = Some((first, earlier));
        a.prune_nonces().await.unwrap();
        let count = sqlx::query("SELECT COUNT(*) FROM used_nonces");
        let left: i64 = a.inner.connection().await.unwrap().value(count).await.unwrap();
        assert_eq!(left, 1);
        assert!(!nonces.write(1, expired).await.unwrap());
        assert!(!nonces.write(2, in_seconds(5)).await.unwrap());
    }
}
