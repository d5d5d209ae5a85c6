//! What runs beside the requests: destroying and rotating keys that are due, and following changes
//! that another process made to the store. Each thing that is done leaves its audit records.

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

/// How long after its deletion date a key may still be there.
const PURGE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a version that never came alive may still be there.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// How long after its date imported material may still be in the token; it is of no use there.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long after its date a key may still wait for its next version.
const ROTATION_INTERVAL: Duration = Duration::from_secs(5);
/// How long an AccessKey or a policy that another process took away may still be good (one second
/// is promised).
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the store's file may be gone, or changes be kept again, before it is noticed.
const STORE_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long an access document may name what is not there before that is told.
const DANGLING_REFERENCES_INTERVAL: Duration = Duration::from_secs(1);
/// How long a jump of the clock may be unnoticed while no key job looks for one.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long what the IV budget has to tell may be without its record.
const IV_EVENTS_INTERVAL: Duration = Duration::from_secs(5);
/// How long at least from one time that all keys are found to the next.
const KEY_SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the hours of last use are written down.
const LAST_USED_INTERVAL: Duration = Duration::from_mins(1);
/// How long nonces may still be kept that no longer count.
const NONCE_CLEANUP_INTERVAL: Duration = Duration::from_secs(10);
/// How long temporary credentials stay known after their end, to be refused as expired.
const EXPIRED_RETENTION_SECONDS: i64 = 24 * 3600;

/// The running jobs; dropping them stops them.
#[derive(Debug)]
pub struct Jobs(JoinSet<()>);

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("what is due, or an operator has changed, cannot be recorded")]
    NotRecorded(#[from] NotRecorded),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    AccessKeys(#[from] AccessKeyError),
}

impl Jobs {
    /// Starts every job. Each does its work at once and then at its interval.
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
        let name = "half-made key versions";
        jobs.spawn(every_with_token(CLEANUP_INTERVAL, name, context(), remove_incomplete_versions));
        let name = "imported material that is left";
        jobs.spawn(every_with_token(CLEANUP_INTERVAL, name, context(), destroy_pending_material));
        let name = "expiry of imported material";
        jobs.spawn(every_with_token(EXPIRY_INTERVAL, name, context(), expire_material));
        let name = "expiry of import tokens";
        jobs.spawn(every_with_token(EXPIRY_INTERVAL, name, context(), expire_imports));
        jobs.spawn(every_with_token(ROTATION_INTERVAL, "rotation", context(), rotate));
        let clocks = hold.clone();
        jobs.spawn(every(CLOCK_CHECK_INTERVAL, "look at the clock", move || {
            let clocks = clocks.clone();
            async move { clocks.check().await.map(drop) }
        }));
        let (ring, recorder) = (keyring.clone(), audit.clone());
        jobs.spawn(every(IV_EVENTS_INTERVAL, "records of the IV budget", move || {
            record_iv_events(ring.clone(), recorder.clone())
        }));
        let (documents, dangling_references) =
            (store.clone(), Arc::new(DanglingReferences::default()));
        jobs.spawn(every(
            DANGLING_REFERENCES_INTERVAL,
            "look at the names in access documents",
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
        jobs.spawn(every(STORE_WATCH_INTERVAL, "watch of the store", move || {
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
                // A revocation takes effect whether or not it can be recorded, and whatever fails
                // with something else.
                let access = access_keys.refresh().await;
                let catalogue = store.refresh().await;
                store.note_refresh(access.is_err() || catalogue.is_err());
                record_operator_events(&store, &audit).await?;
                access?;
                catalogue?;
                Ok::<_, JobError>(())
            }
        }));
        jobs.spawn(every(LAST_USED_INTERVAL, "uses of AccessKeys", move || {
            let access_keys = Arc::clone(&used);
            async move {
                access_keys.flush_last_used().await?;
                access_keys
                    .purge_sessions(Time::now().plus_seconds(-EXPIRED_RETENTION_SECONDS))
                    .await
            }
        }));
        jobs.spawn(every(LAST_USED_INTERVAL, "uses of client keys", move || {
            let client_keys = Arc::clone(&client_keys);
            async move { client_keys.flush_last_used().await }
        }));
        jobs.spawn(every(NONCE_CLEANUP_INTERVAL, "nonces that no longer count", move || {
            remove_expired_nonces(Arc::clone(&replay))
        }));
        Self(jobs)
    }

    /// Stops every job where it awaits, and waits for it.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

/// Finds all keys of the token, now and whenever it is back: a search for each, when it is first used,
/// takes a token with many keys far longer. At first those are told of that the store does not know.
/// They are never touched: after an older store was restored, good keys look like that.
async fn find_all_keys(keyring: Keyring) {
    let mut reconnects = keyring.token_reconnects();
    let mut is_logged = false;
    loop {
        match keyring.orphans().await {
            Ok(orphans) => {
                if let Some(first) = orphans.first() {
                    tracing::error!(count = orphans.len(), %first,
                        "the token has keys that the store does not know; hsmgate recover takes them in");
                }
                break;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error,
                        "the token cannot be searched yet for keys that the store lacks");
                }
            }
        }
        tokio::time::sleep(KEY_SEARCH_INTERVAL).await;
    }
    while reconnects.changed().await.is_ok() {
        // What was not found is searched for at its first use.
        if let Err(error) = keyring.load_all_handles().await {
            tracing::debug!(%error, "not all keys could be found at once");
            reconnects.mark_changed();
        }
        tokio::time::sleep(KEY_SEARCH_INTERVAL).await;
    }
}

/// What a job on keys works with.
#[derive(Clone)]
struct JobContext {
    keyring: Keyring,
    audit: Recorder,
    backoff: Backoff,
    hold: DestructionHold,
}

/// As [`every`], for a job on keys. It rests while the token is away: that is told elsewhere, once,
/// and what is not begun needs no record.
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

/// Does something to everything that is due, each with its record. What fails is told of once, and
/// again when it goes well; it is tried less and less often, as each try leaves two records. What
/// cannot be recorded ends the round.
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
                        tracing::info!(action = name, key_id = key, "what had failed is done");
                    }
                }
                Err(RecordError::NotRecorded(error)) => return Err(error.into()),
                Err(RecordError::Failed(error)) => {
                    if context.backoff.fail(&what, Instant::now()) {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::error!(
                            action = name,
                            key_id = key,
                            error,
                            "what is due fails and will be tried again"
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
    // It ends without an outcome only with the runtime.
    removal.await.unwrap_or(Ok(()))
}

/// Puts what operators have changed into the audit, in order. Whoever dies before it is forgotten
/// in the store puts it there twice, under the same id.
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

/// Does `work` at every interval. Of failures in a row only the first is logged, and the success
/// that ends them.
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
            Ok(()) if is_failing => tracing::info!(job = name, "the job works again"),
            Err(error) if !is_failing => {
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::error!(job = name, error, "the job fails and will be tried again");
            }
            _ => {}
        }
        is_failing = outcome.is_err();
    }
}
