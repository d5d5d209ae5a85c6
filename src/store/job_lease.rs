//! The lease of the jobs: one gateway of a cluster at a time runs the jobs that change what all of them share.
//!
//! The lease ends if its holder does not renew it, by the clock of the database. Each change that a job makes
//! checks the term of the lease in its own transaction. Changes follow one another, and so does a new term: a
//! gateway that was halted while another one took over changes nothing afterwards.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::Row as _;

use super::connection::Connection;
use super::tables::CATALOGUE_REVISION;
use super::{Inner, Store, StoreError, StoreMetrics, notifications, unsigned_metadata};
use crate::model::clock;

/// How long a lease lasts without being renewed.
pub(super) const DURATION: Duration = Duration::from_secs(15);
/// The time that the holder gives up before the lease ends.
const MARGIN: Duration = Duration::from_secs(3);

/// The time of the database, in milliseconds since 1970.
macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}

/// Takes the lease of this name if it is free or has ended, or renews it. Returns its term.
const TAKE: &str = concat!(
    "INSERT INTO cluster_leases (name, holder, term, expires) VALUES ('jobs', $1, 1, ",
    now!(),
    " + $2) ON CONFLICT (name) DO UPDATE SET holder = $1, expires = excluded.expires, \
     term = cluster_leases.term + CASE WHEN cluster_leases.holder = $1 AND cluster_leases.expires > ",
    now!(),
    " THEN 0 ELSE 1 END \
     WHERE cluster_leases.holder = $1 OR cluster_leases.expires <= ",
    now!(),
    " RETURNING term"
);
const IS_HELD: &str = concat!(
    "SELECT COUNT(*) FROM cluster_leases \
     WHERE name = 'jobs' AND holder = $1 AND term = $2 AND expires > ",
    now!()
);
const RELEASE: &str =
    "UPDATE cluster_leases SET expires = 0 WHERE name = 'jobs' AND holder = $1 AND term = $2";
/// Records, as the term, when a gateway has stopped.
const NOTE_STOP: &str = concat!(
    "INSERT INTO cluster_leases (name, holder, term, expires) VALUES ('stopped/' || $1, $1, ",
    now!(),
    ", 0) ON CONFLICT (name) DO UPDATE SET term = excluded.term"
);
const FORGET_STOP: &str = "DELETE FROM cluster_leases WHERE name = 'stopped/' || $1";
/// Records that this gateway is there.
const NOTE_MEMBER: &str = concat!(
    "INSERT INTO cluster_members (name, program, started, seen, own_clock, revision) \
     VALUES ($1, $2, ",
    now!(),
    ", ",
    now!(),
    ", $3, $4) ON CONFLICT (name) DO UPDATE SET program = excluded.program, seen = excluded.seen, \
     own_clock = excluded.own_clock, revision = excluded.revision, \
     started = CASE WHEN $5 = 1 THEN excluded.started ELSE cluster_members.started END"
);

/// The time of the database, and the gateways that were seen within ten seconds.
const LOOK: &str = concat!(
    "SELECT ",
    now!(),
    ", COUNT(*) FROM cluster_members WHERE seen >= ",
    now!(),
    " - 10000"
);

/// A tenth of the time by which the clock of a signed request may be off.
const MAX_CLOCK_OFFSET_MILLIS: i64 = 90_000;

/// The lease of this gateway. The only gateway of a store always holds it.
pub struct JobLease {
    store: Store,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Whether this gateway has said that it started.
    is_noted: bool,
    /// The clock of this gateway was found to be wrong.
    is_clock_wrong: bool,
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    term: i64,
    until: Instant,
}

impl JobLease {
    /// A lease that is not held yet, if the store has other gateways.
    pub fn new(store: Store) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// Takes the lease if no other gateway holds it, or renews it, and records that this gateway is there.
    ///
    /// # Errors
    /// When the database cannot be written. A lease that is held lasts until its end.
    pub async fn renew(&self) -> Result<(), StoreError> {
        let Some(member) = self.store.member() else { return Ok(()) };
        let is_start = !self.held.lock().is_noted;
        let mut write = self.store.write_record().await?;
        let (begun, own_clock) = (clock::monotonic(), clock::unix_micros() / 1000);
        let note = sqlx::query(NOTE_MEMBER)
            .bind(member)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(own_clock)
            .bind(self.store.catalogue_revision())
            .bind(i64::from(is_start));
        write.execute(note).await?;
        if is_start {
            write.execute(sqlx::query(FORGET_STOP).bind(member)).await?;
        }
        let millis = i64::try_from(DURATION.as_millis()).unwrap_or(i64::MAX);
        let take = sqlx::query(TAKE).bind(member).bind(millis);
        let taken = write.connection().row(take).await?;
        let term = taken.map(|row| row.try_get::<i64, _>(0)).transpose()?;
        let seen = look(write.connection(), own_clock, self.store.catalogue_revision()).await?;
        let inner = &self.store.inner;
        let heartbeat = notifications::send_heartbeat(inner, write.connection()).await?;
        write.finish().await?;
        self.store.inner.heartbeats.note_sent(heartbeat);
        let until = begun + DURATION.saturating_sub(MARGIN);
        let lease = term.map(|term| Lease { term, until });
        let mut held = self.held.lock();
        held.is_noted = true;
        let was = std::mem::replace(&mut held.lease, lease);
        let is_wrong = seen.clock_offset.saturating_abs() > MAX_CLOCK_OFFSET_MILLIS;
        let was_wrong = std::mem::replace(&mut held.is_clock_wrong, is_wrong);
        drop(held);
        seen.report(&self.store.inner.health.metrics, term.is_some());
        self.store.inner.live_gateways.set(seen.members);
        log_clock(member, seen.clock_offset, was_wrong, is_wrong);
        log_change(member, was.map(|lease| lease.term), term);
        Ok(())
    }

    /// The store, for changes under the lease: they are refused once another gateway has it. `None` while
    /// this gateway does not hold it.
    pub fn store(&self) -> Option<Store> {
        if self.store.member().is_none() {
            return Some(self.store.clone());
        }
        let lease = self.held.lock().lease?;
        let is_held = clock::monotonic() < lease.until;
        is_held.then(|| Store { term: Some(lease.term), ..self.store.clone() })
    }

    /// Gives the lease up, so that another gateway need not wait for its end, and records that this gateway
    /// has stopped, which is the last change that it makes: a promotion that has it has all others, so no
    /// gateway waits for this one then.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn release(&self) -> Result<(), StoreError> {
        let Some(member) = self.store.member() else { return Ok(()) };
        let lease = self.held.lock().lease.take();
        let mut write = self.store.write_record().await?;
        if let Some(Lease { term, .. }) = lease {
            write.execute(sqlx::query(RELEASE).bind(member).bind(term)).await?;
        }
        write.execute(sqlx::query(NOTE_STOP).bind(member)).await?;
        write.finish().await
    }
}

impl Store {
    /// The term of the lease under which changes are made, if any.
    pub fn lease_term(&self) -> Option<i64> {
        self.term
    }
}

/// Fails unless this gateway holds the lease with this term.
pub(super) async fn require(
    connection: &mut Connection,
    inner: &Inner,
    term: i64,
) -> Result<(), StoreError> {
    let held = sqlx::query(IS_HELD).bind(inner.member().unwrap_or_default()).bind(term);
    match connection.value::<i64>(held).await? {
        0 => Err(StoreError::LeaseLost),
        _ => Ok(()),
    }
}

/// What a gateway sees of the cluster.
struct Sight {
    members: i64,
    clock_offset: i64,
    changes_behind: i64,
}

impl Sight {
    fn report(&self, metrics: &StoreMetrics, runs_jobs: bool) {
        metrics.cluster_members.set(self.members);
        metrics.cluster_runs_jobs.set(i64::from(runs_jobs));
        // Exact for more weeks than the clocks can differ in a cluster that works.
        let millis = i32::try_from(self.clock_offset).map_or(f64::MAX, f64::from);
        metrics.cluster_clock_offset.set(millis / 1000.0);
        metrics.cluster_changes_behind.set(self.changes_behind);
    }
}

async fn look(
    connection: &mut Connection,
    own_clock: i64,
    known: i64,
) -> Result<Sight, StoreError> {
    let revision = unsigned_metadata::read_count(connection, CATALOGUE_REVISION).await?.0;
    let row = connection.required_row(sqlx::query(LOOK)).await?;
    let (now, members): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let clock_offset = own_clock.saturating_sub(now);
    Ok(Sight { members, clock_offset, changes_behind: revision.saturating_sub(known).max(0) })
}

fn log_clock(member: &str, offset: i64, was_wrong: bool, is_wrong: bool) {
    if is_wrong && !was_wrong {
        tracing::warn!(
            event = "cluster.clock_wrong",
            member,
            offset_ms = offset,
            "the clocks of this gateway and of the database differ by more than 90 seconds: set both; \
             requests are refused when the difference to the clock of a client reaches 15 minutes"
        );
    } else if was_wrong && !is_wrong {
        tracing::info!(
            event = "cluster.clock_right",
            member,
            "the clocks of this gateway and of the database agree again"
        );
    }
}

fn log_change(member: &str, was: Option<i64>, is: Option<i64>) {
    match (was, is) {
        (was, Some(term)) if was != Some(term) => tracing::info!(
            event = "cluster.jobs_taken",
            member,
            term,
            "this gateway runs the jobs of the cluster now"
        ),
        (Some(term), None) => tracing::warn!(
            event = "cluster.jobs_lost",
            member,
            term,
            "another gateway of the cluster runs the jobs now: the lease was not renewed in time"
        ),
        _ => {}
    }
}
