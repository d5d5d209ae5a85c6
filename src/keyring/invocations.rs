//! The invocation budget: the number of encryptions of each key version, and its limits.
//!
//! Uses are taken from leases that the store has counted already, so that a crash makes the count
//! too high and never too low. The next lease is taken in the background when half of the current
//! one is left: the hot path only changes an atomic of the version and does not wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::KeyringError;
use super::metrics::{BudgetEvent, BudgetEventLabels, KeyringMetrics};
use crate::error::ErrorCode;
use crate::model::{IvBudget, KeyVersionId};
use crate::store::{KnownCount, Lease, Remainder, Store, StoreError};
use crate::token::{MAX_USES, TokenError};

/// The pause of the background task after a failure of the store.
const LEASE_PAUSE: Duration = Duration::from_secs(1);

/// The maximum number of encryptions of a version that a process leases while the database is a standby: what
/// is not counted if the process ends, a 256th of the limit of random IVs.
const MAX_AT_STANDBY: u64 = 1 << 24;

/// The number of encryptions in sequence that a version must fail, while the token works, to count as
/// unusable.
const MAX_FAILURES: u64 = 10;

/// The counters of all versions that have encrypted since the start.
pub(super) struct Invocations {
    store: Store,
    limits: IvBudget,
    counters: RwLock<HashMap<KeyVersionId, Arc<InvocationCounter>>>,
    /// The events that are not recorded in the audit yet.
    events: Mutex<Vec<IvEvent>>,
    metrics: KeyringMetrics,
}

/// A key version has reached a limit of encryptions; an event for the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvEvent {
    /// The version.
    pub version: KeyVersionId,
    /// The number of encryptions, including leased ones.
    pub total: u64,
    /// Whether the version will soon stop encrypting.
    pub is_end: bool,
}

/// The counter of one version.
struct InvocationCounter {
    version: KeyVersionId,
    /// Leased and unused encryptions.
    left: AtomicU64,
    /// The count in the store and `at_standby`, including `left`.
    total: AtomicU64,
    /// Nothing more can be leased.
    is_exhausted: AtomicBool,
    is_warning_logged: AtomicBool,
    /// The background task takes a lease, or waits after a failure.
    is_refilling: AtomicBool,
    /// Held while a lease is taken.
    lease_lock: tokio::sync::Mutex<()>,
    /// Encryptions that were leased while the database was a standby, and that it has not counted since.
    at_standby: AtomicU64,
    failures: AtomicU64,
    /// Encryptions in sequence that failed although the token works.
    failed_encryptions: AtomicU64,
    /// The token does not encrypt with the version any more.
    is_unusable: AtomicBool,
}

/// The right to one encryption with a version, retries included.
pub(super) struct Reservation(Arc<InvocationCounter>);

impl Reservation {
    /// Returns the uses that the encryption did not need. If dropped without it, all count as used.
    pub(super) fn release_unused(self, uses: u64) {
        self.0.left.fetch_add(MAX_USES.saturating_sub(uses), Ordering::Relaxed);
        if self.0.failed_encryptions.load(Ordering::Relaxed) != 0 {
            self.0.failed_encryptions.store(0, Ordering::Relaxed);
        }
    }
}

impl Invocations {
    pub(super) fn new(store: Store, limits: IvBudget, metrics: KeyringMetrics) -> Self {
        Self { store, limits, counters: RwLock::default(), events: Mutex::default(), metrics }
    }

    /// The limits of each version.
    pub(super) fn limits(&self) -> IvBudget {
        self.limits
    }

    /// Reserves one encryption with a version.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        version: KeyVersionId,
        deadline: Instant,
    ) -> Result<Reservation, KeyringError> {
        let counter = self.counter(version);
        let Some(left) = counter.take() else {
            let leased =
                tokio::time::timeout_at(deadline.into(), Box::pin(self.wait_for_lease(&counter)))
                    .await;
            leased.map_err(|_elapsed| KeyringError::Refused(ErrorCode::Unavailable))??;
            return Ok(Reservation(counter));
        };
        if left <= self.limits.lease / 2 && !counter.is_exhausted.load(Ordering::Relaxed) {
            self.refill(&counter);
        }
        Ok(Reservation(counter))
    }

    /// Whether a version has encrypted so often that its key needs a new one, or encrypts no more.
    pub(super) fn needs_rotation(&self, version: KeyVersionId) -> bool {
        let counters = self.counters.read();
        counters.get(&version).is_some_and(|counter| {
            counter.total.load(Ordering::Relaxed) >= self.limits.rotate_at
                || counter.is_unusable.load(Ordering::Relaxed)
        })
    }

    /// Counts an encryption that failed although the token works. A version that the token reports
    /// as exhausted, or that fails again and again, is unusable: its key needs a new one.
    pub(super) fn note_failure(&self, reserved: &Reservation, error: &TokenError) {
        let counter = &reserved.0;
        let failed = counter.failed_encryptions.fetch_add(1, Ordering::Relaxed) + 1;
        let is_unusable = error.is_key_exhausted() || failed >= MAX_FAILURES;
        if is_unusable && !counter.is_unusable.swap(true, Ordering::Relaxed) {
            self.metrics.unusable_versions.inc();
            tracing::error!(
                event = "key.version_unusable",
                key_version_id = %counter.version,
                %error,
                failed,
                "the token does not encrypt with a key version any more, although it works; the key \
                 gets a new version if its material was generated on the token"
            );
        }
    }

    /// Returns the rest of all leases to the store, after the last encryption of a gateway.
    pub(super) async fn return_leases(&self) -> Result<(), StoreError> {
        let counters: Vec<Arc<InvocationCounter>> = {
            let mut counters = self.counters.write();
            counters.drain().map(|(_version, counter)| counter).collect()
        };
        let remainders: Vec<_> = counters.iter().map(|counter| counter.remainder()).collect();
        self.store.return_invocations(&remainders).await
    }

    fn counter(&self, version: KeyVersionId) -> Arc<InvocationCounter> {
        let counters = self.counters.read();
        if let Some(counter) = counters.get(&version) {
            return Arc::clone(counter);
        }
        drop(counters);
        let mut counters = self.counters.write();
        Arc::clone(
            counters.entry(version).or_insert_with(|| Arc::new(InvocationCounter::new(version))),
        )
    }

    /// Takes uses when the lease is used up: the first caller takes the next lease, and its failure
    /// is the failure of all that wait.
    async fn wait_for_lease(&self, counter: &InvocationCounter) -> Result<(), KeyringError> {
        let failures = counter.failures.load(Ordering::Acquire);
        let _lock = counter.lease_lock.lock().await;
        loop {
            if counter.take().is_some() {
                return Ok(());
            }
            if counter.is_exhausted.load(Ordering::Relaxed) {
                return Err(KeyringError::InvocationsExhausted);
            }
            if counter.failures.load(Ordering::Acquire) != failures {
                return Err(ErrorCode::Unavailable.into());
            }
            self.lease(counter).await?;
        }
    }

    fn refill(self: &Arc<Self>, counter: &Arc<InvocationCounter>) {
        if counter.is_refilling.load(Ordering::Relaxed)
            || counter.is_refilling.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let (invocations, counter) = (Arc::clone(self), Arc::clone(counter));
        tokio::spawn(async move {
            if let Err(error) = invocations.lease_ahead(&counter).await {
                tracing::warn!(
                    event = "iv_budget.lease_failed",
                    key_version_id = %counter.version,
                    error = &error as &dyn std::error::Error,
                    "could not lease further encryptions of a key version; it encrypts until its \
                     current lease ends"
                );
                tokio::time::sleep(LEASE_PAUSE).await;
            }
            counter.is_refilling.store(false, Ordering::Relaxed);
        });
    }

    /// Takes a lease, unless another caller has taken one meanwhile.
    async fn lease_ahead(&self, counter: &InvocationCounter) -> Result<(), StoreError> {
        let _lock = counter.lease_lock.lock().await;
        if counter.left.load(Ordering::Relaxed) > self.limits.lease / 2 {
            return Ok(());
        }
        self.lease(counter).await
    }

    /// Takes a lease. The caller holds `lease_lock`.
    async fn lease(&self, counter: &InvocationCounter) -> Result<(), StoreError> {
        let IvBudget { lease, refuse_at, .. } = self.limits;
        let uncounted = counter.at_standby.load(Ordering::Relaxed);
        let known = KnownCount { counted: counter.counted(), uncounted };
        let leased =
            self.store.lease_invocations_above(known, counter.version, lease, refuse_at).await;
        if leased.is_ok() {
            counter.at_standby.fetch_sub(uncounted, Ordering::Relaxed);
        }
        let leased = match leased {
            Err(StoreError::Standby) => self.lease_at_standby(counter).await,
            leased => leased,
        };
        let leased = leased.inspect_err(|_error| {
            counter.failures.fetch_add(1, Ordering::Release);
        })?;
        counter.total.store(leased.total, Ordering::Relaxed);
        counter.is_exhausted.store(leased.total >= refuse_at, Ordering::Relaxed);
        counter.left.fetch_add(leased.granted, Ordering::Relaxed);
        self.report(counter, leased.total);
        Ok(())
    }

    /// Takes a lease that a standby of the database cannot count. The next lease after its promotion, or an
    /// orderly stop, adds it to the count. A process that ends before that takes its count with it.
    async fn lease_at_standby(&self, counter: &InvocationCounter) -> Result<Lease, StoreError> {
        let IvBudget { lease, refuse_at, .. } = self.limits;
        let uncounted = counter.at_standby.load(Ordering::Relaxed);
        let stored = self.store.leased_invocations(counter.version).await?;
        let before = stored.max(counter.counted()).saturating_add(uncounted);
        let left = MAX_AT_STANDBY.saturating_sub(uncounted);
        let granted = lease.min(left).min(refuse_at.saturating_sub(before));
        if left == 0 {
            return Err(StoreError::Standby);
        }
        counter.at_standby.fetch_add(granted, Ordering::Relaxed);
        Ok(Lease { granted, total: before.saturating_add(granted) })
    }

    /// The events that are not recorded in the audit yet.
    pub(super) fn events(&self) -> MutexGuard<'_, Vec<IvEvent>> {
        self.events.lock()
    }

    /// Logs the warning limit, once for each version and start, and the final limit.
    fn report(&self, counter: &InvocationCounter, total: u64) {
        let IvBudget { warn_at, rotate_at, refuse_at, .. } = self.limits;
        let version = counter.version;
        let count =
            |event| self.metrics.iv_budget.get_or_create(&BudgetEventLabels { event }).inc();
        if total >= refuse_at {
            count(BudgetEvent::exhausted);
            self.events().push(IvEvent { version, total, is_end: true });
            tracing::error!(
                event = "iv_budget.exhausted",
                key_version_id = %version,
                total,
                refuse_at,
                "a key version has reached the limit of random IVs and will soon stop encrypting; \
                 create a new version of its key"
            );
        } else if total >= warn_at && !counter.is_warning_logged.swap(true, Ordering::Relaxed) {
            count(BudgetEvent::warned);
            self.events().push(IvEvent { version, total, is_end: false });
            tracing::warn!(
                event = "iv_budget.warned",
                key_version_id = %version,
                total,
                rotate_at,
                refuse_at,
                "a key version has encrypted very often; create a new version of its key before it \
                 stops encrypting"
            );
        }
    }
}

impl InvocationCounter {
    fn new(version: KeyVersionId) -> Self {
        Self {
            version,
            left: AtomicU64::new(0),
            total: AtomicU64::new(0),
            is_exhausted: AtomicBool::new(false),
            is_warning_logged: AtomicBool::new(false),
            is_refilling: AtomicBool::new(false),
            lease_lock: tokio::sync::Mutex::default(),
            at_standby: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failed_encryptions: AtomicU64::new(0),
            is_unusable: AtomicBool::new(false),
        }
    }

    /// Takes the uses of one encryption; returns how many are left.
    fn take(&self) -> Option<u64> {
        let take = |left: u64| left.checked_sub(MAX_USES);
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        before.checked_sub(MAX_USES)
    }

    /// What the store has counted, as far as this process knows.
    fn counted(&self) -> u64 {
        let uncounted = self.at_standby.load(Ordering::Relaxed);
        self.total.load(Ordering::Relaxed).saturating_sub(uncounted)
    }

    fn remainder(&self) -> Remainder {
        let unused = self.left.swap(0, Ordering::Relaxed);
        let uncounted = self.at_standby.load(Ordering::Relaxed);
        let known = KnownCount { counted: self.counted(), uncounted };
        Remainder { version: self.version, unused, known }
    }
}
