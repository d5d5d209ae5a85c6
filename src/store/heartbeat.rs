//! The heartbeats of a gateway of a cluster: notifications that it sends to itself through the database, to
//! find out whether it receives those of the others.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{clock, random};

/// How long a heartbeat may take before the gateway counts as deaf.
const LIMIT: Duration = Duration::from_secs(5);
/// The time between two checks of the limit.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The heartbeats of this process.
#[derive(Debug)]
pub(super) struct Heartbeats {
    /// What the texts of this process begin with.
    prefix: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last one that was made.
    made: u64,
    /// The number of the last one that was received.
    received: u64,
    /// The first one that was sent and not received, and when.
    missed: Option<(u64, Instant)>,
}

/// A heartbeat that was not sent yet, and when it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    number: u64,
    at: Instant,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { prefix: format!("heartbeat {} ", random::uuid()), state: Mutex::default() }
    }
}

impl Heartbeats {
    /// A new one.
    pub(super) fn make(&self) -> Heartbeat {
        let mut state = self.state.lock();
        state.made += 1;
        Heartbeat { number: state.made, at: clock::monotonic() }
    }

    /// The text of one.
    pub(super) fn text(&self, heartbeat: Heartbeat) -> String {
        format!("{}{}", self.prefix, heartbeat.number)
    }

    /// Records that one was sent. It may have been received already.
    pub(super) fn note_sent(&self, heartbeat: Heartbeat) {
        let mut state = self.state.lock();
        if state.received < heartbeat.number {
            state.missed.get_or_insert((heartbeat.number, heartbeat.at));
        }
    }

    /// Records that none can be received, because the one that is sent next goes to another server.
    pub(super) fn note_not_received(&self) {
        let mut state = self.state.lock();
        let next = state.made.saturating_add(1);
        state.missed.get_or_insert((next, clock::monotonic()));
    }

    /// Records a notification. Returns whether it is a heartbeat of this process. Those before it that were not
    /// received were sent while nobody listened.
    pub(super) fn note_received(&self, text: &str) -> bool {
        let number = text.strip_prefix(&self.prefix).and_then(|number| number.parse().ok());
        let Some(number) = number else { return false };
        let mut state = self.state.lock();
        state.received = state.received.max(number);
        if state.missed.is_some_and(|(missed, _at)| missed <= number) {
            state.missed = None;
        }
        true
    }

    /// The age of the oldest one that was sent and not received.
    pub(super) fn age(&self) -> Duration {
        let missed = self.state.lock().missed;
        missed.map_or(Duration::ZERO, |(_number, at)| clock::since(at))
    }

    /// Waits until one that was sent after the listener began was not received in time.
    pub(super) async fn deaf(&self, listening: Instant) {
        let is_deaf = || {
            let missed = self.state.lock().missed;
            missed.is_some_and(|(_number, at)| clock::since(at.max(listening)) >= LIMIT)
        };
        while !is_deaf() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

/// Whether a notification is a heartbeat, of any gateway: no change is announced with it.
pub(super) fn is_heartbeat(text: &str) -> bool {
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_missed_until_it_or_a_later_one_is_received() {
        let (own, other) = (Heartbeats::default(), Heartbeats::default());
        let [first, second, third] = [(); 3].map(|()| own.make());
        assert_eq!(own.age(), Duration::ZERO);
        own.note_sent(first);
        own.note_sent(second);
        assert!(own.age() > Duration::ZERO);
        assert!(!own.note_received(&other.text(other.make())), "of another gateway");
        assert!(!own.note_received(""), "a change");
        assert!(own.age() > Duration::ZERO);
        assert!(own.note_received(&own.text(second)));
        assert_eq!(own.age(), Duration::ZERO);
        assert!(own.note_received(&own.text(third)), "before its change is known to be committed");
        own.note_sent(third);
        assert_eq!(own.age(), Duration::ZERO);
        own.note_not_received();
        assert!(own.age() > Duration::ZERO);
        let next = own.make();
        assert!(own.note_received(&own.text(next)));
        assert_eq!(own.age(), Duration::ZERO);
    }
}
