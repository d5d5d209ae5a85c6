//! Admits connections, and closes idle ones to make room.
//!
//! The number of slots is the maximum number of connections, which the open-file limit of the
//! process allows after token, store and audit have their share. One source may use a part of them.
//! An idle connection makes room for a new one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::{ConnectionState, Idleness};
use super::metrics::{ConnectionLimit, ConnectionLimitLabels, ServerMetrics};
use crate::model::{AddressRange, clock, source_of};

/// How long a new connection may wait for the slot of one that is being closed.
const EVICTION_WAIT: Duration = Duration::from_millis(100);
/// The minimum time between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum numbers of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// In total.
    pub total: usize,
    /// For one source: an IPv4 address or a /64 network of IPv6.
    pub per_source: usize,
    /// Sources shared by many clients, such as proxies, which have no such limit.
    pub shared_sources: Arc<[AddressRange]>,
}

impl ConnectionLimits {
    /// A limit in total, without a limit for one source.
    pub fn of_all(total: usize) -> Self {
        Self { total, per_source: total, shared_sources: Arc::new([]) }
    }
}

/// The slots of one listener.
#[derive(Clone)]
pub(super) struct ConnectionSlots(Arc<Inner>);

struct Inner {
    limits: ConnectionLimits,
    permits: Arc<Semaphore>,
    table: Mutex<Table>,
    metrics: ServerMetrics,
}

#[derive(Default)]
struct Table {
    taken: HashMap<u64, OpenConnectionState>,
    by_source: HashMap<IpAddr, usize>,
    /// The time of the last log line, and the refusals since.
    last_logged: Option<Instant>,
    suppressed: u64,
}

struct OpenConnectionState {
    source: IpAddr,
    since: Instant,
    state: ConnectionState,
    task: Option<AbortHandle>,
}

/// A slot, until it is dropped.
pub(super) struct ConnectionSlot {
    slots: ConnectionSlots,
    /// The number of its connection.
    pub(super) number: u64,
    /// The state that the connection and its service share.
    pub(super) state: ConnectionState,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlots {
    pub(super) fn new(limits: ConnectionLimits, metrics: ServerMetrics) -> Self {
        let permits = Arc::new(Semaphore::new(limits.total.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { limits, permits, table: Mutex::default(), metrics }))
    }

    /// Takes a slot for a connection; `None` if none is free.
    pub(super) async fn take(&self, address: IpAddr, number: u64) -> Option<ConnectionSlot> {
        let has_room = self.has_room_for(address);
        if has_room { self.take_for_proxy(address, number).await } else { None }
    }

    /// As [`ConnectionSlots::take`], without the limit for one source: a proxy will name the source.
    pub(super) async fn take_for_proxy(
        &self,
        address: IpAddr,
        number: u64,
    ) -> Option<ConnectionSlot> {
        let source = source_of(address);
        let Some(permit) = self.permit().await else {
            self.refuse(address, ConnectionLimit::connections);
            return None;
        };
        let state = ConnectionState::default();
        let taken =
            OpenConnectionState { source, since: clock::timer(), state: state.clone(), task: None };
        let mut table = self.0.table.lock();
        table.taken.insert(number, taken);
        *table.by_source.entry(source).or_default() += 1;
        drop(table);
        self.0.metrics.connections.inc();
        Some(ConnectionSlot { slots: self.clone(), number, state, _permit: permit })
    }

    /// Whether the source of an address may have one more connection, if necessary after closing an
    /// idle one.
    fn has_room_for(&self, address: IpAddr) -> bool {
        let source = source_of(address);
        if self.is_source_full(source, address) && !self.evict(Some(source)) {
            self.refuse(address, ConnectionLimit::source);
            return false;
        }
        true
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permits = || Arc::clone(&self.0.permits);
        if let Ok(permit) = permits().try_acquire_owned() {
            return Some(permit);
        }
        if !self.evict(None) {
            return None;
        }
        // The file descriptor is closed when its task ends, not before.
        tokio::time::timeout(EVICTION_WAIT, permits().acquire_owned()).await.ok()?.ok()
    }

    fn is_source_full(&self, source: IpAddr, address: IpAddr) -> bool {
        let shared = &self.0.limits.shared_sources;
        let is_shared = shared.iter().any(|range| range.contains(address));
        !is_shared && self.count_of(source) >= self.0.limits.per_source
    }

    fn count_of(&self, source: IpAddr) -> usize {
        self.0.table.lock().by_source.get(&source).copied().unwrap_or_default()
    }

    /// Closes the connection that is best closed, of one source or of all; returns whether one was
    /// found.
    fn evict(&self, source: Option<IpAddr>) -> bool {
        let now = clock::timer();
        let mut table = self.0.table.lock();
        let Some(number) = table.idlest(source, now) else { return false };
        // If a request has started in between, it is served.
        let is_closed = table
            .taken
            .get(&number)
            .is_some_and(|taken| taken.state.close_if_idle(taken.since, now));
        if !is_closed {
            return false;
        }
        let task = table.remove(number).and_then(|taken| taken.task);
        drop(table);
        if let Some(task) = task {
            task.abort();
        }
        self.0.metrics.connections_evicted.inc();
        true
    }

    fn refuse(&self, address: IpAddr, limit: ConnectionLimit) {
        self.0.metrics.connections_refused.get_or_create(&ConnectionLimitLabels { limit }).inc();
        let Some(more) = self.0.table.lock().next_log_line(clock::timer()) else { return };
        let setting = match limit {
            ConnectionLimit::connections => "limits.connections",
            ConnectionLimit::source => "limits.connections_per_source",
        };
        tracing::warn!(
            event = "connections.refused",
            peer = %address,
            more,
            "refused a connection: the limit {setting} is reached and no connection is idle"
        );
    }
}

impl Table {
    /// The connection that is best closed, of one source or of all.
    fn idlest(&self, source: Option<IpAddr>, now: Instant) -> Option<u64> {
        self.taken
            .iter()
            .filter(|(_number, taken)| source.is_none_or(|source| source == taken.source))
            .filter_map(|(number, taken)| Some((taken.state.idleness(taken.since, now)?, *number)))
            .min_by_key(|(Idleness { rank, since }, number)| (*rank, *since, *number))
            .map(|(_idleness, number)| number)
    }

    /// Counts a refusal. Returns the number of refusals without a log line since the last line, if
    /// it is time for the next line.
    fn next_log_line(&mut self, now: Instant) -> Option<u64> {
        if self.last_logged.is_some_and(|logged| now < logged + LOG_INTERVAL) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last_logged = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    fn remove(&mut self, number: u64) -> Option<OpenConnectionState> {
        let taken = self.taken.remove(&number)?;
        self.discount(taken.source);
        Some(taken)
    }

    fn discount(&mut self, source: IpAddr) {
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl ConnectionSlot {
    /// The metrics of its server.
    pub(super) fn metrics(&self) -> &ServerMetrics {
        &self.slots.0.metrics
    }

    /// Counts the connection for the source that its proxy has named. Returns false if that source
    /// has the maximum number of connections.
    pub(super) fn set_source(&self, address: IpAddr) -> bool {
        if !self.slots.has_room_for(address) {
            return false;
        }
        let source = source_of(address);
        let mut table = self.slots.0.table.lock();
        if let Some(taken) = table.taken.get_mut(&self.number) {
            let before = std::mem::replace(&mut taken.source, source);
            table.discount(before);
            *table.by_source.entry(source).or_default() += 1;
        }
        true
    }

    /// Sets the task that drives the connection, to abort it when the slot is needed.
    pub(super) fn set_task(slots: &ConnectionSlots, number: u64, task: AbortHandle) {
        match slots.0.table.lock().taken.get_mut(&number) {
            Some(taken) => taken.task = Some(task),
            // It was evicted in between.
            None => task.abort(),
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.0.table.lock().remove(self.number);
        self.slots.0.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn slots(total: usize, per_source: usize, shared: &[&str]) -> ConnectionSlots {
        let shared = shared.iter().map(|text| text.parse().unwrap()).collect();
        let limits = ConnectionLimits { total, per_source, shared_sources: shared };
        ConnectionSlots::new(limits, ServerMetrics::default())
    }

    /// A connection that waits forever, with its slot.
    async fn connect(
        slots: &ConnectionSlots,
        last: u8,
        number: u64,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let place = slots.take(address(last), number).await?;
        let task = tokio::spawn(async move {
            let _place = place;
            std::future::pending::<()>().await;
        });
        ConnectionSlot::set_task(slots, number, task.abort_handle());
        Some(task)
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_connection_is_evicted_and_a_busy_one_is_not() {
        let slots = slots(2, 2, &[]);
        let first = connect(&slots, 1, 1).await.unwrap();
        let state = slots.0.table.lock().taken[&1].state.clone();
        let guard = state.enter(Some(0)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = connect(&slots, 1, 2).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let _third = connect(&slots, 2, 3).await.unwrap();
        assert!(second.await.unwrap_err().is_cancelled());
        assert!(!first.is_finished());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(guard);
        tokio::time::advance(Duration::from_secs(5)).await;
        let _fourth = connect(&slots, 2, 4).await.unwrap();
        assert!(!first.is_finished(), "its last response is later than the third connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_successful_connection_is_kept_for_a_while_after_its_last_response() {
        let slots = slots(1, 1, &[]);
        let first = connect(&slots, 1, 1).await.unwrap();
        let state = slots.0.table.lock().taken[&1].state.clone();
        let (guard, _query) = state.enter(Some(0)).unwrap();
        guard.mark_success();
        drop(guard);
        tokio::time::advance(Duration::from_secs(89)).await;
        assert!(connect(&slots, 2, 2).await.is_none());
        tokio::time::advance(Duration::from_secs(2)).await;
        let _second = connect(&slots, 2, 3).await.unwrap();
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(state.enter(Some(0)).is_err(), "a late request is not started");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_evicts_its_own_connections_and_a_shared_one_has_no_limit() {
        let slots = slots(4, 2, &["127.0.0.9/32"]);
        let first = connect(&slots, 1, 1).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let _stays = connect(&slots, 1, 2).await.unwrap();
        let _third = connect(&slots, 1, 3).await.unwrap();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(slots.count_of(address(1)), 2);
        for number in 10..12 {
            connect(&slots, 9, number).await.unwrap();
        }
        assert_eq!(slots.0.table.lock().taken.len(), 4);
        let _more = connect(&slots, 9, 12).await.unwrap();
        assert_eq!(slots.count_of(address(9)), 3);
    }
}
