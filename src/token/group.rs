//! The tokens that hold the same keys: which of them runs a job.
//!
//! A job runs at a token that is ready, is not known to lack the key, and has the fewest jobs. One that
//! was not started there runs at another. A key is used in a token only after it has given its known answer,
//! or, if none is known, the one that it gives in the others; a token that disagrees is left out until an
//! operator removes a file.
//!
//! A single token is a group of one. Its keys are compared with their known answers alone, by the threads
//! that use them; one that gives another answer is not used.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::budget::Budget;
use super::completion::Completion;
use super::error::{ErrorClass, TokenError, UnavailableReason};
use super::known_answers::{KnownAnswers, is_of_version};
use super::member::Member;
use super::metrics::TokenMetrics;
use super::objects::destroy::Unlabelled;
use super::objects::name::{KeyIdentity, ObjectName};
use super::pool::FailedJob;
use super::settings::{TokenGroupSettings, TokenSettings};
use super::state_file;
use super::worker::Worker;
use crate::model::{KeyAnswer, clock};
use crate::telemetry::Gauge;

/// The pause before a token that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How long a start waits for the other tokens once one is open.
const OPENING: Duration = Duration::from_secs(10);
/// The time of a search for a key, or of a comparison of it.
const COMPARISON: Duration = Duration::from_secs(5);
/// How long a token that lacks a key is not asked for it.
const ABSENT: Duration = Duration::from_secs(5);
/// How long a key that was destroyed is looked for: a late copy by the vendor's replication brings it back.
const LATE_COPIES: Duration = Duration::from_hours(1);
/// The first pause between two such searches. Each is twice as long as the one before.
const LATE_COPY_PAUSE: Duration = Duration::from_secs(5);
/// The maximum number of keys that are looked for.
const MAX_DESTROYED: usize = 10_000;
/// The maximum number of keys that a token lacks and that are logged.
const MAX_REPORTED: usize = 1_000;
/// The pauses between two looks for a new key in another token: the first, and the longest.
const REPLICATION_PAUSES: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(500));

/// All tokens.
pub(super) struct Group {
    slots: Vec<Arc<Slot>>,
    pub(super) metrics: TokenMetrics,
    replication: Duration,
    /// What each key answers, by the first token that was asked, if that is not known otherwise. Empty for a
    /// single token.
    answers: Mutex<HashMap<KeyIdentity, KeyAnswer>>,
    /// The keys that were destroyed in all tokens not long ago.
    destroyed: Mutex<HashMap<KeyIdentity, Destroyed>>,
    /// Where the next choice among tokens with equally many jobs begins.
    turn: AtomicUsize,
    shared: Arc<Shared>,
}

/// What the threads that open tokens share with the group.
struct Shared {
    reconnects: Arc<watch::Sender<()>>,
    identity_key: OnceLock<KeyIdentity>,
    known_answers: OnceLock<Arc<dyn KnownAnswers>>,
    is_closed: Mutex<bool>,
    closed: Condvar,
}

/// The place of a token, which may not be open yet.
struct Slot {
    name: Option<Arc<str>>,
    is_required: bool,
    member: OnceLock<Member>,
    /// Whether its keys are not those of the others.
    disagrees: AtomicBool,
    /// The file that says so after a restart.
    disagreement: Option<PathBuf>,
    /// The jobs that it has.
    jobs: AtomicUsize,
    /// The keys that it lacks, and until when this is believed.
    absent: RwLock<HashMap<KeyIdentity, Instant>>,
    /// Those of them that were logged.
    reported: Mutex<HashSet<KeyIdentity>>,
    /// The keys whose id belonged to another key, and since when.
    mismatched: Mutex<HashMap<KeyIdentity, Instant>>,
    /// Whether a thread is in its module to open it.
    is_opening: AtomicBool,
}

/// A key that was destroyed in all tokens.
#[derive(Debug, Clone, Copy)]
struct Destroyed {
    since: Instant,
    /// When it is looked for next.
    next: Instant,
    pause: Duration,
}

/// Counts a job of a token.
struct CountedJob<'a>(&'a AtomicUsize);

impl<'a> CountedJob<'a> {
    fn new(jobs: &'a AtomicUsize) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs)
    }
}

impl Drop for CountedJob<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    fn new(settings: &TokenSettings) -> Self {
        Self {
            name: settings.name.clone(),
            is_required: settings.is_required,
            member: OnceLock::new(),
            disagrees: AtomicBool::new(disagreed(settings)),
            disagreement: settings.disagreement.clone(),
            jobs: AtomicUsize::new(0),
            absent: RwLock::default(),
            reported: Mutex::default(),
            mismatched: Mutex::default(),
            is_opening: AtomicBool::new(false),
        }
    }

    /// The token, if it accepts calls now.
    fn ready(&self) -> Result<&Member, TokenError> {
        let unavailable = |reason| Err(TokenError::Unavailable(reason));
        let Some(member) = self.member.get() else {
            return unavailable(UnavailableReason::NotOpened);
        };
        if self.disagrees.load(Ordering::Relaxed) {
            return unavailable(UnavailableReason::Disagrees);
        }
        member.ready().map(|()| member)
    }

    fn lacks(&self, key: KeyIdentity) -> bool {
        let absent = self.absent.read();
        absent.get(&key).is_some_and(|until| clock::monotonic() < *until)
    }

    /// Notes that the token lacks a key. It is not asked for it for a while.
    fn note_absent(&self, key: KeyIdentity) {
        let now = clock::monotonic();
        let mut absent = self.absent.write();
        absent.retain(|_key, until| *until > now);
        absent.insert(key, now + ABSENT);
    }

    /// As `note_absent`, with a line in the log: a job needs the key.
    fn report_absent(&self, key: KeyIdentity) {
        self.note_absent(key);
        let mut reported = self.reported.lock();
        if reported.len() < MAX_REPORTED && reported.insert(key) {
            tracing::warn!(
                event = "token.key_absent",
                token = self.name.as_deref(),
                key = %key.name,
                "a token of the group does not have a key of the others; it is not asked for it"
            );
        }
    }

    /// Notes that the token has the key of the others.
    fn note_compared(&self, key: KeyIdentity) {
        self.absent.write().remove(&key);
        self.reported.lock().remove(&key);
        self.mismatched.lock().remove(&key);
    }

    fn refuse(&self, key: KeyIdentity) {
        if self.disagrees.swap(true, Ordering::Relaxed) {
            return;
        }
        let file = self.disagreement.as_deref();
        // A restart must not make this token the one that decides.
        let written = file.map_or(Ok(()), |file| write_disagreement(file, key));
        tracing::error!(
            event = "token.disagrees",
            token = self.name.as_deref(),
            key = %key.name,
            file = file.map(|file| tracing::field::display(file.display())),
            error = written.err().map(tracing::field::display),
            "a token of the group has another key under the id of one than the database or the others know; \
             the token is not used until this file is removed and the gateway is started again"
        );
    }

    /// Notes that the id of a key belongs to another key. It may be a copy that is not complete; if it
    /// stays so, the token disagrees.
    fn note_mismatch(&self, key: KeyIdentity, longest: Duration) {
        self.note_absent(key);
        let now = clock::monotonic();
        let mut mismatched = self.mismatched.lock();
        let first = *mismatched.entry(key).or_insert(now);
        drop(mismatched);
        if now.saturating_duration_since(first) >= longest {
            self.refuse(key);
        }
    }

    /// Opens the token, and tries again until it is open, its PIN was refused, or the group is closed.
    fn open(
        &self,
        settings: &TokenSettings,
        metrics: &TokenMetrics,
        shared: &Shared,
        first: &Sender<Result<(), TokenError>>,
    ) {
        let mut last_reason = String::new();
        loop {
            self.is_opening.store(true, Ordering::SeqCst);
            let is_closed = *shared.is_closed.lock();
            if is_closed {
                return self.is_opening.store(false, Ordering::SeqCst);
            }
            let reconnects = Arc::clone(&shared.reconnects);
            let error = match Member::open(settings.clone(), metrics.clone(), reconnects) {
                Ok(member) => {
                    let _is_first = self.member.set(member);
                    // It may have been set meanwhile.
                    if let (Some(key), Some(member)) =
                        (shared.identity_key.get(), self.member.get())
                    {
                        member.state.set_identity_key(*key);
                    }
                    if let (Some(answers), Some(member)) =
                        (shared.known_answers.get(), self.member.get())
                    {
                        member.state.set_known_answers(Arc::clone(answers));
                    }
                    self.is_opening.store(false, Ordering::SeqCst);
                    // The start may not wait any more.
                    let _ = first.send(Ok(()));
                    shared.reconnects.send_replace(());
                    return;
                }
                Err(error) => error,
            };
            self.is_opening.store(false, Ordering::SeqCst);
            let is_final = error.class() == ErrorClass::Pin;
            let reason = error.to_string();
            if reason != last_reason {
                tracing::error!(
                    event = "token.not_opened",
                    token = self.name.as_deref(),
                    %error,
                    "a token of the group cannot be opened"
                );
                last_reason = reason;
            }
            let _ = first.send(Err(error));
            let mut is_closed = shared.is_closed.lock();
            if !*is_closed && !is_final {
                shared.closed.wait_for(&mut is_closed, OPEN_AGAIN);
            }
            if *is_closed || is_final {
                return;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.close();
    }
}

impl Group {
    /// Opens the tokens: a single one, or at least one of several. Blocking.
    pub(super) fn open(
        settings: TokenGroupSettings,
        metrics: TokenMetrics,
    ) -> Result<Self, TokenError> {
        let TokenGroupSettings { mut first, others, replication } = settings;
        if others.is_empty() {
            // Its keys are compared with no other.
            first.name = None;
        }
        let shared = Arc::new(Shared {
            reconnects: Arc::default(),
            identity_key: OnceLock::new(),
            known_answers: OnceLock::new(),
            is_closed: Mutex::new(false),
            closed: Condvar::new(),
        });
        let all: Vec<_> = std::iter::once(first).chain(others).collect();
        let group = Self {
            slots: all.iter().map(Slot::new).map(Arc::new).collect(),
            metrics,
            replication,
            answers: Mutex::default(),
            destroyed: Mutex::default(),
            turn: AtomicUsize::new(0),
            shared,
        };
        match <[TokenSettings; 1]>::try_from(all) {
            Ok([only]) => group.open_only(only)?,
            Err(several) => group.open_several(several)?,
        }
        Ok(group)
    }

    fn open_only(&self, settings: TokenSettings) -> Result<(), TokenError> {
        let reconnects = Arc::clone(&self.shared.reconnects);
        let member = Member::open(settings, self.metrics.clone(), reconnects)?;
        if let [only] = &*self.slots {
            let _is_first = only.member.set(member);
        }
        Ok(())
    }

    /// Opens each token in a thread of its own: one that is away may block its module for minutes.
    fn open_several(&self, all: Vec<TokenSettings>) -> Result<(), TokenError> {
        let (sender, outcomes) = mpsc::channel();
        for (slot, settings) in self.slots.iter().zip(all) {
            let (slot, shared) = (Arc::clone(slot), Arc::clone(&self.shared));
            let (mut metrics, sender) = (self.metrics.clone(), sender.clone());
            if slot.name != self.slots.first().and_then(|first| first.name.clone()) {
                // The gauge shows the objects of the first.
                metrics.objects = Gauge::default();
            }
            let thread = thread::Builder::new().name("token-opening".to_owned());
            thread
                .spawn(move || slot.open(&settings, &metrics, &shared, &sender))
                .map_err(TokenError::Thread)?;
        }
        drop(sender);
        let (mut end, mut failure) = (None::<Instant>, None);
        for _slot in &self.slots {
            let outcome = match end {
                None => outcomes.recv().ok(),
                Some(end) => {
                    let left = end.saturating_duration_since(clock::monotonic());
                    outcomes.recv_timeout(left).ok()
                }
            };
            match outcome {
                Some(Ok(())) => end = end.or_else(|| clock::monotonic().checked_add(OPENING)),
                Some(Err(error)) => failure = failure.or(Some(error)),
                None => break,
            }
        }
        match (self.opened().next(), failure) {
            (None, Some(error)) => Err(error),
            (None, None) => Err(TokenError::Unavailable(UnavailableReason::NotOpened)),
            (Some(_), _) => Ok(()),
        }
    }

    /// Closes all tokens. False if a module blocks a thread.
    pub(super) fn close(&self) -> bool {
        *self.shared.is_closed.lock() = true;
        self.shared.closed.notify_all();
        // Each is closed, whatever the others.
        let left_open = self.opened().filter(|member| !member.close()).count();
        let is_opening = self.slots.iter().any(|slot| slot.is_opening.load(Ordering::SeqCst));
        left_open == 0 && !is_opening
    }

    pub(super) fn is_group(&self) -> bool {
        self.slots.len() > 1
    }

    /// The open tokens, in their order.
    pub(super) fn opened(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().filter_map(|slot| slot.member.get())
    }

    /// The first open token.
    #[expect(clippy::expect_used, reason = "a group exists only with an open token")]
    pub(super) fn first(&self) -> &Member {
        self.opened().next().expect("a token is open")
    }

    /// The first token that accepts calls.
    pub(super) fn first_ready(&self) -> Result<&Member, TokenError> {
        Ok(self.first_ready_slot()?.1)
    }

    /// A required token before the others: it is to have every key.
    fn first_ready_slot(&self) -> Result<(usize, &Member), TokenError> {
        let mut failure = None;
        let slots = || self.slots.iter().enumerate();
        let required = slots().filter(|(_index, slot)| slot.is_required);
        let others = slots().filter(|(_index, slot)| !slot.is_required);
        for (index, slot) in required.chain(others) {
            match slot.ready() {
                Ok(member) => return Ok((index, member)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or(TokenError::Unavailable(UnavailableReason::NotOpened)))
    }

    pub(super) fn ready(&self) -> Result<(), TokenError> {
        self.first_ready().map(drop)
    }

    /// The names of the tokens that a new process may be able to use, and this one cannot.
    pub(super) fn lost_names(&self) -> Vec<String> {
        let lost = self
            .slots
            .iter()
            .filter(|slot| !slot.disagrees.load(Ordering::Relaxed) && slot.ready().is_err());
        lost.filter_map(|slot| slot.name.as_deref().map(str::to_owned)).collect()
    }

    /// The names of the tokens that are not used now, each with the reason.
    pub(super) fn left_out(&self) -> Vec<(String, TokenError)> {
        let named = self.slots.iter().filter_map(|slot| Some((slot.name.as_deref()?, slot)));
        named.filter_map(|(name, slot)| Some((name.to_owned(), slot.ready().err()?))).collect()
    }

    /// The largest value of the open tokens, if none is ready.
    pub(super) fn of_unready<T: Ord>(&self, value: impl Fn(&Member) -> Option<T>) -> Option<T> {
        if self.ready().is_ok() {
            return None;
        }
        self.opened().filter_map(value).max()
    }

    pub(super) fn set_identity_key(&self, key: KeyIdentity) {
        let _is_first = self.shared.identity_key.set(key);
        for member in self.opened() {
            member.state.set_identity_key(key);
        }
    }

    pub(super) fn set_known_answers(&self, answers: &Arc<dyn KnownAnswers>) {
        let _is_first = self.shared.known_answers.set(Arc::clone(answers));
        for member in self.opened() {
            member.state.set_known_answers(Arc::clone(answers));
        }
    }

    /// Compares a key again before its next use.
    pub(super) fn compare_again(&self, key: KeyIdentity) {
        self.answers.lock().remove(&key);
        for member in self.opened() {
            member.state.keys.forget_comparison(key);
        }
    }

    pub(super) fn reconnects(&self) -> watch::Receiver<()> {
        self.shared.reconnects.subscribe()
    }

    pub(super) fn check_calls(&self) -> Duration {
        let now = clock::monotonic();
        let ages = self.opened().map(|member| member.pool.outcomes().look(now));
        ages.min().unwrap_or_default()
    }

    /// Sets the metrics of each token of several.
    pub(super) fn observe_members(&self) {
        for slot in &self.slots {
            if let Some(name) = &slot.name {
                let jobs = slot.jobs.load(Ordering::Relaxed);
                self.metrics.observe_member(name, slot.ready().is_ok(), jobs);
            }
        }
    }

    /// The next token for a job: of those that are ready and not in `tried`, the one with the fewest
    /// jobs. The error of one that is not ready is noted in `away`.
    fn choose(
        &self,
        key: Option<KeyIdentity>,
        tried: &[usize],
        away: &mut Option<TokenError>,
    ) -> Option<(usize, &Slot, &Member)> {
        let count = self.slots.len();
        let start = if count > 1 { self.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let in_turn = (0..count).map(|step| start.wrapping_add(step) % count);
        let usable = in_turn.filter(|index| !tried.contains(index)).filter_map(|index| {
            let slot = self.slots.get(index)?;
            let member = slot.ready().map_err(|error| *away = Some(error)).ok()?;
            let is_asked = count == 1 || key.is_none_or(|key| !slot.lacks(key));
            is_asked.then_some((index, &**slot, member))
        });
        usable.min_by_key(|(_index, slot, _member)| slot.jobs.load(Ordering::Relaxed))
    }

    /// Why no token has run a job. If a token that was not tried may have the key, the key does not count
    /// as missing.
    fn failure(last: Option<TokenError>, away: Option<TokenError>) -> TokenError {
        match (last, away) {
            (Some(error), None) => error,
            (Some(error), Some(_)) if !error.is_key_fault() => error,
            (_, Some(away)) => away,
            (None, None) => TokenError::NotFound,
        }
    }

    pub(super) async fn run<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        let (mut job, mut tried, mut last, mut away) = (job, Vec::new(), None, None);
        while let Some((index, slot, member)) = self.choose(None, &tried, &mut away) {
            let _counted = CountedJob::new(&slot.jobs);
            let failed = match member.run(budget, job).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            job = match self.another_try(failed, &mut last) {
                Ok(job) => job,
                Err(error) => return Err(error),
            };
            tried.push(index);
        }
        Err(Self::failure(last, away))
    }

    /// The job, if another token may run it.
    fn another_try<F>(
        &self,
        failed: FailedJob<F>,
        last: &mut Option<TokenError>,
    ) -> Result<F, TokenError> {
        match failed.job {
            Some(job) if self.is_group() => {
                // That a token lacks the key says less than why another one did not run the job.
                if last.as_ref().is_none_or(TokenError::is_key_fault) {
                    *last = Some(failed.error);
                }
                Ok(job)
            }
            // The key was there before the job: another token may still have it, and is asked next.
            None if self.is_group() && failed.error.is_not_found() => Err(TokenError::NotCompared),
            _ => Err(failed.error),
        }
    }

    pub(super) async fn run_known<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<(T, Option<Completion>), TokenError> + Send + 'static,
    {
        let (mut job, mut tried, mut last, mut away) = (job, Vec::new(), None, None);
        while let Some((index, slot, member)) = self.choose(Some(key), &tried, &mut away) {
            let _counted = CountedJob::new(&slot.jobs);
            let failed = match member.run_known(key, budget, job).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(same)) => match Box::pin(self.find(index, key, budget)).await {
                    Ok(()) => match member.run_found(budget, same).await {
                        Ok(value) => return Ok(value),
                        Err(failed) => failed,
                    },
                    Err(TokenError::Deadline) => return Err(TokenError::Deadline),
                    Err(error) => {
                        if self.is_group() {
                            self.note_failed_search(slot, key, &error);
                        }
                        FailedJob::before_start(error, same)
                    }
                },
                Err(failed) => failed,
            };
            job = match self.another_try(failed, &mut last) {
                Ok(job) => job,
                Err(error) => return Err(error),
            };
            tried.push(index);
        }
        Err(Self::failure(last, away))
    }

    /// Notes that a token lacks a key, or has another one under its id.
    fn note_failed_search(&self, slot: &Slot, key: KeyIdentity, error: &TokenError) {
        match error {
            TokenError::NotFound => slot.report_absent(key),
            // The other key may be in the token that was asked first.
            TokenError::KeyMismatch { .. } if self.known_answer(key).is_some() => {
                slot.note_mismatch(key, self.replication);
            }
            _ => {}
        }
    }

    /// Finds a key in a token; of several tokens, also compares it with that of the others.
    async fn find(
        &self,
        index: usize,
        key: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), TokenError> {
        if self.is_group() {
            return self.compare(index, key, budget).await;
        }
        let find = move |worker: &mut Worker<'_>| worker.look_up(key);
        self.first().change(budget, find).await.map_err(|failed| failed.error)
    }

    /// The answer of a key that is known outside the tokens.
    fn known_answer_outside(&self, key: KeyIdentity) -> Option<KeyAnswer> {
        let known = self.shared.known_answers.get().filter(|_known| is_of_version(key));
        known?.answer(key.id())
    }

    /// The answer of a key, if it is known: outside the tokens, or by the first token that was asked.
    fn known_answer(&self, key: KeyIdentity) -> Option<KeyAnswer> {
        self.known_answer_outside(key).or_else(|| self.answers.lock().get(&key).cloned())
    }

    /// Compares a key of one token with its known answer, or with that of the first token that has the key. A
    /// token that disagrees is left out.
    async fn compare(
        &self,
        index: usize,
        key: KeyIdentity,
        budget: &Budget,
    ) -> Result<(), TokenError> {
        if let Some(known) = self.known_answer_outside(key) {
            match self.compare_with(index, key, known, budget).await {
                // If no token has the mechanism any more, they are compared with each other.
                Err(TokenError::Unsupported(_)) => {}
                compared => return compared,
            }
        }
        let known = self.answers.lock().get(&key).cloned();
        let known = match known {
            Some(known) => known,
            None => self.ask(index, key, budget).await?,
        };
        self.compare_with(index, key, known, budget).await
    }

    async fn compare_with(
        &self,
        index: usize,
        key: KeyIdentity,
        known: KeyAnswer,
        budget: &Budget,
    ) -> Result<(), TokenError> {
        let Some(slot) = self.slots.get(index) else { return Err(TokenError::NotFound) };
        let gives = move |worker: &mut Worker<'_>| worker.gives_answer(key, &known);
        match slot.ready()?.change(budget, gives).await.map_err(|failed| failed.error) {
            Ok(true) => {
                slot.note_compared(key);
                Ok(())
            }
            Ok(false) => {
                slot.refuse(key);
                Err(TokenError::Unavailable(UnavailableReason::Disagrees))
            }
            Err(error) => Err(error),
        }
    }

    /// The answer of a key in the first token that has it: of the tokens up to this one, the others
    /// must agree with it.
    async fn ask(
        &self,
        index: usize,
        key: KeyIdentity,
        budget: &Budget,
    ) -> Result<KeyAnswer, TokenError> {
        let mut is_missing = None;
        for slot in self.slots.iter().take(index.saturating_add(1)) {
            let Ok(member) = slot.ready() else { continue };
            let answer = move |worker: &mut Worker<'_>| worker.answer_of(key);
            match member.change(budget, answer).await.map_err(|failed| failed.error) {
                Ok(answer) => {
                    let answer = self.answers.lock().entry(key).or_insert(answer).clone();
                    let known = self.shared.known_answers.get();
                    if let Some(known) = known.filter(|_known| is_of_version(key)) {
                        known.learn(key.id(), answer.clone());
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_not_found() => {
                    slot.note_absent(key);
                    is_missing = Some(error);
                }
                // It may have the key, and then it decides.
                Err(error) => return Err(error),
            }
        }
        Err(is_missing.unwrap_or(TokenError::NotFound))
    }

    pub(super) async fn change<T, F>(&self, budget: &Budget, job: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        let member = self.first_ready()?;
        Box::pin(member.change(budget, job)).await.map_err(|failed| failed.error)
    }

    /// The required tokens, if all are ready.
    fn required(&self) -> Result<impl Iterator<Item = (usize, &Slot)>, TokenError> {
        let required = || self.slots.iter().enumerate().filter(|(_index, slot)| slot.is_required);
        if required().any(|(_index, slot)| slot.ready().is_err()) {
            return Err(TokenError::Unavailable(UnavailableReason::RequiredAway));
        }
        Ok(required().map(|(index, slot)| (index, &**slot)))
    }

    pub(super) async fn create<T, F>(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        job: F,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
    {
        if !self.is_group() {
            let create = move |worker: &mut Worker<'_>| {
                let value = job(worker)?;
                // Otherwise it is compared at its first use.
                let _ = worker.learn_answer(key);
                Ok(value)
            };
            return self.change(budget, create).await;
        }
        self.required().map(drop)?;
        // Its material may be imported again.
        self.destroyed.lock().remove(&key);
        let (index, member) = self.first_ready_slot()?;
        let value = Box::pin(member.change(budget, job)).await.map_err(|failed| failed.error)?;
        let mut copied = self.compare(index, key, &Budget::new(COMPARISON)).await;
        if copied.is_ok() {
            copied = self.wait_for_copies(index, key).await;
        }
        if let Err(error) = copied {
            // What remains is removed with the version, by a job.
            let _ = self.destroy_in_each(key, &Budget::new(COMPARISON), Unlabelled::Destroy).await;
            return Err(error);
        }
        Ok(value)
    }

    /// Waits until every required token shows a new key of one of them.
    async fn wait_for_copies(&self, index: usize, key: KeyIdentity) -> Result<(), TokenError> {
        let budget = Budget::new(self.replication);
        for (other, _slot) in self.required()?.filter(|(other, _slot)| *other != index) {
            let (mut pause, longest) = REPLICATION_PAUSES;
            loop {
                let is_late = clock::monotonic() >= budget.deadline();
                match self.compare(other, key, &budget).await {
                    Ok(()) => break,
                    Err(error) if !is_of_copy(&error) => return Err(error),
                    Err(_) if is_late => {
                        return Err(TokenError::Unavailable(UnavailableReason::NotReplicated));
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
        Ok(())
    }

    pub(super) async fn destroy(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        unlabelled: Unlabelled,
    ) -> Result<(), TokenError> {
        if !self.is_group() {
            let destroy = move |worker: &mut Worker<'_>| worker.destroy_with(key, unlabelled);
            return self.change(budget, destroy).await;
        }
        self.required().map(drop)?;
        self.destroy_in_each(key, budget, unlabelled).await?;
        // A token may have copied the key from one that had not destroyed it yet.
        for (_index, slot) in self.required()? {
            let exists = move |worker: &mut Worker<'_>| worker.exists(key);
            if slot.ready()?.change(budget, exists).await.map_err(|failed| failed.error)? {
                return Err(TokenError::Unavailable(UnavailableReason::NotDestroyed));
            }
        }
        self.note_destroyed(key);
        Ok(())
    }

    fn note_destroyed(&self, key: KeyIdentity) {
        let since = clock::monotonic();
        let pause = LATE_COPY_PAUSE;
        let mut destroyed = self.destroyed.lock();
        if destroyed.len() < MAX_DESTROYED {
            destroyed.insert(key, Destroyed { since, next: since + pause, pause });
        }
    }

    /// Destroys the keys that were destroyed and that a late copy has brought back to a token.
    pub(super) async fn destroy_late_copies(&self) -> Result<(), TokenError> {
        let now = clock::monotonic();
        let due: Vec<_> = {
            let mut destroyed = self.destroyed.lock();
            destroyed.retain(|_key, one| now.saturating_duration_since(one.since) < LATE_COPIES);
            destroyed.iter().filter(|(_key, one)| one.next <= now).map(|(key, _one)| *key).collect()
        };
        let mut failure = None;
        for key in due {
            let budget = Budget::new(COMPARISON);
            let mut is_asked = true;
            for slot in &self.slots {
                // One that is away is asked when it is back.
                let Ok(member) = slot.ready() else { continue };
                let destroy = move |worker: &mut Worker<'_>| {
                    let exists = worker.exists(key)?;
                    worker.destroy_with(key, Unlabelled::Keep).map(|()| exists)
                };
                match member.change(&budget, destroy).await {
                    Ok(true) => tracing::warn!(
                        event = "token.late_copy_destroyed",
                        token = slot.name.as_deref(),
                        key = %key.name,
                        "a token showed a key again that was destroyed: a late copy, which was destroyed too"
                    ),
                    Ok(false) => {}
                    Err(failed) => {
                        is_asked = false;
                        failure = failure.or(Some(failed.error));
                    }
                }
            }
            if let Some(one) = self.destroyed.lock().get_mut(&key).filter(|_one| is_asked) {
                one.pause = one.pause.saturating_mul(2);
                one.next = clock::monotonic() + one.pause;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Destroys a key in every token that is ready; the error is that of a required one.
    async fn destroy_in_each(
        &self,
        key: KeyIdentity,
        budget: &Budget,
        unlabelled: Unlabelled,
    ) -> Result<(), TokenError> {
        self.answers.lock().remove(&key);
        let mut failure = None;
        for slot in &self.slots {
            let destroy = move |worker: &mut Worker<'_>| worker.destroy_with(key, unlabelled);
            let destroyed = match slot.ready() {
                Ok(member) => member.change(budget, destroy).await.map_err(|failed| failed.error),
                Err(error) => Err(error),
            };
            let Err(error) = destroyed else { continue };
            if slot.is_required {
                failure = failure.or(Some(error));
            } else {
                tracing::warn!(
                    event = "token.key_kept",
                    token = slot.name.as_deref(),
                    key = %key.name,
                    %error,
                    "a token that is not required did not destroy a key, and keeps it"
                );
            }
        }
        failure.map_or(Ok(()), Err)
    }

    pub(super) async fn exists(
        &self,
        key: KeyIdentity,
        budget: &Budget,
    ) -> Result<bool, TokenError> {
        let mut failure = None;
        for slot in &self.slots {
            let found = match slot.ready() {
                Ok(member) => {
                    let exists = member.change(budget, move |worker| worker.exists(key)).await;
                    exists.map_err(|failed| failed.error)
                }
                Err(error) => Err(error),
            };
            match found {
                Ok(true) => return Ok(true),
                Err(error) if slot.is_required => failure = failure.or(Some(error)),
                Ok(false) | Err(_) => {}
            }
        }
        failure.map_or(Ok(false), Err)
    }

    pub(super) async fn forget(&self, key: KeyIdentity, budget: &Budget) {
        self.answers.lock().remove(&key);
        for member in self.opened() {
            let forget = move |worker: &mut Worker<'_>| {
                worker.forget_key(key);
                Ok(())
            };
            let _ = member.change(budget, forget).await;
        }
    }

    /// Destroys the keys for tests that killed processes left, in each open token.
    pub(super) async fn destroy_left_test_keys(&self, budget: &Budget) {
        for member in self.opened() {
            // It does no harm: the next call tries again.
            let destroy = |worker: &mut Worker<'_>| worker.destroy_left_test_keys();
            let _ = member.change(budget, destroy).await;
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<ObjectName>, TokenError> {
        let (mut names, mut failure, mut is_listed) = (BTreeSet::new(), None, false);
        for slot in &self.slots {
            let listed = match slot.ready() {
                Ok(member) => member.list().await,
                Err(error) => Err(error),
            };
            match listed {
                Ok(listed) => {
                    names.extend(listed);
                    is_listed = true;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if !is_listed => Err(error),
            _ => Ok(names.into_iter().collect()),
        }
    }
}

/// Says, across starts, that a token has another key under the id of this one.
fn write_disagreement(file: &Path, key: KeyIdentity) -> io::Result<()> {
    let mut file = state_file::create(file)?;
    writeln!(file, "{}", key.name)?;
    file.sync_all()
}

/// Whether a token was found to disagree before a restart.
fn disagreed(settings: &TokenSettings) -> bool {
    let Some(file) = settings.disagreement.as_deref().filter(|file| file.exists()) else {
        return false;
    };
    tracing::error!(
        event = "token.disagrees",
        token = settings.name.as_deref(),
        file = %file.display(),
        "a token of the group had another key under the id of one than the database or the others know; it \
         is not used until this file is removed and the gateway is started again"
    );
    true
}

/// Whether a token may report this of a key that is being copied to it.
const fn is_of_copy(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::NotFound
            | TokenError::KeyMismatch { .. }
            | TokenError::Busy
            | TokenError::Deadline
    )
}
