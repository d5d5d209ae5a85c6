//! Background jobs: destroy and rotate due keys, and read changes that another process made to the
//! store. Each action is recorded in the audit log.

mod backoff;
mod dangling_references;
mod destruction_hold;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backoff::Backoff;
use dangling_references::DanglingReferences;
pub use destruction_hold::HOLD_LEFT;
use destruction_hold::{DestructionHold, HoldStatus};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::audit::{Actor, NotRecorded, RecordError, Recorder, SystemEvent};
use crate::authn::{AccessKeyError, ClientKeys, CredentialStore, ReplayError, ReplayGuard};
use crate::keyring::{Keyring, KeyringError};
use crate::model::{ImportParameters, KeyId, Time};
use crate::store::{Store, StoreError};
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
/// Maximum time to detect a jump of the clock when no key job checks the clock.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time until an event of the IV budget is recorded.
const IV_EVENTS_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two searches for all keys.
const KEY_SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// Interval for storing the hours of last use.
const LAST_USED_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum time that expired nonces are kept.
const NONCE_CLEANUP_INTERVAL: Duration = Duration::from_secs(10);
/// How long temporary credentials stay known after expiry, to be refused as expired.
const EXPIRED_RETENTION_SECONDS: i64 = 24 * 3600;

/// The running jobs. Dropping them stops them.
#[derive(Debug)]
pub struct Jobs(JoinSet<()>);

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("cannot record a due action or an operator's change in the audit log")]
    NotRecorded(#[from] NotRecorded),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    AccessKeys(#[from] AccessKeyError),
}

impl Jobs {
    /// Starts every job. Each job runs immediately and then at its interval.
    pub fn start(
        keyring: &Keyring,
        access_keys: Arc<CredentialStore>,
        client_keys: Arc<ClientKeys>,
        replay: Arc<ReplayGuard>,
        store: Store,
        audit: Recorder,
        destruction_hold: Duration,
    ) -> Self {
        let mut jobs = JoinSet::new();
        jobs.spawn(find_all_keys(keyring.clone()));
        let hold = DestructionHold::new(store.clone(), audit.clone(), destruction_hold);
        let context = || JobContext {
            keyring: keyring.clone(),
            audit: audit.clone(),
            backoff: Backoff::default(),
            hold: hold.clone(),
        };
        jobs.spawn(every_with_token(PURGE_INTERVAL, "purge", context(), purge));
        let name = "removal of incomplete key versions";
        jobs.spawn(every_with_token(CLEANUP_INTERVAL, name, context(), remove_incomplete_versions));
        let name = "destruction of remaining imported material";
        jobs.spawn(every_with_token(CLEANUP_INTERVAL, name, context(), destroy_pending_material));
        let name = "expiry of imported material";
        jobs.spawn(every_with_token(EXPIRY_INTERVAL, name, context(), expire_material));
        let name = "expiry of import tokens";
        jobs.spawn(every_with_token(EXPIRY_INTERVAL, name, context(), expire_imports));
        jobs.spawn(every_with_token(ROTATION_INTERVAL, "rotation", context(), rotate));
        let clocks = hold.clone();
        jobs.spawn(every(CLOCK_CHECK_INTERVAL, "clock check", move || {
            let clocks = clocks.clone();
            async move { clocks.check().await.map(drop) }
        }));
        let (ring, recorder) = (keyring.clone(), audit.clone());
        jobs.spawn(every(IV_EVENTS_INTERVAL, "audit of the IV budget", move || {
            record_iv_events(ring.clone(), recorder.clone())
        }));
        let (documents, dangling_references) =
            (store.clone(), Arc::new(DanglingReferences::default()));
        jobs.spawn(every(
            DANGLING_REFERENCES_INTERVAL,
            "check of references in access documents",
            move || {
                let (store, dangling_references) =
                    (documents.clone(), Arc::clone(&dangling_references));
                async move {
                    dangling_references.check(&store);
                    Ok::<(), StoreError>(())
                }
            },
        ));
        let used = Arc::clone(&access_keys);
        let watched = store.clone();
        jobs.spawn(every(STORE_WATCH_INTERVAL, "store check", move || {
            let store = watched.clone();
            async move {
                store.watch().await;
                Ok::<(), StoreError>(())
            }
        }));
        jobs.spawn(every(REFRESH_INTERVAL, "refresh", move || {
            let (access_keys, store) = (Arc::clone(&access_keys), store.clone());
            let audit = audit.clone();
            async move {
                // A revocation takes effect even if it cannot be recorded or another refresh fails.
                let access = access_keys.refresh().await;
                let catalogue = store.refresh().await;
                store.note_refresh(access.is_err() || catalogue.is_err());
                record_operator_events(&store, &audit).await?;
                access?;
                catalogue?;
                Ok::<_, JobError>(())
            }
        }));
        jobs.spawn(every(LAST_USED_INTERVAL, "last uses of AccessKeys", move || {
            let access_keys = Arc::clone(&used);
            async move {
                access_keys.flush_last_used().await?;
                access_keys
                    .purge_sessions(Time::now().plus_seconds(-EXPIRED_RETENTION_SECONDS))
                    .await
            }
        }));
        jobs.spawn(every(LAST_USED_INTERVAL, "last uses of client keys", move || {
            let client_keys = Arc::clone(&client_keys);
            async move { client_keys.flush_last_used().await }
        }));
        jobs.spawn(every(NONCE_CLEANUP_INTERVAL, "removal of expired nonces", move || {
            remove_expired_nonces(Arc::clone(&replay))
        }));
        Self(jobs)
    }

    /// Cancels every job at its next await point, and waits for it.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
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
    while reconnects.changed().await.is_ok() {
        // Keys that were not found are searched for at their first use.
        if let Err(error) = keyring.load_all_handles().await {
            tracing::debug!(%error, "could not load the handles of all keys");
            reconnects.mark_changed();
        }
        tokio::time::sleep(KEY_SEARCH_INTERVAL).await;
    }
}

/// The context of a job on keys.
#[derive(Clone)]
struct JobContext {
    keyring: Keyring,
    audit: Recorder,
    backoff: Backoff,
    hold: DestructionHold,
}

/// As [`every`], for a job on keys. It pauses while the token is disconnected: the disconnect is
/// logged elsewhere, once, and an action that did not begin needs no record.
async fn every_with_token<Work, Outcome>(
    interval: Duration,
    name: &'static str,
    context: JobContext,
    work: Work,
) where
    Work: Fn(JobContext) -> Outcome,
    Outcome: Future<Output = Result<(), JobError>>,
{
    let work = || {
        let is_ready = context.keyring.ready().is_ok();
        let work = is_ready.then(|| work(context.clone()));
        async { if let Some(work) = work { work.await } else { Ok(()) } }
    };
    every(interval, name, work).await;
}

async fn purge(context: JobContext) -> Result<(), JobError> {
    let keyring = &context.keyring;
    let HoldStatus { now, is_held } = context.hold.check().await?;
    let due = keyring.due_for_purge(now, is_held);
    let system_event = |key: &KeyId| SystemEvent::scheduled("DestroyKey", *key);
    run_due(&context, due, system_event, |key| keyring.purge(key, now)).await
}

async fn remove_incomplete_versions(context: JobContext) -> Result<(), JobError> {
    let left = context.keyring.incomplete_versions().await?;
    let system_event = |(key, version): &(KeyId, KeyIdentity)| {
        SystemEvent::scheduled("RemoveIncompleteKeyVersion", *key)
            .with("KeyVersionId", version.id().to_string())
    };
    let work = |(key, version)| context.keyring.remove_incomplete_version(key, version);
    run_due(&context, left, system_event, work).await
}

async fn destroy_pending_material(context: JobContext) -> Result<(), JobError> {
    let system_event = |key: &KeyId| SystemEvent::scheduled("DestroyKeyMaterial", *key);
    let keyring = &context.keyring;
    run_due(&context, keyring.pending_destructions(), system_event, |key| {
        keyring.destroy_pending_material(key)
    })
    .await
}

async fn expire_material(context: JobContext) -> Result<(), JobError> {
    let keyring = &context.keyring;
    let HoldStatus { now, is_held } = context.hold.check().await?;
    if is_held {
        return Ok(());
    }
    let system_event = |key: &KeyId| SystemEvent::scheduled("ExpireKeyMaterial", *key);
    run_due(&context, keyring.due_for_expiry(now), system_event, |key| {
        keyring.expire_material(key, now)
    })
    .await
}

async fn expire_imports(context: JobContext) -> Result<(), JobError> {
    let system_event = |import: &Arc<ImportParameters>| {
        let wrapping = import.wrapping.to_string();
        SystemEvent::scheduled("ExpireImportToken", import.key)
            .with("WrappingKeyVersionId", wrapping)
    };
    let work = async |import: Arc<_>| context.keyring.remove_import(&import).await;
    run_due(&context, context.keyring.expired_imports(Time::now()), system_event, work).await
}

async fn rotate(context: JobContext) -> Result<(), JobError> {
    let (keyring, now) = (&context.keyring, Time::now());
    let system_event = |key: &KeyId| SystemEvent::scheduled("RotateKey", *key);
    run_due(&context, keyring.due_for_rotation(now), system_event, |key| keyring.rotate(key, now))
        .await
}

async fn record_iv_events(keyring: Keyring, audit: Recorder) -> Result<(), NotRecorded> {
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
    failure.map_or(Ok(()), Err)
}

/// Runs the job for each due item and writes an audit record for each. Logs the first failure and
/// the recovery. Failed items are retried with growing delays, because each attempt leaves two
/// records. A failure to record ends the round.
async fn run_due<T, Work, Failure>(
    context: &JobContext,
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
        let system_event = system_event(&one);
        let what = format!("{} {:?}", system_event.name, system_event.parameters);
        if !context.backoff.is_delayed(&what, Instant::now()) {
            let name = system_event.name.clone();
            let key = system_event.key.map(|key| key.to_string()).unwrap_or_default();
            match context.audit.record_around(system_event, work(one)).await {
                Ok(()) => {
                    if context.backoff.succeed(&what) {
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
                    if context.backoff.fail(&what, Instant::now()) {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::error!(
                            event = "jobs.item_failed",
                            action = name,
                            key_id = key,
                            error,
                            "a due action failed and will be retried"
                        );
                    }
                }
            }
        }
        names.insert(what);
    }
    context.backoff.keep_only(|what| names.contains(what));
    Ok(())
}

async fn remove_expired_nonces(replay: Arc<ReplayGuard>) -> Result<(), ReplayError> {
    let removal = tokio::task::spawn_blocking(move || replay.forget_expired(Time::now()));
    // It ends without a result only if the runtime stops.
    removal.await.unwrap_or(Ok(()))
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
        audit.record(&system_event).await?;
        store.delete_operator_event(number).await?;
    }
    Ok(())
}

/// Runs `work` at every interval. Logs the first failure in a row, and the next success.
async fn every<Work, Outcome, Failure>(interval: Duration, name: &'static str, work: Work)
where
    Work: Fn() -> Outcome,
    Outcome: Future<Output = Result<(), Failure>>,
    Failure: std::error::Error + 'static,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        let outcome = work().await;
        match &outcome {
            Ok(()) if is_failing => tracing::info!(
                event = "jobs.recovered",
                job = name,
                "the job succeeded after failures"
            ),
            Err(error) if !is_failing => {
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::error!(
                    event = "jobs.failed",
                    job = name,
                    error,
                    "the job failed and will be retried"
                );
            }
            _ => {}
        }
        is_failing = outcome.is_err();
    }
}
