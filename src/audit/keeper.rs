//! What runs beside the requests: signed checkpoints, rotation, and an orderly end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::checkpoint::{AuditKey, Checkpoint};
use super::export::Known;
use super::line::{self, Kind};
use super::recorder::{Inner, Recorder};
use super::sink::{self, Command};
use super::sums::Sums;
use super::{AuditError, AuditSettings};
use crate::model::{KeySpec, KeyUsage, KeyVersionId, Place, Time};
use crate::store::Store;
use crate::token::{Budget, KeyIdentity, PublicKey, ServiceKey, SignAlgorithm, Token};

/// How soon after one that failed a checkpoint is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often refusals that are only counted are recorded.
const SUM_INTERVAL: Duration = Duration::from_mins(1);

/// The fact of the store that names the token key which signs checkpoints.
pub const KEY_FACT: &str = "audit-checkpoint-key";
/// Time for one round trip to the token.
const TOKEN_TIME: Duration = Duration::from_secs(30);

/// A running audit.
#[derive(Debug)]
pub struct Audit {
    recorder: Recorder,
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Audit {
    /// Finds or makes the key of the checkpoints, opens the file, and begins it. From here on
    /// SIGHUP means that the file was rotated.
    ///
    /// # Errors
    /// When the file, the token or the store cannot be used.
    pub async fn start(
        settings: AuditSettings,
        place: Place,
        store: Store,
        token: Token,
    ) -> Result<Self, AuditError> {
        let hangup = signal(SignalKind::hangup()).map_err(AuditError::System)?;
        let signer = Signer::open(&store, token).await?;
        let known = Known::load(&store).await?;
        let (deadline, required) = (settings.deadline, settings.required);
        let interval = settings.checkpoint_interval;
        let started = tokio::task::spawn_blocking(move || sink::start(&settings, known)).await;
        let (commands, gauge) = started.map_err(|error| AuditError::System(error.into()))??;
        let recorder = Recorder::new(Inner {
            commands,
            gauge,
            deadline,
            required,
            place,
            sums: Sums::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let keeper =
            Keeper { recorder: recorder.clone(), signer, store, checkpoint: None, retry_at: None };
        let keeper = tokio::spawn(keeper.run(interval, hangup, stopped));
        Ok(Self { recorder, stop, keeper })
    }

    /// Takes the records.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Signs and ends the file. Call it when no request is under way any more.
    pub async fn stop(self) {
        // The keeper is there until it is told to stop.
        let _ = self.stop.send(());
        if let Err(error) = self.keeper.await {
            tracing::error!(%error, "the audit has not ended in order");
        }
    }
}

struct Keeper {
    recorder: Recorder,
    signer: Signer,
    store: Store,
    checkpoint: Option<Checkpoint>,
    /// After a checkpoint that could not be signed: when the next is due.
    retry_at: Option<Instant>,
}

impl Keeper {
    async fn run(
        mut self,
        interval: Duration,
        mut hangup: Signal,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let recorder = self.recorder.clone();
        let Some(inner) = recorder.inner() else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut minutes = tokio::time::interval(SUM_INTERVAL);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.checkpoint(inner).await,
                _ = minutes.tick() => recorder.record_sums().await,
                // Every further record says that one is due.
                () = inner.gauge.due.notified() => {
                    if self.retry_at.is_none_or(|at| at <= Instant::now()) {
                        self.checkpoint(inner).await;
                    }
                }
                _ = hangup.recv() => {
                    self.checkpoint(inner).await;
                    reopen(inner).await;
                }
                _ = &mut stopped => break,
            }
        }
        recorder.record_sums().await;
        self.checkpoint(inner).await;
        self.close(inner).await;
    }

    /// Signs what is on disk, if there is anything new but the last checkpoint itself.
    async fn checkpoint(&mut self, inner: &Inner) {
        let head = inner.gauge.head();
        let signed = self.checkpoint.as_ref().map_or(0, |last| last.covers.sequence);
        if head.sequence <= signed.saturating_add(1) {
            return;
        }
        let checkpoint = match self.signer.sign(head).await {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                // Of failures in a row the first is told.
                if self.retry_at.replace(Instant::now() + RETRY_PAUSE).is_none() {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "no checkpoint of the audit can be signed");
                }
                return;
            }
        };
        if self.retry_at.take().is_some() {
            tracing::info!("checkpoints of the audit are signed again");
        }
        let members = line::members(&checkpoint);
        if let Err(error) = inner.write(Kind::Checkpoint, members, false).await {
            tracing::error!(%error, "a checkpoint of the audit is not on disk");
            return;
        }
        self.checkpoint = Some(checkpoint);
        self.remember(Known { head, is_closed: false, checkpoint: self.checkpoint.clone() }).await;
    }

    async fn close(&self, inner: &Inner) {
        let (done, closed) = oneshot::channel();
        let commands = inner.commands.clone();
        // The queue may be full, and this is the end: it may wait.
        let sent = tokio::task::spawn_blocking(move || {
            commands.send_timeout(Command::Close(done), TOKEN_TIME).is_ok()
        });
        if !sent.await.unwrap_or_default() {
            tracing::error!("the audit has not ended in order");
            return;
        }
        if let Ok(Ok(head)) = tokio::time::timeout(TOKEN_TIME, closed).await {
            let checkpoint = self.checkpoint.clone();
            self.remember(Known { head, is_closed: true, checkpoint }).await;
        } else {
            tracing::error!("the audit has not ended in order");
        }
    }

    async fn remember(&self, known: Known) {
        if let Err(error) = known.save(&self.store).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "the store does not know of the audit's last checkpoint");
        }
    }
}

async fn reopen(inner: &Inner) {
    let (done, reopened) = oneshot::channel();
    let outcome = match inner.commands.try_send(Command::Reopen(done)) {
        Ok(()) => reopened.await.unwrap_or(Err(AuditError::System(ended()))),
        Err(_full) => Err(AuditError::System(std::io::ErrorKind::WouldBlock.into())),
    };
    match outcome {
        Ok(()) => tracing::info!("the audit file is opened anew"),
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "the audit goes on in the old file");
        }
    }
}

fn ended() -> std::io::Error {
    std::io::ErrorKind::BrokenPipe.into()
}

/// The token key that signs checkpoints.
struct Signer {
    token: Token,
    key: KeyIdentity,
}

impl Signer {
    /// Finds the key, or makes it at the very first start. Its name is stored first, so that a
    /// start which dies in between is repeated. Its public half is stored last: from then on the
    /// key has to be there, because another one could not vouch for the same chain.
    async fn open(store: &Store, token: Token) -> Result<Self, AuditError> {
        let key = KeyIdentity::of_service(ServiceKey::AuditCheckpoint, key_name(store).await?);
        let is_there = token.change(&budget(), move |worker| worker.exists(key)).await?;
        if !is_there {
            if Known::public_key(store).await?.is_some() {
                return Err(AuditError::KeyMissing(key.id().to_string()));
            }
            let generate = move |worker: &mut crate::token::Worker<'_>| {
                worker.generate(&key.name, KeySpec::EcP256, KeyUsage::SignVerify)
            };
            token.change(&budget(), generate).await?;
        }
        let public = token.run_with(key, &budget(), move |worker| worker.public_key(key)).await?;
        let PublicKey::Ec { point, .. } = public else { return Err(AuditError::Damaged) };
        let public = AuditKey::from_point(&point).map_err(|_form| AuditError::Damaged)?;
        match Known::public_key(store).await? {
            Some(stored) if stored == public => {}
            Some(_other) => return Err(AuditError::KeyMissing(key.id().to_string())),
            None => Known::save_public_key(store, &public).await?,
        }
        Ok(Self { token, key })
    }

    async fn sign(&self, covers: super::Head) -> Result<Checkpoint, AuditError> {
        let (key, time) = (self.key, Time::now());
        let digest = Arc::<[u8]>::from(Checkpoint::digest(covers, time, key.id()));
        let sign = move |worker: &mut crate::token::Worker<'_>| {
            worker.sign(key, SignAlgorithm::EcdsaSha256, &digest)
        };
        let signature = self.token.run_with(key, &budget(), sign).await?;
        Ok(Checkpoint::new(covers, time, key.id(), &signature))
    }
}

fn budget() -> Budget {
    Budget::new(TOKEN_TIME)
}

async fn key_name(store: &Store) -> Result<KeyVersionId, AuditError> {
    if let Some(text) = store.fact(KEY_FACT).await? {
        return text.parse().map_err(|_form| AuditError::Damaged);
    }
    let name = KeyVersionId::random();
    store.set_fact(KEY_FACT, &name.to_string()).await?;
    Ok(name)
}
