//! The invocation budget: how often each key version has encrypted, and what follows from it.
//!
//! Uses are taken from leases that the store counts already, so that a crash makes the count too
//! high and never too low. Half a lease before the end the next one is taken in the background:
//! the hot path is an atomic of the version and waits for nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::KeyringError;
use crate::error::ErrorCode;
use crate::model::{IvBudget, KeyVersionId};
use crate::store::{Remainder, Store, StoreError};
use crate::telemetry::metrics::{BudgetEvent, metrics};
use crate::token::{Encrypted, MOST_USES};

/// How long the background waits after the store has failed.
const LEASE_PAUSE: Duration = Duration::from_secs(1);

/// The meters of all versions that have encrypted since the start.
pub(super) struct Invocations {
    store: Store,
    limits: IvBudget,
    meters: RwLock<HashMap<KeyVersionId, Arc<Meter>>>,
    /// What has no record yet.
    events: Mutex<Vec<IvEvent>>,
}

/// That a key version has encrypted very often, for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvEvent {
    /// The version.
    pub version: KeyVersionId,
    /// How often it has encrypted, with what is leased to it.
    pub total: u64,
    /// Whether it is about to encrypt no more.
    pub is_end: bool,
}

/// The meter of one version.
struct Meter {
    version: KeyVersionId,
    /// What is leased and not used.
    left: AtomicU64,
    /// What the store counts, `left` included.
    total: AtomicU64,
    /// Nothing more can be leased.
    is_at_end: AtomicBool,
    is_told: AtomicBool,
    /// The background takes a lease, or rests after a failure.
    is_refilling: AtomicBool,
    /// Held by the one who takes a lease.
    turn: tokio::sync::Mutex<()>,
    failures: AtomicU64,
}

/// Leave to use a version for one encryption, retry included.
pub(super) struct Reserved(Arc<Meter>);

impl Reserved {
    /// Gives back what the encryption did not need. Dropped without it, all counts as used.
    pub(super) fn settle(self, sealed: &Encrypted) {
        self.0.left.fetch_add(MOST_USES.saturating_sub(sealed.uses), Ordering::Relaxed);
    }
}

impl Invocations {
    pub(super) fn new(store: Store, limits: IvBudget) -> Self {
        Self { store, limits, meters: RwLock::default(), events: Mutex::default() }
    }

    /// Leave to encrypt once with a version.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        version: KeyVersionId,
        deadline: Instant,
    ) -> Result<Reserved, KeyringError> {
        let meter = self.meter(version);
        let Some(left) = meter.take() else {
            let leased = tokio::time::timeout_at(deadline.into(), self.wait_for(&meter)).await;
            leased.map_err(|_elapsed| KeyringError::Refused(ErrorCode::Unavailable))??;
            return Ok(Reserved(meter));
        };
        if left <= self.limits.lease / 2 && !meter.is_at_end.load(Ordering::Relaxed) {
            self.refill(&meter);
        }
        Ok(Reserved(meter))
    }

    /// Whether a version has encrypted so often that its key should get another.
    pub(super) fn is_worn(&self, version: KeyVersionId) -> bool {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        let total = meters.get(&version).map(|meter| meter.total.load(Ordering::Relaxed));
        total.is_some_and(|total| total >= self.limits.rotate_at)
    }

    /// Gives the rest of all leases back; for an end at which nothing is encrypted any more.
    pub(super) async fn give_back(&self) -> Result<(), StoreError> {
        let meters: Vec<Arc<Meter>> = {
            let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
            meters.drain().map(|(_version, meter)| meter).collect()
        };
        let remainders: Vec<_> = meters.iter().map(|meter| meter.remainder()).collect();
        self.store.return_invocations(&remainders).await
    }

    fn meter(&self, version: KeyVersionId) -> Arc<Meter> {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(&version) {
            return Arc::clone(meter);
        }
        drop(meters);
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(version).or_insert_with(|| Arc::new(Meter::new(version))))
    }

    /// Takes uses when the lease is used up: whoever comes first takes the next one, and a failure
    /// is the failure of all who wait.
    async fn wait_for(&self, meter: &Meter) -> Result<(), KeyringError> {
        let failures = meter.failures.load(Ordering::Acquire);
        let _turn = meter.turn.lock().await;
        loop {
            if meter.take().is_some() {
                return Ok(());
            }
            if meter.is_at_end.load(Ordering::Relaxed) {
                return Err(KeyringError::UsedUp);
            }
            if meter.failures.load(Ordering::Acquire) != failures {
                return Err(ErrorCode::Unavailable.into());
            }
            self.lease(meter).await?;
        }
    }

    fn refill(self: &Arc<Self>, meter: &Arc<Meter>) {
        if meter.is_refilling.load(Ordering::Relaxed)
            || meter.is_refilling.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let (invocations, meter) = (Arc::clone(self), Arc::clone(meter));
        tokio::spawn(async move {
            if let Err(error) = invocations.lease_in_time(&meter).await {
                tracing::warn!(
                    key_version_id = %meter.version,
                    error = &error as &dyn std::error::Error,
                    "the next encryptions of a key version cannot be written down; it encrypts \
                     until its lease ends"
                );
                tokio::time::sleep(LEASE_PAUSE).await;
            }
            meter.is_refilling.store(false, Ordering::Relaxed);
        });
    }

    /// Takes a lease, unless somebody who could not wait has taken one meanwhile.
    async fn lease_in_time(&self, meter: &Meter) -> Result<(), StoreError> {
        let _turn = meter.turn.lock().await;
        if meter.left.load(Ordering::Relaxed) > self.limits.lease / 2 {
            return Ok(());
        }
        self.lease(meter).await
    }

    /// Takes a lease. Its caller holds the meter's turn.
    async fn lease(&self, meter: &Meter) -> Result<(), StoreError> {
        let IvBudget { lease, refuse_at, .. } = self.limits;
        let leased = self.store.lease_invocations(meter.version, lease, refuse_at).await;
        let leased = leased.inspect_err(|_error| {
            meter.failures.fetch_add(1, Ordering::Release);
        })?;
        meter.total.store(leased.total, Ordering::Relaxed);
        meter.is_at_end.store(leased.total >= refuse_at, Ordering::Relaxed);
        meter.left.fetch_add(leased.granted, Ordering::Relaxed);
        self.tell(meter, leased.total);
        Ok(())
    }

    /// What has happened and has no record yet.
    pub(super) fn events(&self) -> MutexGuard<'_, Vec<IvEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells operators, once for each version and start, and again at the end.
    fn tell(&self, meter: &Meter, total: u64) {
        let IvBudget { warn_at, rotate_at, refuse_at, .. } = self.limits;
        let version = meter.version;
        if total >= refuse_at {
            metrics().iv_budget(BudgetEvent::ended);
            self.events().push(IvEvent { version, total, is_end: true });
            tracing::error!(key_version_id = %version, total, refuse_at,
                "a key version is about to encrypt no more: it has used as many random IVs as are \
                 safe; make a new version of its key");
        } else if total >= warn_at && !meter.is_told.swap(true, Ordering::Relaxed) {
            metrics().iv_budget(BudgetEvent::warned);
            self.events().push(IvEvent { version, total, is_end: false });
            tracing::warn!(key_version_id = %version, total, rotate_at, refuse_at,
                "a key version has encrypted very often; its key needs a new version before it \
                 encrypts no more");
        }
    }
}

impl Meter {
    fn new(version: KeyVersionId) -> Self {
        Self {
            version,
            left: AtomicU64::new(0),
            total: AtomicU64::new(0),
            is_at_end: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_refilling: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// Takes the uses of one encryption; tells what is left.
    fn take(&self) -> Option<u64> {
        let take = |left: u64| left.checked_sub(MOST_USES);
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        before.checked_sub(MOST_USES)
    }

    fn remainder(&self) -> Remainder {
        let unused = self.left.swap(0, Ordering::Relaxed);
        Remainder { version: self.version, unused, total: self.total.load(Ordering::Relaxed) }
    }
}
