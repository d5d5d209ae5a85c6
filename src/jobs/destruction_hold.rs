//! Holds due destructions after a jump of the clock: otherwise a clock that is a month ahead for
//! ten seconds would destroy keys a month early.
//!
//! A jump is a difference of more than an hour between the clock and the time since boot while the
//! gateway runs, or more than seven days between the last recorded time and a start. Destructions
//! then wait for some hours of running time, added up over restarts, and can still be canceled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::metrics::JobMetrics;
use crate::audit::{Actor, Recorder, SystemEvent};
use crate::model::{RequestId, Time, clock};
use crate::store::{MetadataValue, Store, StoreError};
use crate::telemetry::gauge_value;

/// Normal corrections of the clock are far smaller.
const MAX_STEP_SECONDS: i64 = 3600;
/// After a longer stop, a gateway cannot distinguish a long pause from a wrong clock.
const MAX_PAUSE_SECONDS: i64 = 7 * 24 * 3600;
/// How often the time is recorded.
const RECORD_INTERVAL: Duration = Duration::from_mins(10);
/// How often the remaining hold is recorded.
const RECORD_HOLD_INTERVAL: Duration = Duration::from_mins(1);
/// The metadata entry with the last recorded time, in seconds since 1970.
const RECORDED_TIME: &str = "clock-recorded";
/// The metadata entry with the remaining hold, in seconds.
pub const HOLD_LEFT: &str = "destruction-hold-left";

/// A reading of all clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    /// The system clock, which can be set.
    wall: Time,
    /// Seconds since boot, including sleep, so that a suspended machine is not a jump.
    boot_seconds: i64,
    /// Measures the running time of the gateway.
    running: Instant,
}

impl ClockReading {
    fn now() -> Self {
        Self {
            wall: clock::now(),
            boot_seconds: clock::seconds_since_boot(),
            running: clock::monotonic(),
        }
    }
}

/// A jump of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Jump {
    expected: Time,
    found: Time,
}

/// Detects jumps, and counts the remaining hold.
#[derive(Debug)]
struct ClockWatch {
    /// Duration of a hold. Zero disables it.
    hold: Duration,
    /// The reference reading of clock and time since boot. Comparing with it also detects a drift
    /// in small steps.
    base: ClockReading,
    last: Instant,
    left: Duration,
}

impl ClockWatch {
    /// The state at a start: `recorded` is the last recorded time, `left` the remaining hold.
    fn start(
        hold: Duration,
        recorded: Option<Time>,
        left: Duration,
        now: ClockReading,
    ) -> (Self, Option<Jump>) {
        let mut watch = Self { hold, base: now, last: now.running, left: left.min(hold) };
        let paused = |recorded: Time| now.wall.unix().saturating_sub(recorded.unix());
        let jump = recorded
            .filter(|recorded| paused(*recorded) > MAX_PAUSE_SECONDS)
            .map(|expected| Jump { expected, found: now.wall });
        if jump.is_some() {
            watch.left = hold;
        }
        (watch, jump)
    }

    fn check(&mut self, now: ClockReading) -> Option<Jump> {
        self.left = self.left.saturating_sub(now.running.saturating_duration_since(self.last));
        self.last = now.running;
        let since_base = now.boot_seconds.saturating_sub(self.base.boot_seconds);
        let expected = self.base.wall.plus_seconds(since_base);
        let step = now.wall.unix().saturating_sub(expected.unix());
        if step.saturating_abs() <= MAX_STEP_SECONDS {
            return None;
        }
        self.base = now;
        self.left = self.hold;
        Some(Jump { expected, found: now.wall })
    }
}

/// Whether due destructions may begin. Clones share it.
#[derive(Clone)]
pub(super) struct DestructionHold {
    audit: Recorder,
    hold: Duration,
    state: Arc<Mutex<Option<State>>>,
    metrics: JobMetrics,
}

#[derive(Debug)]
struct State {
    watch: ClockWatch,
    /// When the metadata was written.
    recorded: Option<Instant>,
    /// Events that are not in the audit log yet.
    unrecorded: Vec<SystemEvent>,
    was_held: bool,
    /// The term of the lease since which this gateway has run the jobs: what another one recorded before it
    /// counts.
    term: Option<i64>,
}

/// The current hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct HoldStatus {
    /// The time to use for due dates.
    pub(super) now: Time,
    /// Destructions by date must wait.
    pub(super) is_held: bool,
}

impl DestructionHold {
    pub(super) fn new(audit: Recorder, hold: Duration, metrics: JobMetrics) -> Self {
        Self { audit, hold, state: Arc::default(), metrics }
    }

    /// Reads the clocks. A jump is stored before this returns. `store` is that of the job, which may be
    /// under a lease.
    ///
    /// # Errors
    /// When the store fails; nothing may be destroyed then.
    pub(super) async fn check(&self, store: &Store) -> Result<HoldStatus, StoreError> {
        let mut held = self.state.lock().await;
        let now = ClockReading::now();
        let term = store.lease_term();
        let (state, jump) = match held.as_mut() {
            Some(state) if state.term == term => {
                let jump = state.watch.check(now);
                (state, jump)
            }
            before => {
                let unrecorded =
                    before.map(|state| std::mem::take(&mut state.unrecorded)).unwrap_or_default();
                let (watch, jump) = self.start(store, now).await?;
                let was_held = watch.left > Duration::ZERO;
                let state = State { watch, recorded: None, unrecorded, was_held, term };
                (held.insert(state), jump)
            }
        };
        if let Some(jump) = jump {
            state.recorded = None;
            self.metrics.clock_jumps.inc();
            log_jump(jump, self.hold);
            state.unrecorded.push(event_of(jump, self.hold));
        }
        let is_held = state.watch.left > Duration::ZERO;
        self.metrics.destruction_hold_seconds.set(gauge_value(state.watch.left.as_secs()));
        if std::mem::replace(&mut state.was_held, is_held) && !is_held {
            state.recorded = None;
            tracing::info!(
                event = "clock.destruction_hold_ended",
                "due destructions are no longer held"
            );
        }
        let every = if is_held { RECORD_HOLD_INTERVAL } else { RECORD_INTERVAL };
        if state.recorded.is_none_or(|recorded| now.running.duration_since(recorded) >= every) {
            let left = state.watch.left.as_secs().to_string();
            store.set_metadata(HOLD_LEFT, &left).await?;
            store.set_metadata(RECORDED_TIME, &now.wall.unix().to_string()).await?;
            state.recorded = Some(now.running);
        }
        while let Some(system_event) = state.unrecorded.first() {
            if let Err(error) = self.audit.record(system_event).await {
                tracing::warn!(
                    event = "clock.jump_not_recorded",
                    %error,
                    "could not record a jump of the clock in the audit log; it will be retried"
                );
                break;
            }
            state.unrecorded.remove(0);
        }
        Ok(HoldStatus { now: now.wall, is_held })
    }

    async fn start(
        &self,
        store: &Store,
        now: ClockReading,
    ) -> Result<(ClockWatch, Option<Jump>), StoreError> {
        let (recorded, is_recorded) = number(store, RECORDED_TIME).await?;
        let recorded = match recorded.and_then(|seconds| i64::try_from(seconds).ok()) {
            Some(seconds) => Some(Time::from_unix(seconds)),
            // The store of a program that did not record the time.
            None => store.newest_time().await?,
        };
        let (left, is_left) = number(store, HOLD_LEFT).await?;
        // An unreadable entry may have been a hold.
        let left = match left {
            _ if !is_recorded || !is_left => self.hold,
            left => Duration::from_secs(left.unwrap_or_default()),
        };
        Ok(ClockWatch::start(self.hold, recorded, left, now))
    }
}

/// Reads a numeric metadata entry, if it exists, and returns whether it was readable.
async fn number(store: &Store, name: &'static str) -> Result<(Option<u64>, bool), StoreError> {
    let number = store.read_metadata(name, |text| text.parse::<u64>().ok()).await?;
    let is_readable = number != MetadataValue::Damaged;
    if !is_readable {
        tracing::error!(
            event = "store.row_damaged",
            table = "facts",
            row = name,
            "cannot read the row; due destructions are held as after a jump of the \
             clock"
        );
    }
    Ok((number.value(), is_readable))
}

fn log_jump(jump: Jump, hold: Duration) {
    let hold_hours = hold.as_secs() / 3600;
    tracing::error!(
        event = "clock.jumped",
        expected = %jump.expected,
        found = %jump.found,
        hold_hours,
        "the clock has jumped; due destructions are held for this many hours of running \
         time; set the clock right, and cancel what must not be destroyed"
    );
}

fn event_of(jump: Jump, hold: Duration) -> SystemEvent {
    let parameters = [
        ("ExpectedTime", jump.expected.to_string()),
        ("FoundTime", jump.found.to_string()),
        ("HoldSeconds", hold.as_secs().to_string()),
    ];
    SystemEvent {
        id: RequestId::random().to_string(),
        name: "ClockJump".to_owned(),
        actor: Actor::Gateway,
        time: jump.found,
        parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
        key: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::audit::Recorder;

    const HOLD: Duration = Duration::from_hours(24);
    const START: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    /// A reading so many seconds after the start, with a clock that is off by `off` seconds.
    fn reading(begin: Instant, seconds: u64, off: i64) -> ClockReading {
        let since = i64::try_from(seconds).unwrap();
        ClockReading {
            wall: Time::from_unix(START + since + off),
            boot_seconds: 5000 + since,
            running: begin + Duration::from_secs(seconds),
        }
    }

    fn started(recorded: Option<i64>, left: u64) -> (ClockWatch, Option<Jump>, Instant) {
        let begin = Instant::now();
        let recorded = recorded.map(|seconds| Time::from_unix(START + seconds));
        let left = Duration::from_secs(left);
        let (watch, jump) = ClockWatch::start(HOLD, recorded, left, reading(begin, 0, 0));
        (watch, jump, begin)
    }

    /// A temporary store, and the state that a start derives from its metadata.
    async fn store() -> (Store, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", directory.path().display());
        (crate::store::tests::open(&url).await.unwrap(), directory)
    }

    #[tokio::test]
    async fn a_jump_is_recorded_once_even_if_the_disk_of_the_audit_is_full() {
        let (store, _directory) = store().await;
        store
            .set_metadata(RECORDED_TIME, &(clock::now().unix() - 30 * DAY).to_string())
            .await
            .unwrap();
        let (audit, asked) = Recorder::of_full_disk();
        let hold = DestructionHold::new(audit, HOLD, JobMetrics::default());
        for _ in 0..3 {
            assert!(hold.check(&store).await.unwrap().is_held);
        }
        let kept: Vec<bool> = asked.try_iter().collect();
        assert_eq!(kept, [false; 3], "tried three times, and not kept elsewhere");
        assert_eq!(hold.state.lock().await.as_ref().unwrap().unrecorded.len(), 1);
    }

    #[tokio::test]
    async fn unreadable_metadata_holds_like_a_jump() {
        for (name, value, is_held) in [
            (HOLD_LEFT, "0", false),
            (HOLD_LEFT, "", true),
            (HOLD_LEFT, "many", true),
            (HOLD_LEFT, "-1", true),
            (HOLD_LEFT, "99999999999999999999", true),
            (RECORDED_TIME, "yesterday", true),
            (RECORDED_TIME, "", true),
        ] {
            let (store, _directory) = store().await;
            let now = clock::now().unix().to_string();
            store.set_metadata(RECORDED_TIME, &now).await.unwrap();
            store.set_metadata(name, value).await.unwrap();
            let hold = DestructionHold::new(Recorder::off(), HOLD, JobMetrics::default());
            assert_eq!(hold.check(&store).await.unwrap().is_held, is_held, "{name} {value:?}");
        }
    }

    #[test]
    fn a_normal_clock_causes_no_hold() {
        let (mut watch, jump, begin) = started(Some(-DAY), 0);
        assert_eq!(jump, None);
        for (seconds, off) in [(10, 0), (20, 3600), (30, -3600), (9_000_000, 1)] {
            assert_eq!(watch.check(reading(begin, seconds, off)), None);
        }
        assert_eq!(watch.left, Duration::ZERO);
    }

    #[test]
    fn a_jump_in_either_direction_holds_for_a_day_of_running_time() {
        for off in [3601, -3601, 31 * DAY] {
            let (mut watch, _, begin) = started(None, 0);
            let jump = watch.check(reading(begin, 10, off)).unwrap();
            assert_eq!(jump.found.unix() - jump.expected.unix(), off);
            assert_eq!(watch.left, HOLD);
            // The clock runs normally after the jump.
            assert_eq!(watch.check(reading(begin, 10 + 3600, off)), None);
            assert_eq!(watch.left, Duration::from_hours(23));
            assert_eq!(watch.check(reading(begin, 10 + 24 * 3600, off)), None);
            assert_eq!(watch.left, Duration::ZERO);
        }
    }

    #[test]
    fn the_correction_is_a_jump_too_and_restarts_the_hold() {
        let (mut watch, _, begin) = started(None, 0);
        assert!(watch.check(reading(begin, 10, 31 * DAY)).is_some());
        assert!(watch.check(reading(begin, 3610, 0)).is_some());
        assert_eq!(watch.left, HOLD);
    }

    #[test]
    fn small_steps_add_up() {
        let (mut watch, _, begin) = started(None, 0);
        assert_eq!(watch.check(reading(begin, 10, 1800)), None);
        assert_eq!(watch.check(reading(begin, 20, 3600)), None);
        assert!(watch.check(reading(begin, 30, 3610)).is_some());
    }

    #[test]
    fn a_start_long_after_the_recorded_time_holds_and_a_hold_continues_after_a_start() {
        let (watch, jump, _) = started(Some(-8 * DAY), 0);
        assert_eq!(jump.unwrap().expected.unix(), START - 8 * DAY);
        assert_eq!(watch.left, HOLD);
        let (watch, jump, _) = started(Some(-7 * DAY), 600);
        assert_eq!((watch.left, jump), (Duration::from_mins(10), None));
        // A clock that went back makes nothing due.
        let (watch, jump, _) = started(Some(30 * DAY), 0);
        assert_eq!((watch.left, jump), (Duration::ZERO, None));
    }

    #[test]
    fn a_suspended_machine_is_not_a_jump_and_does_not_shorten_a_hold() {
        let (mut watch, _, begin) = started(None, 600);
        let mut woken = reading(begin, 10 * 24 * 3600, 0);
        woken.running = begin + Duration::from_mins(1);
        assert_eq!(watch.check(woken), None);
        assert_eq!(watch.left, Duration::from_mins(9));
    }

    #[test]
    fn a_shorter_setting_shortens_the_remaining_hold() {
        let begin = Instant::now();
        let left = Duration::from_hours(20);
        let (watch, _) = ClockWatch::start(Duration::ZERO, None, left, reading(begin, 0, 0));
        assert_eq!(watch.left, Duration::ZERO);
    }
}
