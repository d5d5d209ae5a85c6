//! Background jobs: destroy and rotate due keys, delete due secrets, and read changes that another
//! process made to the store. Each action is recorded in the audit log. In a cluster, one gateway at a
//! time runs the jobs that change what all share.

mod approvals;
mod backoff;
mod crossings;
mod dangling_references;
mod destruction_hold;
mod limits;
mod metrics;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backoff::Backoff;
use dangling_references::DanglingReferences;
pub use destruction_hold::HOLD_LEFT;
use destruction_hold::{DestructionHold, HoldStatus};
use limits::Limits;
pub use metrics::JobMetrics;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::audit::{Actor, NotRecorded, RecordError, Recorder, SystemEvent, SystemFailure};
use crate::authn::{AccessKeyError, ClientKeys, CredentialStore, ReplayError, ReplayGuard};
use crate::error::ErrorCode;
use crate::keyring::store_counter::{StoreCounter, StoreCounterError};
use crate::keyring::{Keyring, KeyringError, SecretDataKeys};
use crate::model::{ImportParameters, KeyId, SecretRecord, Time, clock};
use crate::server::tls::ServerCertificate;
use crate::store::{EventGap, JobLease, PromotionNews, Store, StoreError};
use crate::token::KeyIdentity;

/// Maximum delay of a key destruction after its deletion date.
const PURGE_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum lifetime of a version that was never activated.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time that expired imported material stays on the token. It cannot be used there.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum delay of a due rotation.
const ROTATION_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time that an AccessKey or a policy deleted by another process stays valid (one second is
/// promised).
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time to detect that the store file was lost or restored.
const STORE_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time to report a dangling reference in an access document.
const DANGLING_REFERENCES_INTERVAL: Duration = Duration::from_secs(1);
/// Interval for encrypting data keys of secrets again.
const REWRAP_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of secrets in one interval, so that the token keeps time for requests.
const REWRAP_BATCH: usize = 50;
/// Maximum time to detect a jump of the clock when no key job checks the clock.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time until an event of the IV budget is recorded.
const IV_EVENTS_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time until a change of an operator's command is recorded.
const OPERATOR_EVENTS_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time until a request for an approval is recorded, and until an expired one is removed.
const APPROVALS_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two searches for all keys.
const KEY_SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// The time between the start, or a reconnect of the token, and the tests of its capabilities: the
/// first requests after a start should not wait for them.
const CAPABILITY_TESTS_DELAY: Duration = Duration::from_mins(1);
/// Interval for storing the hours of last use.
const LAST_USED_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum time until the answers of key versions that were not known are stored.
const ANSWERS_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time that expired nonces are kept.
const NONCE_CLEANUP_INTERVAL: Duration = Duration::from_secs(10);
/// How long temporary credentials stay known after expiry, to be refused as expired.
const EXPIRED_RETENTION_SECONDS: i64 = 24 * 3600;

/// Maximum time until a crossed threshold of an expiry or a quota is reported.
const LIMITS_INTERVAL: Duration = Duration::from_mins(1);
/// The same for what is read from the database: AccessKeys that are not used, and IV budgets.
const USES_INTERVAL: Duration = Duration::from_mins(10);
/// Maximum time until the token knows that the database has changed.
const COUNTER_INTERVAL: Duration = Duration::from_mins(1);

/// How often the lease of the jobs is renewed, or tried.
const LEASE_INTERVAL: Duration = Duration::from_secs(2);
/// The pause after a refresh that another gateway caused, as a multiple of its duration, up to the interval
/// of refreshes: many changes of other gateways are read together.
const REFRESH_PAUSE_FACTOR: u32 = 4;

/// Maximum time that a stop waits for the work in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What the jobs work on.
#[derive(Clone)]
pub struct JobContext {
    /// The keys.
    pub keyring: Keyring,
    /// The AccessKeys.
    pub access_keys: Arc<CredentialStore>,
    /// The client keys of access points.
    pub client_keys: Arc<ClientKeys>,
    /// The accepted nonces.
    pub replay: Arc<ReplayGuard>,
    /// The store.
    pub store: Store,
    /// The audit log.
    pub audit: Recorder,
    /// The data keys of secrets, if they are encrypted again after a rotation.
    pub data_keys: Option<SecretDataKeys>,
    /// How long due destructions wait after a jump of the clock. Zero disables it.
    pub destruction_hold: Duration,
    /// The metrics of the jobs.
    pub metrics: JobMetrics,
    /// The counter that the database and the token have.
    pub counter: Arc<StoreCounter>,
    /// The lease of the jobs that one gateway of a cluster runs.
    pub lease: Arc<JobLease>,
    /// The certificate; `None` over plain HTTP.
    pub certificate: Option<Arc<ServerCertificate>>,
}

/// The running jobs. Dropping them cancels them.
#[derive(Debug, Default)]
pub struct Jobs {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("cannot record a due action or an operator's change in the audit log")]
    NotRecorded(#[from] NotRecorded),
    #[error(transparent)]
    Approval(#[from] approvals::ApprovalError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    AccessKeys(#[from] AccessKeyError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Counter(#[from] StoreCounterError),
}

/// One job, with the state that its runs share.
#[derive(Clone)]
struct Job {
    context: JobContext,
    backoff: Backoff,
    hold: DestructionHold,
    references: Arc<DanglingReferences>,
    limits: Limits,
    /// A job on keys pauses while the token is disconnected: the disconnect is logged elsewhere,
    /// once, and an action that did not begin needs no record.
    needs_token: bool,
    /// One gateway of a cluster at a time runs it.
    needs_lease: bool,
    /// It pauses while lost changes are not accepted: rows of an older state must not have anything
    /// destroyed.
    needs_changes: bool,
    stop: watch::Receiver<bool>,
}

impl Job {
    /// This job with what it works on now. `None` while it pauses.
    fn due(&self) -> Option<Self> {
        if self.needs_token && self.context.keyring.ready().is_err() {
            return None;
        }
        if self.needs_changes && self.context.store.lost_changes().is_some() {
            return None;
        }
        if !self.needs_lease {
            return Some(self.clone());
        }
        let store = self.context.lease.store()?;
        let keyring = self.context.keyring.with_store(store.clone());
        let data_keys = self.context.data_keys.as_ref().map(|keys| keys.with_store(store.clone()));
        let context = JobContext { keyring, store, data_keys, ..self.context.clone() };
        Some(Self { context, ..self.clone() })
    }
}

impl Jobs {
    /// Starts every job. Each job runs immediately and then at its interval.
    pub fn start(context: &JobContext) -> Self {
        let mut jobs = Self::default();
        jobs.until_stop(find_all_keys(context.keyring.clone()));
        jobs.until_stop(test_capabilities(context.keyring.clone()));
        let JobContext { audit, metrics, .. } = context.clone();
        let hold = DestructionHold::new(audit, context.destruction_hold, metrics);
        let (references, limits) = (Arc::default(), Limits::default());
        let stop = jobs.stop.subscribe();
        let own = || Job {
            context: context.clone(),
            backoff: Backoff::default(),
            hold: hold.clone(),
            references: Arc::clone(&references),
            limits: limits.clone(),
            needs_token: false,
            needs_lease: false,
            needs_changes: false,
            stop: stop.clone(),
        };
        let shared = || Job { needs_lease: true, ..own() };
        let of_changes = || Job { needs_changes: true, ..shared() };
        let own_of_keys = || Job { needs_token: true, needs_changes: true, ..own() };
        let of_keys = || Job { needs_token: true, ..of_changes() };
        jobs.run(LEASE_INTERVAL, "lease of the jobs", own(), renew_lease);
        jobs.run(PURGE_INTERVAL, "purge", of_keys(), purge);
        jobs.run(PURGE_INTERVAL, "deletion of secrets", of_changes(), purge_secrets);
        let name = "removal of incomplete key versions";
        jobs.run(CLEANUP_INTERVAL, name, of_keys(), remove_incomplete_versions);
        jobs.run(CLEANUP_INTERVAL, "destruction of late copies", of_keys(), destroy_late_copies);
        let name = "destruction of remaining imported material";
        jobs.run(CLEANUP_INTERVAL, name, own_of_keys(), destroy_pending_material);
        let name = "expiry of imported material";
        jobs.run(EXPIRY_INTERVAL, name, of_keys(), expire_material);
        jobs.run(EXPIRY_INTERVAL, "expiry of import tokens", of_keys(), expire_imports);
        jobs.run(ROTATION_INTERVAL, "rotation", of_keys(), rotate);
        jobs.run(REWRAP_INTERVAL, "rewrap of secrets", of_keys(), rewrap_secrets);
        let name = "rotation of used versions";
        jobs.run(ROTATION_INTERVAL, name, own_of_keys(), rotate_used);
        jobs.run(CLOCK_CHECK_INTERVAL, "clock check", shared(), check_clock);
        jobs.run(IV_EVENTS_INTERVAL, "audit of the IV budget", own(), record_iv_events);
        jobs.run(APPROVALS_INTERVAL, "approvals", of_changes(), record_approvals);
        jobs.run(OPERATOR_EVENTS_INTERVAL, "changes of operators", shared(), record_operators);
        let name = "check of references in access documents";
        jobs.run(DANGLING_REFERENCES_INTERVAL, name, own(), check_references);
        jobs.run(STORE_WATCH_INTERVAL, "store check", own(), watch_store);
        jobs.run_refresh(own());
        jobs.run(LAST_USED_INTERVAL, "last uses of AccessKeys", own(), store_access_key_uses);
        jobs.run(LAST_USED_INTERVAL, "last uses of key versions", own(), store_version_uses);
        jobs.run(ANSWERS_INTERVAL, "answers of key versions", own(), store_key_answers);
        jobs.run(LAST_USED_INTERVAL, "expired sessions", of_changes(), remove_expired_sessions);
        jobs.run(LAST_USED_INTERVAL, "last uses of client keys", own(), store_client_key_uses);
        jobs.run(NONCE_CLEANUP_INTERVAL, "removal of expired nonces", own(), remove_expired_nonces);
        let name = "removal of expired nonces of the cluster";
        jobs.run(NONCE_CLEANUP_INTERVAL, name, shared(), prune_shared_nonces);
        jobs.run(LIMITS_INTERVAL, "check of expiries and quotas", own(), limits::check);
        jobs.run(USES_INTERVAL, "check of unused AccessKeys", own(), limits::check_uses);
        jobs.run(COUNTER_INTERVAL, "counter of the database", of_keys(), raise_counter);
        jobs
    }

    /// Runs `work` until its end or the stop, which interrupts it.
    fn until_stop(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stop.subscribe();
        self.tasks.spawn(async move {
            tokio::select! { () = work => {}, _ = stopped.wait_for(|stop| *stop) => {} }
        });
    }

    /// Refreshes at every interval, and soon after another gateway has announced a change.
    fn run_refresh(&mut self, job: Job) {
        let changed = Arc::new(Notify::new());
        let (store, woken) = (job.context.store.clone(), Arc::clone(&changed));
        self.until_stop(async move { store.listen(woken).await });
        self.every(REFRESH_INTERVAL, "refresh", Some(changed), move || refresh(job.clone()));
    }

    /// Runs `work` at every interval, and when it is woken, until the stop, which does not interrupt it.
    fn every<Work, Outcome>(
        &mut self,
        interval: Duration,
        name: &'static str,
        woken: Option<Arc<Notify>>,
        work: Work,
    ) where
        Work: Fn() -> Outcome + Send + 'static,
        Outcome: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = self.stop.subscribe();
        self.tasks.spawn(async move {
            let mut is_failing = false;
            let mut took = Duration::ZERO;
            loop {
                let woken = async {
                    let Some(woken) = &woken else { return std::future::pending().await };
                    woken.notified().await;
                    let pause = took.saturating_mul(REFRESH_PAUSE_FACTOR);
                    tokio::time::sleep(pause.min(interval)).await;
                };
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = ticks.tick() => {}
                    () = woken => {}
                }
                let begun = clock::monotonic();
                let outcome = match work().await {
                    // Said once, when it was found out.
                    Err(JobError::Store(StoreError::Standby)) => Ok(()),
                    outcome => outcome,
                };
                took = clock::since(begun);
                let was_failing = std::mem::replace(&mut is_failing, outcome.is_err());
                log_change(name, was_failing, &outcome);
            }
        });
    }

    fn run<Outcome>(
        &mut self,
        interval: Duration,
        name: &'static str,
        job: Job,
        work: fn(Job) -> Outcome,
    ) where
        Outcome: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        self.every(interval, name, None, move || {
            let work = job.due().map(work);
            async { if let Some(work) = work { work.await } else { Ok(()) } }
        });
    }

    /// Lets each job finish its current action and its audit record, for three seconds at most,
    /// and then cancels it at its next await point.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, finish).await.is_err() {
            tracing::warn!(
                event = "jobs.canceled",
                seconds = STOP_TIMEOUT.as_secs(),
                "a job did not finish its action in time; the next start continues it"
            );
        }
        self.tasks.shutdown().await;
    }
}

/// Finds all keys of the token, now and after each reconnect: separate searches at first use would
/// load a token with many keys far more. The first time, logs the keys that are missing in the
/// store. They are never touched: after a restore of an older store, good keys look like that.
async fn find_all_keys(keyring: Keyring) {
    let mut reconnects = keyring.token_reconnects();
    let mut is_logged = false;
    loop {
        match keyring.orphans().await {
            Ok(orphans) => {
                if let Some(first) = orphans.first() {
                    tracing::error!(event = "token.unknown_keys", count = orphans.len(), %first,
                        "the token has keys that are missing in the store; \
                         run hsmgate recover to import them");
                }
                break;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(event = "token.key_search_failed", %error,
                        "could not search the token for keys that are missing in the store");
                }
            }
        }
        tokio::time::sleep(KEY_SEARCH_INTERVAL).await;
    }
    keyring.destroy_left_test_keys().await;
    while reconnects.changed().await.is_ok() {
        // Keys that were not found are searched for at their first use.
        if let Err(error) = keyring.load_all_handles().await {
            tracing::debug!(%error, "could not load the handles of all keys");
            reconnects.mark_changed();
        }
        tokio::time::sleep(KEY_SEARCH_INTERVAL).await;
    }
}

/// Tests the capabilities of the token, some time after the start and after each reconnect.
async fn test_capabilities(keyring: Keyring) {
    let mut reconnects = keyring.token_reconnects();
    loop {
        tokio::time::sleep(CAPABILITY_TESTS_DELAY).await;
        keyring.test_capabilities().await;
        if reconnects.changed().await.is_err() {
            return;
        }
    }
}

async fn renew_lease(job: Job) -> Result<(), JobError> {
    Ok(job.context.lease.renew().await?)
}

async fn check_clock(job: Job) -> Result<(), JobError> {
    Ok(job.hold.check(&job.context.store).await.map(drop)?)
}

async fn record_approvals(job: Job) -> Result<(), JobError> {
    let JobContext { store, audit, .. } = job.context;
    Ok(approvals::record_due(&store, &audit, clock::now()).await?)
}

async fn check_references(job: Job) -> Result<(), JobError> {
    job.references.check(&job.context.store);
    Ok(())
}

async fn watch_store(job: Job) -> Result<(), JobError> {
    job.context.store.watch().await;
    Ok(())
}

async fn refresh(job: Job) -> Result<(), JobError> {
    let JobContext { access_keys, store, keyring, replay, .. } = job.context;
    // Rows of an older state count as damaged until a promotion is known.
    let followed = store.follow_promotion().await;
    if let Ok(Some(PromotionNews::LostChanges | PromotionNews::LostNonces)) = followed {
        let refused = tokio::task::spawn_blocking(move || replay.refuse_older(clock::now())).await;
        refused.map_err(|source| StoreError::Unavailable { source: source.into() })??;
    }
    if let Err(error) = followed {
        store.note_not_compared(&error);
        store.note_refresh(true);
        return Err(error.into());
    }
    // A revocation takes effect even if another refresh fails.
    let access = access_keys.refresh().await;
    let catalogue = store.refresh().await;
    store.note_refresh(access.is_err() || catalogue.is_err());
    keyring.forget_removed().await;
    access?;
    catalogue?;
    store.record_seen().await?;
    Ok(())
}

async fn record_operators(job: Job) -> Result<(), JobError> {
    let JobContext { store, audit, metrics, .. } = job.context;
    record_event_gaps(&store, &audit, &metrics).await?;
    record_operator_events(&store, &audit).await
}

async fn store_access_key_uses(job: Job) -> Result<(), JobError> {
    Ok(job.context.access_keys.flush_last_used().await?)
}

async fn store_version_uses(job: Job) -> Result<(), JobError> {
    Ok(job.context.store.flush_version_uses().await?)
}

async fn destroy_late_copies(job: Job) -> Result<(), JobError> {
    Ok(job.context.keyring.destroy_late_copies().await?)
}

async fn store_key_answers(job: Job) -> Result<(), JobError> {
    Ok(job.context.keyring.store_learned_answers().await?)
}

async fn remove_expired_sessions(job: Job) -> Result<(), JobError> {
    let expired = clock::now().plus_seconds(-EXPIRED_RETENTION_SECONDS);
    Ok(job.context.access_keys.purge_sessions(expired).await?)
}

async fn store_client_key_uses(job: Job) -> Result<(), JobError> {
    Ok(job.context.client_keys.flush_last_used().await?)
}

async fn raise_counter(job: Job) -> Result<(), JobError> {
    Ok(job.context.counter.raise().await?)
}

async fn purge(job: Job) -> Result<(), JobError> {
    let keyring = &job.context.keyring;
    let HoldStatus { now, is_held } = job.hold.check(&job.context.store).await?;
    let due = keyring.due_for_purge(now, is_held);
    let store = &job.context.store;
    let system_event = |key: &KeyId| {
        let secrets = store.secrets_of_key(*key);
        SystemEvent::scheduled("DestroyKey", *key).with("Secrets", secrets.len().to_string())
    };
    let work = async |key| {
        let secrets = store.secrets_of_key(key);
        keyring.purge(key, now).await?;
        for secret in secrets {
            tracing::warn!(
                event = "secret.lost_with_key",
                secret = %secret.name,
                key_id = %key,
                "the values of a secret can no longer be decrypted: its key was destroyed"
            );
        }
        Ok::<_, KeyringError>(())
    };
    run_due(&job, due, system_event, work).await
}

/// Deletes the secrets whose window has ended.
async fn purge_secrets(job: Job) -> Result<(), JobError> {
    let HoldStatus { now, is_held } = job.hold.check(&job.context.store).await?;
    if is_held {
        return Ok(());
    }
    let store = &job.context.store;
    let is_due = |secret: &SecretRecord| secret.delete_at.is_some_and(|date| date <= now);
    let mut due = store.secrets();
    due.retain(|secret| is_due(secret));
    let system_event = |secret: &Arc<SecretRecord>| {
        let name = vec![("SecretName".to_owned(), secret.name.to_string())];
        SystemEvent::of_gateway("DestroySecret", name)
    };
    let work = async |secret: Arc<SecretRecord>| {
        // The deletion may have been canceled meanwhile.
        let decide = |locked: &SecretRecord| {
            if is_due(locked) { Ok(()) } else { Err(StoreError::NotFound) }
        };
        match store.remove_secret(&secret, now, decide).await {
            Ok(()) => tracing::info!(
                event = "secret.destroyed",
                secret = %secret.name,
                "deleted a secret whose window had ended"
            ),
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    };
    run_due(&job, due, system_event, work).await
}

async fn remove_incomplete_versions(job: Job) -> Result<(), JobError> {
    let left = job.context.keyring.incomplete_versions().await?;
    let system_event = |(key, version): &(KeyId, KeyIdentity)| {
        SystemEvent::scheduled("RemoveIncompleteKeyVersion", *key)
            .with("KeyVersionId", version.id().to_string())
    };
    let work = |(key, version)| job.context.keyring.remove_incomplete_version(key, version);
    run_due(&job, left, system_event, work).await
}

async fn destroy_pending_material(job: Job) -> Result<(), JobError> {
    let system_event = |key: &KeyId| SystemEvent::scheduled("DestroyKeyMaterial", *key);
    let keyring = &job.context.keyring;
    run_due(&job, keyring.pending_destructions(), system_event, |key| {
        keyring.destroy_pending_material(key)
    })
    .await
}

async fn expire_material(job: Job) -> Result<(), JobError> {
    let keyring = &job.context.keyring;
    let HoldStatus { now, is_held } = job.hold.check(&job.context.store).await?;
    if is_held {
        return Ok(());
    }
    let system_event = |key: &KeyId| SystemEvent::scheduled("ExpireKeyMaterial", *key);
    run_due(&job, keyring.due_for_expiry(now), system_event, |key| {
        keyring.expire_material(key, now)
    })
    .await
}

async fn expire_imports(job: Job) -> Result<(), JobError> {
    let system_event = |import: &Arc<ImportParameters>| {
        let wrapping = import.wrapping.to_string();
        SystemEvent::scheduled("ExpireImportToken", import.key)
            .with("WrappingKeyVersionId", wrapping)
    };
    let work = async |import: Arc<_>| job.context.keyring.remove_import(&import).await;
    run_due(&job, job.context.keyring.expired_imports(clock::now()), system_event, work).await
}

async fn rotate(job: Job) -> Result<(), JobError> {
    let now = clock::now();
    rotate_keys(&job, job.context.keyring.due_for_rotation(now), now).await
}

/// Each gateway knows which versions it has used up. The row lock prevents a second rotation.
async fn rotate_used(job: Job) -> Result<(), JobError> {
    rotate_keys(&job, job.context.keyring.due_for_rotation_by_use(), clock::now()).await
}

async fn rotate_keys(job: &Job, due: Vec<KeyId>, now: Time) -> Result<(), JobError> {
    let system_event = |key: &KeyId| SystemEvent::scheduled("RotateKey", *key);
    run_due(job, due, system_event, |key| job.context.keyring.rotate(key, now)).await
}

/// Encrypts data keys of secrets again after a rotation of their key. A batch has one record.
async fn rewrap_secrets(job: Job) -> Result<(), JobError> {
    let Some(data_keys) = &job.context.data_keys else { return Ok(()) };
    let mut due = data_keys.outdated(None);
    due.truncate(REWRAP_BATCH);
    let due = if due.is_empty() { Vec::new() } else { vec![due] };
    let system_event = |batch: &Vec<Arc<SecretRecord>>| {
        let count = vec![("Secrets".to_owned(), batch.len().to_string())];
        SystemEvent::of_gateway("RewrapSecrets", count)
    };
    let work = async |batch: Vec<Arc<SecretRecord>>| {
        let mut failure = None;
        for secret in batch {
            // A damaged one does not keep the others under the old version.
            failure = data_keys.rewrap(&secret).await.err().or(failure);
        }
        failure.map_or(Ok(()), Err)
    };
    run_due(&job, due, system_event, work).await
}

async fn record_iv_events(job: Job) -> Result<(), JobError> {
    let JobContext { keyring, audit, .. } = job.context;
    let mut failure = None;
    for (key, event) in keyring.take_iv_events() {
        let name = if event.is_end { "IvBudgetExhausted" } else { "IvBudgetWarning" };
        let system_event = SystemEvent::scheduled(name, key)
            .with("KeyVersionId", event.version.to_string())
            .with("Invocations", event.total.to_string());
        if let Err(error) = audit.record(&system_event).await {
            keyring.requeue_iv_event(event);
            failure = Some(error);
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Runs the job for each due item and writes an audit record for each. Logs the first failure and
/// the recovery. Failed items are retried with growing delays, because each attempt leaves two
/// records. A failure to record ends the round, and so does a stop of the gateway.
async fn run_due<T, Work, Failure>(
    job: &Job,
    due: Vec<T>,
    system_event: impl Fn(&T) -> SystemEvent,
    work: impl Fn(T) -> Work,
) -> Result<(), JobError>
where
    Work: Future<Output = Result<(), Failure>>,
    Failure: std::error::Error + 'static,
{
    let mut names = HashSet::with_capacity(due.len());
    for one in due {
        if *job.stop.borrow() {
            return Ok(());
        }
        let system_event = system_event(&one);
        let what = format!("{} {:?}", system_event.name, system_event.parameters);
        if !job.backoff.is_delayed(&what, clock::monotonic()) {
            let name = system_event.name.clone();
            let key = system_event.key.map(|key| key.to_string()).unwrap_or_default();
            match job.context.audit.record_around(system_event, work(one)).await {
                Ok(()) => {
                    if job.backoff.succeed(&what) {
                        tracing::info!(
                            event = "jobs.item_recovered",
                            action = name,
                            key_id = key,
                            "a due action succeeded after failures"
                        );
                    }
                }
                Err(RecordError::NotRecorded(error)) => return Err(error.into()),
                Err(RecordError::Failed(error)) => {
                    if job.backoff.fail(&what, clock::monotonic()) {
                        tracing::error!(
                            event = "jobs.item_failed",
                            action = name,
                            key_id = key,
                            error = &error as &dyn std::error::Error,
                            "a due action failed and will be retried"
                        );
                    }
                }
            }
        }
        names.insert(what);
    }
    job.backoff.keep_only(|what| names.contains(what));
    Ok(())
}

async fn remove_expired_nonces(job: Job) -> Result<(), JobError> {
    let replay = job.context.replay;
    let removal = tokio::task::spawn_blocking(move || replay.forget_expired(clock::now()));
    // It ends without a result only if the runtime stops.
    Ok(removal.await.unwrap_or(Ok(()))?)
}

async fn prune_shared_nonces(job: Job) -> Result<(), JobError> {
    Ok(job.context.store.prune_nonces().await?)
}

/// Records that changes of operators were deleted before they were recorded.
async fn record_event_gaps(
    store: &Store,
    audit: &Recorder,
    metrics: &JobMetrics,
) -> Result<(), JobError> {
    for gap in store.operator_event_gaps().await? {
        let EventGap { from, to } = gap;
        tracing::error!(
            event = "operator_events.missing",
            from,
            to,
            "changes of operators were deleted from the database before they were audited"
        );
        let numbers =
            vec![("From".to_owned(), from.to_string()), ("To".to_owned(), to.to_string())];
        audit.record(&SystemEvent::of_gateway("MissingOperatorEvents", numbers)).await?;
        store.pass_operator_event_gap(gap).await?;
        metrics.missing_operator_events.inc();
    }
    Ok(())
}

/// Records the changes of operators in the audit log, in order. After a crash before the event is
/// deleted from the store, it is recorded twice, under the same id.
async fn record_operator_events(store: &Store, audit: &Recorder) -> Result<(), JobError> {
    for (number, event) in store.operator_events().await? {
        let system_event = SystemEvent {
            id: event.id,
            name: event.name,
            actor: Actor::Operator(event.operator),
            time: Time::from_unix(event.time),
            parameters: event.parameters,
            key: None,
        };
        let failure =
            event.refusal.map(|message| SystemFailure { code: ErrorCode::NoPermission, message });
        audit.record_outcome(&system_event, failure).await?;
        store.delete_operator_event(number).await?;
    }
    Ok(())
}

/// Logs the first failure in a row, and the next success.
fn log_change(name: &str, was_failing: bool, outcome: &Result<(), JobError>) {
    match outcome {
        Ok(()) if was_failing => {
            tracing::info!(
                event = "jobs.recovered",
                job = name,
                "the job succeeded after failures"
            );
        }
        Err(error) if !was_failing => {
            tracing::error!(
                event = "jobs.failed",
                job = name,
                error = error as &dyn std::error::Error,
                "the job failed and will be retried"
            );
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_stop_lets_the_running_job_finish_and_starts_none() {
        let mut jobs = Jobs::default();
        let (begun, resume) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let is_done = Arc::new(AtomicBool::new(false));
        let (work_begun, work_resume, done) =
            (Arc::clone(&begun), Arc::clone(&resume), Arc::clone(&is_done));
        jobs.every(Duration::from_millis(1), "test", None, move || {
            let (begun, resume) = (Arc::clone(&work_begun), Arc::clone(&work_resume));
            let done = Arc::clone(&done);
            async move {
                begun.notify_one();
                resume.notified().await;
                assert!(!done.swap(true, Ordering::SeqCst), "the job ran again");
                Ok(())
            }
        });
        begun.notified().await;
        let stopped = tokio::spawn(jobs.stop());
        // The stop has begun before the job goes on.
        tokio::task::yield_now().await;
        resume.notify_one();
        stopped.await.unwrap();
        assert!(is_done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_stop_cancels_a_job_that_does_not_finish() {
        let mut jobs = Jobs::default();
        let begun = Arc::new(Notify::new());
        let work_begun = Arc::clone(&begun);
        jobs.every(Duration::from_millis(1), "test", None, move || {
            work_begun.notify_one();
            std::future::pending()
        });
        begun.notified().await;
        let start = Instant::now();
        jobs.stop().await;
        assert!(start.elapsed() >= STOP_TIMEOUT);
    }
}
