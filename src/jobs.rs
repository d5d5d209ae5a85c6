//! What runs beside the requests: destroying and rotating keys that are due, and following changes
//! that another process made to the store. Each thing that is done leaves its audit records.

mod dangling;
mod destruction_hold;
mod rest;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dangling::DanglingNames;
pub use destruction_hold::HOLD_LEFT;
use destruction_hold::{DestructionHold, Verdict};
use rest::Rests;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::audit::{Actor, Deed, DeedError, NotRecorded, Recorder};
use crate::authn::{AccessKeyError, AccessKeys, ClientKeys, ReplayError, ReplayGuard};
use crate::keyring::{Keyring, KeyringError};
use crate::model::{ImportParameters, KeyId, Time};
use crate::store::{Store, StoreError};
use crate::token::KeyIdentity;

/// How long after its deletion date a key may still be there.
const PURGE_EVERY: Duration = Duration::from_secs(10);
/// How long a version that never came alive may still be there.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(5);
/// How long after its date imported material may still be in the token; it is of no use there.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// How long after its date a key may still wait for its next version.
const ROTATE_EVERY: Duration = Duration::from_secs(5);
/// How long an AccessKey or a policy that another process took away may still be good (one second
/// is promised).
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// How long the store's file may be gone, or changes be kept again, before it is noticed.
const WATCH_STORE_EVERY: Duration = Duration::from_secs(1);
/// How long an access document may name what is not there before that is told.
const LOOK_AT_NAMES_EVERY: Duration = Duration::from_secs(1);
/// How long a jump of the clock may be unnoticed while no key job looks for one.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
/// How long what the IV budget has to tell may be without its record.
const IV_EVENTS_EVERY: Duration = Duration::from_secs(5);
/// How long at least from one time that all keys are found to the next.
const FIND_EVERY: Duration = Duration::from_secs(1);
/// How often the hours of last use are written down.
const USES_EVERY: Duration = Duration::from_mins(1);
/// How long nonces may still be kept that no longer count.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// How long temporary credentials stay known after their end, to be refused as expired.
const EXPIRED_FOR_SECONDS: i64 = 24 * 3600;

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
        access_keys: Arc<AccessKeys>,
        client_keys: Arc<ClientKeys>,
        replay: Arc<ReplayGuard>,
        store: Store,
        audit: Recorder,
        destruction_hold: Duration,
    ) -> Self {
        let mut jobs = JoinSet::new();
        jobs.spawn(find_all_keys(keyring.clone()));
        let hold = DestructionHold::new(store.clone(), audit.clone(), destruction_hold);
        let desk = || Desk {
            keyring: keyring.clone(),
            audit: audit.clone(),
            rests: Rests::default(),
            hold: hold.clone(),
        };
        jobs.spawn(every_with_token(PURGE_EVERY, "purge", desk(), purge));
        let name = "half-made key versions";
        jobs.spawn(every_with_token(TAKE_BACK_EVERY, name, desk(), take_back));
        let name = "imported material that is left";
        jobs.spawn(every_with_token(TAKE_BACK_EVERY, name, desk(), destroy_owed));
        let name = "expiry of imported material";
        jobs.spawn(every_with_token(EXPIRE_EVERY, name, desk(), expire_material));
        let name = "expiry of import tokens";
        jobs.spawn(every_with_token(EXPIRE_EVERY, name, desk(), expire_imports));
        jobs.spawn(every_with_token(ROTATE_EVERY, "rotation", desk(), rotate));
        let clocks = hold.clone();
        jobs.spawn(every(CLOCK_EVERY, "look at the clock", move || {
            let clocks = clocks.clone();
            async move { clocks.look().await.map(drop) }
        }));
        let (ring, recorder) = (keyring.clone(), audit.clone());
        jobs.spawn(every(IV_EVENTS_EVERY, "records of the IV budget", move || {
            record_iv_events(ring.clone(), recorder.clone())
        }));
        let (documents, dangling) = (store.clone(), Arc::new(DanglingNames::default()));
        jobs.spawn(every(
            LOOK_AT_NAMES_EVERY,
            "look at the names in access documents",
            move || {
                let (store, dangling) = (documents.clone(), Arc::clone(&dangling));
                async move {
                    dangling.look(&store);
                    Ok::<(), StoreError>(())
                }
            },
        ));
        let used = Arc::clone(&access_keys);
        let watched = store.clone();
        jobs.spawn(every(WATCH_STORE_EVERY, "watch of the store", move || {
            let store = watched.clone();
            async move {
                store.watch().await;
                Ok::<(), StoreError>(())
            }
        }));
        jobs.spawn(every(REFRESH_EVERY, "refresh", move || {
            let (access_keys, store) = (Arc::clone(&access_keys), store.clone());
            let audit = audit.clone();
            async move {
                // A revocation takes effect whether or not it can be recorded, and whatever fails
                // with something else.
                let access = access_keys.refresh().await;
                let catalogue = store.refresh().await;
                store.note_following(access.is_err() || catalogue.is_err());
                take_over_events(&store, &audit).await?;
                access?;
                catalogue?;
                Ok::<_, JobError>(())
            }
        }));
        jobs.spawn(every(USES_EVERY, "uses of AccessKeys", move || {
            let access_keys = Arc::clone(&used);
            async move {
                access_keys.write_uses().await?;
                access_keys.purge_sessions(Time::now().plus_seconds(-EXPIRED_FOR_SECONDS)).await
            }
        }));
        jobs.spawn(every(USES_EVERY, "uses of client keys", move || {
            let client_keys = Arc::clone(&client_keys);
            async move { client_keys.write_uses().await }
        }));
        jobs.spawn(every(FORGET_EVERY, "nonces that no longer count", move || {
            forget_nonces(Arc::clone(&replay))
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
    let mut returns = keyring.token_returns();
    let mut is_told = false;
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
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error,
                        "the token cannot be searched yet for keys that the store lacks");
                }
            }
        }
        tokio::time::sleep(FIND_EVERY).await;
    }
    while returns.changed().await.is_ok() {
        // What was not found is searched for at its first use.
        if let Err(error) = keyring.find_all().await {
            tracing::debug!(%error, "not all keys could be found at once");
            returns.mark_changed();
        }
        tokio::time::sleep(FIND_EVERY).await;
    }
}

/// What a job on keys works with.
#[derive(Clone)]
struct Desk {
    keyring: Keyring,
    audit: Recorder,
    rests: Rests,
    hold: DestructionHold,
}

/// As [`every`], for a job on keys. It rests while the token is away: that is told elsewhere, once,
/// and what is not begun needs no record.
async fn every_with_token<Work, Outcome>(
    interval: Duration,
    name: &'static str,
    desk: Desk,
    work: Work,
) where
    Work: Fn(Desk) -> Outcome,
    Outcome: Future<Output = Result<(), JobError>>,
{
    let work = || {
        let is_ready = desk.keyring.ready().is_ok();
        let work = is_ready.then(|| work(desk.clone()));
        async { if let Some(work) = work { work.await } else { Ok(()) } }
    };
    every(interval, name, work).await;
}

async fn purge(desk: Desk) -> Result<(), JobError> {
    let keyring = &desk.keyring;
    let Verdict { now, is_held } = desk.hold.look().await?;
    // What has begun is past cancelling, and is finished.
    let due = if is_held { keyring.begun_purges() } else { keyring.due_for_purge(now) };
    let deed = |key: &KeyId| Deed::due("DestroyKey", *key);
    each(&desk, due, deed, |key| keyring.purge(key, now)).await
}

async fn take_back(desk: Desk) -> Result<(), JobError> {
    let left = desk.keyring.left_behind().await?;
    let deed = |(key, version): &(KeyId, KeyIdentity)| {
        Deed::due("TakeBackKeyVersion", *key).with("KeyVersionId", version.id().to_string())
    };
    let work = |(key, version)| desk.keyring.take_back(key, version);
    each(&desk, left, deed, work).await
}

async fn destroy_owed(desk: Desk) -> Result<(), JobError> {
    let deed = |key: &KeyId| Deed::due("DestroyKeyMaterial", *key);
    let keyring = &desk.keyring;
    each(&desk, keyring.owed_destructions(), deed, |key| keyring.destroy_owed(key)).await
}

async fn expire_material(desk: Desk) -> Result<(), JobError> {
    let keyring = &desk.keyring;
    let Verdict { now, is_held } = desk.hold.look().await?;
    if is_held {
        return Ok(());
    }
    let deed = |key: &KeyId| Deed::due("ExpireKeyMaterial", *key);
    each(&desk, keyring.due_for_expiry(now), deed, |key| keyring.expire_material(key, now)).await
}

async fn expire_imports(desk: Desk) -> Result<(), JobError> {
    let deed = |import: &Arc<ImportParameters>| {
        let wrapping = import.wrapping.to_string();
        Deed::due("ExpireImportToken", import.key).with("WrappingKeyVersionId", wrapping)
    };
    let work = async |import: Arc<_>| desk.keyring.forget_import(&import).await;
    each(&desk, desk.keyring.expired_imports(Time::now()), deed, work).await
}

async fn rotate(desk: Desk) -> Result<(), JobError> {
    let (keyring, now) = (&desk.keyring, Time::now());
    let deed = |key: &KeyId| Deed::due("RotateKey", *key);
    each(&desk, keyring.due_for_rotation(now), deed, |key| keyring.rotate(key, now)).await
}

async fn record_iv_events(keyring: Keyring, audit: Recorder) -> Result<(), NotRecorded> {
    let mut failure = None;
    for (key, event) in keyring.take_iv_events() {
        let name = if event.is_end { "IvBudgetExhausted" } else { "IvBudgetWarning" };
        let deed = Deed::due(name, key)
            .with("KeyVersionId", event.version.to_string())
            .with("Invocations", event.total.to_string());
        if let Err(error) = audit.note(&deed).await {
            keyring.keep_iv_event(event);
            failure = Some(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Does something to everything that is due, each with its record. What fails is told of once, and
/// again when it goes well; it is tried less and less often, as each try leaves two records. What
/// cannot be recorded ends the round.
async fn each<T, Work, Failure>(
    desk: &Desk,
    due: Vec<T>,
    deed: impl Fn(&T) -> Deed,
    work: impl Fn(T) -> Work,
) -> Result<(), JobError>
where
    Work: Future<Output = Result<(), Failure>>,
    Failure: std::error::Error + 'static,
{
    let mut names = HashSet::with_capacity(due.len());
    for one in due {
        let deed = deed(&one);
        let what = format!("{} {:?}", deed.name, deed.parameters);
        if !desk.rests.has(&what, Instant::now()) {
            let name = deed.name.clone();
            let key = deed.key.map(|key| key.to_string()).unwrap_or_default();
            match desk.audit.perform(deed, work(one)).await {
                Ok(()) => {
                    if desk.rests.succeed(&what) {
                        tracing::info!(deed = name, key_id = key, "what had failed is done");
                    }
                }
                Err(DeedError::NotRecorded(error)) => return Err(error.into()),
                Err(DeedError::Failed(error)) => {
                    if desk.rests.fail(&what, Instant::now()) {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::error!(
                            deed = name,
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
    desk.rests.keep_only(|what| names.contains(what));
    Ok(())
}

async fn forget_nonces(replay: Arc<ReplayGuard>) -> Result<(), ReplayError> {
    let forgetting = tokio::task::spawn_blocking(move || replay.forget_expired(Time::now()));
    // It ends without an outcome only with the runtime.
    forgetting.await.unwrap_or(Ok(()))
}

/// Puts what operators have changed into the audit, in order. Whoever dies before it is forgotten
/// in the store puts it there twice, under the same id.
async fn take_over_events(store: &Store, audit: &Recorder) -> Result<(), JobError> {
    for (number, event) in store.operator_events().await? {
        let deed = Deed {
            id: event.id,
            name: event.name,
            actor: Actor::Operator(event.operator),
            time: Time::from_unix(event.time),
            parameters: event.parameters,
            key: None,
        };
        audit.note(&deed).await?;
        store.forget_operator_event(number).await?;
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
