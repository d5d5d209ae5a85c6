//! Readiness of the gateway, with the state of each dependency.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;

use super::MonitoredComponents;
use crate::model::{Time, clock};
use crate::store::StoreError;

/// How long a result is reused for further probes.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// The timeout of the store check.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The health of the gateway.
pub struct Health {
    components: MonitoredComponents,
    is_starting: AtomicBool,
    is_stopping: AtomicBool,
    /// Held during the store check, so that concurrent probes cause only one.
    last: Mutex<Option<(Instant, Readiness)>>,
}

/// The response of `/readyz`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Readiness {
    status: &'static str,
    dependencies: BTreeMap<&'static str, Dependency>,
}

#[derive(Debug, Clone, Serialize)]
struct Dependency {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<f64>,
}

impl Health {
    /// Creates the health of a gateway with these components.
    pub fn new(components: MonitoredComponents) -> Self {
        Self {
            components,
            is_starting: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            last: Mutex::new(None),
        }
    }

    /// Whether something is still missing that clients expect, although the gateway serves.
    pub fn set_starting(&self, is_starting: bool) {
        self.is_starting.store(is_starting, Ordering::Relaxed);
    }

    /// From now on the gateway is not ready: it finishes the requests in progress.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn components(&self) -> &MonitoredComponents {
        &self.components
    }

    /// The readiness, at most a second old.
    pub(super) async fn readiness(&self) -> Readiness {
        let mut last = self.last.lock().await;
        let mut readiness = match &*last {
            Some((at, readiness)) if clock::since(*at) < CACHE_TTL => readiness.clone(),
            _ => {
                let readiness = self.check().await;
                *last = Some((clock::monotonic(), readiness.clone()));
                readiness
            }
        };
        if self.is_starting.load(Ordering::Relaxed) {
            readiness.status = "starting";
        }
        if self.is_stopping.load(Ordering::Relaxed) {
            readiness.status = "stopping";
        }
        readiness
    }

    async fn check(&self) -> Readiness {
        let dependencies = BTreeMap::from([
            ("audit", self.audit()),
            ("certificate", self.certificate()),
            ("clock", self.clock()),
            ("store", self.store().await),
            ("token", self.token()),
        ]);
        let has = |status| dependencies.values().any(|dependency| dependency.status == status);
        let status = match (has("failed"), has("degraded")) {
            (true, _) => "not ready",
            (false, true) => "degraded",
            (false, false) => "ready",
        };
        Readiness { status, dependencies }
    }

    /// One of several tokens is enough.
    fn token(&self) -> Dependency {
        let token = &self.components.token;
        if let Err(error) = token.ready() {
            return Dependency::of(Err(error));
        }
        let left_out = token.left_out();
        let reasons = left_out.iter().map(|(name, error)| format!("{name}: {error}"));
        let reasons: Vec<_> = reasons.collect();
        Dependency::ok_or("degraded", (!reasons.is_empty()).then(|| reasons.join("; ")))
    }

    /// All requests are rejected while the audit cannot be written.
    fn audit(&self) -> Dependency {
        match self.components.audit.status() {
            None => Dependency::none(),
            Some(status) if status.is_failing => {
                Dependency::ok_or("failed", Some("the last audit write failed".to_owned()))
            }
            Some(status) if status.is_moved => {
                let reason = "the audit file was renamed or removed while in use: send SIGHUP to \
                              begin a new one";
                Dependency::ok_or("degraded", Some(reason.to_owned()))
            }
            Some(_) => Dependency::ok_or("failed", None),
        }
    }

    /// Whether the store keeps changes, as far as known, and one read of one row.
    async fn store(&self) -> Dependency {
        if let Err(error) = self.components.store.condition() {
            return self.outage().unwrap_or_else(|| Dependency::of(Err(error)));
        }
        match tokio::time::timeout(STORE_TIMEOUT, self.components.store.metadata("region")).await {
            // The store responds, whatever the result.
            Ok(Ok(_) | Err(StoreError::Corrupt { .. })) => {
                Dependency::ok_or("degraded", self.store_problem())
            }
            // The read itself may have found the damage.
            Ok(Err(error)) => {
                if matches!(error, StoreError::Unavailable { .. }) {
                    self.components.store.note_silence();
                }
                let error = self.components.store.condition().err().unwrap_or(error);
                self.outage().unwrap_or_else(|| Dependency::of(Err(error)))
            }
            Err(elapsed) => {
                self.components.store.note_silence();
                self.outage().unwrap_or_else(|| Dependency::of(Err(elapsed)))
            }
        }
    }

    /// The state of a store whose database does not respond, while the gateway is ready.
    fn outage(&self) -> Option<Dependency> {
        let seconds = self.components.store.tolerated_outage()?.as_secs();
        let reason = format!(
            "the database has not responded for {seconds} s: changes are refused, and memory is served"
        );
        Some(Dependency::ok_or("degraded", Some(reason)))
    }

    /// Why a store that responds is degraded, if it is.
    fn store_problem(&self) -> Option<String> {
        if self.components.store.is_standby() {
            let server = self.components.store.server().unwrap_or_default();
            return Some(format!("the database at {server} is a standby: changes are refused"));
        }
        if let Some(lost) = self.components.store.lost_changes() {
            let from = Time::from_unix(lost.complete_until.div_euclid(1000));
            return Some(format!(
                "the database lacks acknowledged changes since {from}: changes are refused until an \
                 operator runs hsmgate cluster accept"
            ));
        }
        if self.components.store.is_stale() {
            return Some("cannot load all changes of other processes from the store".to_owned());
        }
        let count = self.components.store.damaged_rows().len();
        if count > 0 {
            let told = "damaged rows are ignored: run hsmgate doctor to list them";
            return Some(format!("{count} {told}"));
        }
        let count = self.components.store.unsigned_revocations();
        (count > 0).then(|| format!("{count} revocations are in force and not signed yet"))
    }

    /// All requests are rejected while the clock is behind the date from which requests are
    /// accepted.
    fn clock(&self) -> Dependency {
        let behind = self.components.replay.clock_behind(clock::now());
        let reason = behind
            .map(|from| format!("the clock is behind: requests dated before {from} are refused"));
        Dependency::ok_or("failed", reason)
    }

    fn certificate(&self) -> Dependency {
        let Some(certificate) = &self.components.certificate else {
            return Dependency::none();
        };
        let days = certificate.days_left(clock::now());
        let reason = (days <= 0.0).then(|| "the certificate has expired".to_owned());
        Dependency { days_left: Some(days), ..Dependency::ok_or("failed", reason) }
    }
}

impl Readiness {
    pub(super) fn is_ready(&self) -> bool {
        // A degraded gateway serves, but needs attention.
        matches!(self.status, "ready" | "degraded")
    }
}

impl Dependency {
    /// `ok`, or `status` if there is a reason for it.
    fn ok_or(status: &'static str, reason: Option<String>) -> Self {
        let status = if reason.is_none() { "ok" } else { status };
        Self { status, reason, days_left: None }
    }

    fn of(outcome: Result<(), impl std::error::Error>) -> Self {
        Self::ok_or("failed", outcome.err().map(|error| error.to_string()))
    }

    /// The gateway does without it.
    const fn none() -> Self {
        Self { status: "none", reason: None, days_left: None }
    }
}
