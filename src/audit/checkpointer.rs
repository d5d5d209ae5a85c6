//! Background task of the audit log: signed checkpoints, rotation, and orderly shutdown.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use flume::bounded;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::AuditError;
use super::chain::Head;
use super::checkpoint::{AuditKey, Checkpoint, CheckpointLink};
use super::continuity::TrustedState;
use super::line::{self, Kind};
use super::metadata::{KeyChange, StoredHead};
use super::metrics::AuditMetrics;
use super::recorder::{Inner, Recorder};
use super::refusal_counts::RefusalCounts;
use super::writer::{self, Command, LastCheckpoint, NotRecorded, Rotation, Started};
use crate::config::AuditSettings;
use crate::model::{KeySpec, KeyUsage, KeyVersionId, RegionAccount, clock};
use crate::store::{MetadataValue, Store, StoreError};
use crate::token::{
    Budget, ErrorClass, KeyIdentity, ObjectName, ObjectOwner, PublicKey, ServiceKey, SignAlgorithm,
    Token, TokenError,
};

/// How soon a failed checkpoint is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often counted refusals are recorded.
const REFUSAL_COUNT_INTERVAL: Duration = Duration::from_mins(1);

/// How often to check that the path still leads to the open file.
const PATH_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of one call to the token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The running audit log.
#[derive(Debug)]
pub struct AuditLog {
    recorder: Recorder,
    stop: oneshot::Sender<()>,
    checkpointer: JoinHandle<()>,
}

impl AuditLog {
    /// Finds or generates the checkpoint key, opens the file, and writes the opening record. From
    /// now on SIGHUP means that the file was rotated.
    ///
    /// # Errors
    /// When the file, the token or the store fails.
    pub async fn start(
        settings: AuditSettings,
        region_account: RegionAccount,
        store: Store,
        token: Token,
        metrics: AuditMetrics,
    ) -> Result<Self, AuditError> {
        let hangup = signal(SignalKind::hangup()).map_err(AuditError::System)?;
        let signer = Signer::open(&store, token).await?;
        let mut keys = StoredHead::retired_keys(&store).await?;
        keys.extend(StoredHead::public_key(&store).await?.value());
        let known = StoredHead::load(&store).await?;
        let is_damaged = known == MetadataValue::Damaged;
        let is_older_accepted = StoredHead::is_older_accepted(&store).await?;
        let trust = TrustedState { known: known.value(), is_damaged, keys, is_older_accepted };
        let change = KeyChange::unrecorded(&store).await?;
        let (timeout, required) = (settings.timeout, settings.required);
        let interval = settings.checkpoint_interval;
        let known = trust.known.clone();
        let stored = known.as_ref().and_then(|known| known.checkpoint.clone());
        let opened = blocking(move || writer::open(settings, &trust)).await?;
        let opened = opened.of_gateway(store.member());
        // From the first record on, the file may be ahead of the head in the store.
        if let Some(known) = known.filter(|known| known.is_closed) {
            let opening = StoredHead { is_opening: true, ..known };
            match opening.save(&store).await {
                // The file is then ahead of the head in the store, as after a kill.
                Ok(()) | Err(AuditError::Store(StoreError::Standby)) => {}
                Err(error) => return Err(error),
            }
        }
        let Started { commands, status, checkpoint } = blocking(move || opened.start()).await?;
        if is_older_accepted {
            let (head, checkpoint) = (status.head(), checkpoint.clone());
            let newest = StoredHead { head, is_closed: false, is_opening: false, checkpoint };
            newest.save_as_newest(&store).await?;
        }
        let recorder = Recorder::new(Inner {
            commands,
            status,
            timeout,
            required,
            region_account,
            refusal_counts: RefusalCounts::default(),
            metrics,
        });
        if let (Some(change), Some(inner)) = (change, recorder.inner()) {
            inner.write(Kind::Key, line::members(&change), false).await?;
            KeyChange::forget(&store).await?;
        }
        if let Some(inner) = recorder.inner() {
            note_signed(inner, checkpoint.as_ref());
        }
        let (stop, stopped) = oneshot::channel();
        let checkpointer = Checkpointer {
            recorder: recorder.clone(),
            signer,
            store,
            // A start after a kill may have found one that the store lacks.
            is_stored: is_older_accepted || checkpoint == stored,
            checkpoint,
            unconfirmed: None,
            retry_at: None,
        };
        let checkpointer = tokio::spawn(checkpointer.run(interval, hangup, stopped));
        Ok(Self { recorder, stop, checkpointer })
    }

    /// The recorder for requests.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Signs and closes the file. Call it after all requests have ended.
    pub async fn stop(self) {
        // The task runs until it receives this.
        let _ = self.stop.send(());
        if let Err(error) = self.checkpointer.await {
            tracing::error!(
                event = "audit.close_failed",
                %error,
                "could not close the audit log in order"
            );
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| AuditError::System(panicked.into()))?
}

fn note_signed(inner: &Inner, checkpoint: Option<&Checkpoint>) {
    *inner.status.signed.lock() = checkpoint.and_then(LastCheckpoint::of);
}

struct Checkpointer {
    recorder: Recorder,
    signer: Signer,
    store: Store,
    /// The last checkpoint of the chain, which the next one references.
    checkpoint: Option<Checkpoint>,
    /// Whether the store knows the last checkpoint. The next one is not signed before, because a start
    /// accepts an audit file that is one checkpoint ahead of the store.
    is_stored: bool,
    /// A checkpoint that is not known to be on disk yet.
    unconfirmed: Option<(Checkpoint, oneshot::Receiver<Result<(), NotRecorded>>)>,
    /// When the next attempt is due after a failure to sign or to store.
    retry_at: Option<Instant>,
}

impl Checkpointer {
    async fn run(
        mut self,
        interval: Duration,
        mut hangup: Signal,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let recorder = self.recorder.clone();
        let Some(inner) = recorder.inner() else { return };
        let [mut ticks, mut minutes, mut path_checks] =
            [interval, REFUSAL_COUNT_INTERVAL, PATH_CHECK_INTERVAL].map(|period| {
                let mut interval = tokio::time::interval(period);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                interval
            });
        loop {
            tokio::select! {
                _ = ticks.tick() => self.checkpoint(inner).await,
                _ = minutes.tick() => recorder.record_refusal_counts().await,
                // Every further record signals again that one is due.
                () = inner.status.due.notified() => {
                    if self.retry_at.is_none_or(|at| at <= clock::monotonic()) {
                        self.checkpoint(inner).await;
                    }
                }
                // If the queue is full, the next check comes soon.
                _ = path_checks.tick() => drop(inner.commands.try_send(Command::CheckPath)),
                _ = hangup.recv() => self.rotate(inner).await,
                _ = &mut stopped => break,
            }
        }
        recorder.record_refusal_counts().await;
        self.checkpoint(inner).await;
        self.close(inner).await;
    }

    /// Signs the records on disk, if any is newer than the last checkpoint.
    async fn checkpoint(&mut self, inner: &Inner) {
        let head = inner.status.head();
        let signed = self.checkpoint.as_ref().map_or(0, |last| last.covers.sequence);
        if !self.is_confirmed(inner).await || head.sequence <= signed.saturating_add(1) {
            return;
        }
        let Some(checkpoint) = self.signed(head).await else { return };
        match inner.enqueue(Kind::Checkpoint, line::members(&checkpoint), false) {
            Ok(told) => self.unconfirmed = Some((checkpoint, told)),
            Err(error) => log_not_written(error),
        }
        self.is_confirmed(inner).await;
    }

    /// Whether the last checkpoint is known to be on disk and in the store. The next one references it, so
    /// none is signed before.
    async fn is_confirmed(&mut self, inner: &Inner) -> bool {
        let Some((_, told)) = &mut self.unconfirmed else {
            if !self.is_stored {
                self.save_progress(inner, None).await;
            }
            return self.is_stored;
        };
        let outcome = match tokio::time::timeout(inner.timeout, told).await {
            Err(_elapsed) => {
                tracing::error!(
                    event = "audit.checkpoint_delayed",
                    "a checkpoint of the audit log is not on disk yet"
                );
                return false;
            }
            Ok(outcome) => outcome.unwrap_or(Err(NotRecorded::Ended)),
        };
        let checkpoint = self.unconfirmed.take().map(|(checkpoint, _)| checkpoint);
        match outcome {
            Ok(()) => self.save_progress(inner, checkpoint).await,
            Err(error) => log_not_written(error),
        }
        self.is_stored
    }

    /// Stores the head on disk and the last checkpoint.
    async fn save_progress(&mut self, inner: &Inner, checkpoint: Option<Checkpoint>) {
        self.checkpoint = checkpoint.or(self.checkpoint.take());
        note_signed(inner, self.checkpoint.as_ref());
        let (head, checkpoint) = (inner.status.head(), self.checkpoint.clone());
        let known = StoredHead { head, is_closed: false, is_opening: false, checkpoint };
        let saved = known.save(&self.store).await;
        self.is_stored = saved.is_ok();
        match saved {
            Ok(()) => self.note_recovery(),
            // The first failure in a row is logged.
            Err(error) => {
                if self.pause() {
                    log_not_stored(&error);
                }
            }
        }
    }

    /// Delays the next attempt. Returns true for the first failure in a row.
    fn pause(&mut self) -> bool {
        self.retry_at.replace(clock::monotonic() + RETRY_PAUSE).is_none()
    }

    fn note_recovery(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!(
                event = "audit.checkpoints_recovered",
                "checkpoints of the audit log are signed and stored again"
            );
        }
    }

    async fn signed(&mut self, head: Head) -> Option<Checkpoint> {
        let follows = self.checkpoint.as_ref().map(Checkpoint::link);
        match self.signer.sign(head, follows).await {
            Ok(checkpoint) => {
                self.note_recovery();
                Some(checkpoint)
            }
            Err(error) => {
                // The first failure in a row is logged.
                if self.pause() {
                    tracing::error!(
                        event = "audit.checkpoint_failed",
                        error = &error as &dyn std::error::Error,
                        "could not sign a checkpoint of the audit log; it will be retried"
                    );
                }
                None
            }
        }
    }

    /// Signs the old file to its end and continues in the file at the path.
    async fn rotate(&mut self, inner: &Inner) {
        let is_confirmed = self.is_confirmed(inner).await;
        let (paused, last) = oneshot::channel();
        let (sign, signed) = bounded(1);
        let (done, reopened) = oneshot::channel();
        let asked = inner.commands.try_send(Command::Reopen(Rotation { paused, signed, done }));
        if asked.is_err() {
            return log_reopen(&Err(AuditError::System(ErrorKind::WouldBlock.into())));
        }
        let mut checkpoint = None;
        if let Ok(head) = last.await {
            if is_confirmed {
                checkpoint = self.signed(head).await;
            }
            // The writer may have timed out.
            let _ = sign.send(checkpoint.as_ref().map(line::members));
        }
        let outcome =
            reopened.await.unwrap_or(Err(AuditError::System(ErrorKind::BrokenPipe.into())));
        log_reopen(&outcome);
        if let Ok(is_signed) = outcome {
            self.save_progress(inner, checkpoint.filter(|_| is_signed)).await;
        }
    }

    async fn close(&self, inner: &Inner) {
        let (done, closed) = oneshot::channel();
        let commands = inner.commands.clone();
        // The queue may be full, and blocking is acceptable at shutdown.
        let sent = tokio::task::spawn_blocking(move || {
            commands.send_timeout(Command::Close(done), TOKEN_TIMEOUT).is_ok()
        });
        let is_sent = sent.await.unwrap_or_default();
        if is_sent && let Ok(Ok(head)) = tokio::time::timeout(TOKEN_TIMEOUT, closed).await {
            let checkpoint = self.checkpoint.clone();
            let known = StoredHead { head, is_closed: true, is_opening: false, checkpoint };
            if let Err(error) = known.save(&self.store).await {
                log_not_stored(&error);
            }
        } else {
            tracing::error!(event = "audit.close_failed", "could not close the audit log in order");
        }
    }
}

fn log_not_stored(error: &AuditError) {
    tracing::error!(
        event = "audit.checkpoint_not_stored",
        error = error as &dyn std::error::Error,
        "could not store the last checkpoint of the audit log; no other is signed before"
    );
}

fn log_not_written(error: NotRecorded) {
    tracing::error!(
        event = "audit.checkpoint_not_written",
        %error,
        "could not write a checkpoint of the audit log"
    );
}

fn log_reopen(outcome: &Result<bool, AuditError>) {
    match outcome {
        Ok(_) => tracing::info!(event = "audit.reopened", "the audit file was reopened"),
        Err(error) => {
            tracing::error!(
                event = "audit.reopen_failed",
                error = error as &dyn std::error::Error,
                "could not reopen the audit file; records still go to the old file"
            );
        }
    }
}

/// The token key that signs checkpoints.
pub(super) struct Signer {
    token: Token,
    key: KeyVersionId,
}

impl Signer {
    /// Finds the key, or generates it if there was none. Its id is stored first, so that an
    /// interrupted attempt is repeated. Its public key is stored last: from then on the key must
    /// exist, because another key could not prove the same chain.
    async fn open(store: &Store, token: Token) -> Result<Self, AuditError> {
        let public = StoredHead::public_key(store).await?;
        let found = find_key(store, &token, &public).await?;
        let is_missing = || AuditError::KeyMissing(key_for_message(found));
        let key = match (found, &public) {
            (Some(key), _) => key,
            (None, MetadataValue::Absent) => KeyVersionId::random(),
            (None, _) => return Err(is_missing()),
        };
        let named = store.metadata(ServiceKey::CHECKPOINT_KEY).await;
        let is_named = matches!(named, Ok(Some(name)) if name == key.to_string());
        if !is_named {
            store.set_metadata(ServiceKey::CHECKPOINT_KEY, &key.to_string()).await?;
        }
        match public {
            MetadataValue::Read(public) => {
                if !can_sign(&token, key, &public).await? {
                    return Err(is_missing());
                }
            }
            MetadataValue::Absent => {
                let public = Self::make(&token, key, 1).await?;
                StoredHead::save_public_key(store, &public).await?;
            }
            // The token has the public key too, and it is the token that signs.
            MetadataValue::Damaged => {
                if !is_usable(&token, key, None).await? {
                    return Err(is_missing());
                }
                StoredHead::save_public_key(store, &public_half(&token, key).await?).await?;
            }
        }
        Ok(Self { token, key })
    }

    /// Generates a key with this id, unless it exists, and returns its public key.
    pub(super) async fn make(
        token: &Token,
        key: KeyVersionId,
        number: u32,
    ) -> Result<AuditKey, AuditError> {
        let pair = identity(key);
        let is_there = token.exists(pair, &budget()).await?;
        if !is_there {
            let name = ObjectName { number, ..pair.name };
            let generate = move |worker: &mut crate::token::Worker<'_>| {
                worker.generate(&name, KeySpec::EcP256, KeyUsage::SignVerify)
            };
            token.create(pair, &budget(), generate).await?;
        }
        public_half(token, key).await
    }

    async fn sign(
        &self,
        covers: Head,
        follows: Option<CheckpointLink>,
    ) -> Result<Checkpoint, AuditError> {
        let checkpoint = Checkpoint::unsigned(covers, clock::now(), follows, self.key);
        let signature = sign_text(&self.token, self.key, &checkpoint.text()).await?;
        Ok(checkpoint.signed(&signature))
    }
}

/// Generates the checkpoint key if there was none, as a start does.
///
/// # Errors
/// [`AuditError::KeyMissing`] when it existed and is no longer usable, and when token or store
/// fail.
pub async fn make_key(store: &Store, token: &Token) -> Result<(), AuditError> {
    Signer::open(store, token.clone()).await.map(drop)
}

/// Checks that the checkpoint key is complete on the token. It may not exist yet.
///
/// # Errors
/// [`AuditError::KeyMissing`] when it is not complete, and when token or store fail.
pub async fn check_key(store: &Store, token: &Token) -> Result<(), AuditError> {
    let public = StoredHead::public_key(store).await?;
    if public == MetadataValue::Absent {
        return Ok(());
    }
    let found = find_key(store, token, &public).await?;
    let is_usable = match found {
        Some(key) => is_usable(token, key, public.value().as_ref()).await?,
        None => false,
    };
    if is_usable { Ok(()) } else { Err(AuditError::KeyMissing(key_for_message(found))) }
}

/// Whether both objects of the key exist and the private key signs, with the public key in the store
/// or, if the store has lost it, with any.
pub(super) async fn is_usable(
    token: &Token,
    key: KeyVersionId,
    public: Option<&AuditKey>,
) -> Result<bool, AuditError> {
    let half = match public_half(token, key).await {
        Ok(half) => half,
        Err(AuditError::Damaged) => return Ok(false),
        Err(AuditError::Token(error)) if is_key_fault(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(public.is_none_or(|public| half == *public) && can_sign(token, key, &half).await?)
}

/// Whether the public key verifies signatures of the private key.
async fn can_sign(token: &Token, key: KeyVersionId, public: &AuditKey) -> Result<bool, AuditError> {
    let trial = Checkpoint::unsigned(Head::START, clock::now(), None, key);
    match sign_text(token, key, &trial.text()).await {
        Ok(signature) => Ok(public.has_signed(&trial.signed(&signature))),
        Err(error) if is_key_fault(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error means that the key is missing or incomplete, not that the token failed.
fn is_key_fault(error: &TokenError) -> bool {
    matches!(error, TokenError::Duplicate)
        || matches!(error.class(), ErrorClass::BadInput | ErrorClass::HandleGone)
}

/// Signs the SHA-256 of a text with the key.
pub(super) async fn sign_text(
    token: &Token,
    key: KeyVersionId,
    text: &str,
) -> Result<Vec<u8>, TokenError> {
    let digest = digest(&SHA256, text.as_bytes());
    let (key, digest) = (identity(key), Arc::<[u8]>::from(digest.as_ref()));
    let sign = move |worker: &mut crate::token::Worker<'_>| {
        worker.sign(key, SignAlgorithm::EcdsaSha256, &digest)
    };
    token.run_with(key, &budget(), sign).await
}

async fn public_half(token: &Token, key: KeyVersionId) -> Result<AuditKey, AuditError> {
    let key = identity(key);
    let public = token.run_with(key, &budget(), move |worker| worker.public_key(key)).await?;
    let PublicKey::Ec { point, .. } = public else { return Err(AuditError::Damaged) };
    AuditKey::from_point(&point).map_err(|_form| AuditError::Damaged)
}

/// Destroys the remaining objects of a key.
pub(super) async fn destroy(token: &Token, key: KeyVersionId) -> Result<(), AuditError> {
    let key = identity(key);
    Ok(token.destroy_incomplete(key, &budget()).await?)
}

const fn identity(key: KeyVersionId) -> KeyIdentity {
    KeyIdentity::of_service(ServiceKey::AuditCheckpoint, key)
}

fn budget() -> Budget {
    Budget::new(TOKEN_TIMEOUT)
}

pub(super) fn key_for_message(key: Option<KeyVersionId>) -> String {
    key.map_or_else(|| "(the database does not name it)".to_owned(), |key| key.to_string())
}

/// Finds the signing key: the one named in the store, or else one on the token with the label of
/// such a key (if several, the one with the public key in the store). Changes nothing.
pub(super) async fn find_key(
    store: &Store,
    token: &Token,
    public: &MetadataValue<AuditKey>,
) -> Result<Option<KeyVersionId>, AuditError> {
    let named = store.read_metadata(ServiceKey::CHECKPOINT_KEY, |text| text.parse().ok()).await?;
    if let MetadataValue::Read(name) = named {
        return Ok(Some(name));
    }
    if *public == MetadataValue::Absent {
        // No key was generated yet.
        return Ok(None);
    }
    let is_ours =
        |name: &ObjectName| name.owner == ObjectOwner::Service(ServiceKey::AuditCheckpoint);
    let named: Vec<_> = token.list().await?.into_iter().filter(is_ours).collect();
    match (&*named, public) {
        ([only], _) => return Ok(Some(only.version)),
        (_, MetadataValue::Read(public)) => {
            for name in &named {
                if is_usable(token, name.version, Some(public)).await? {
                    return Ok(Some(name.version));
                }
            }
        }
        _ => {}
    }
    Ok(None)
}
