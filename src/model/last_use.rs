//! The hour of the last use of a key version or an AccessKey.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Time;

/// The hour of the last use, and that of the last use that is stored. Recording a use takes no lock and
/// writes nothing; a job stores each hour once. Clones share the hours.
///
/// It is no part of what a record says, so two are always equal.
#[derive(Debug, Clone, Default)]
pub struct LastUse(Arc<Hours>);

/// The beginnings of hours, in seconds since 1970; 0 for never.
#[derive(Debug, Default)]
struct Hours {
    used: AtomicI64,
    stored: AtomicI64,
}

impl LastUse {
    /// Records a use.
    pub fn record(&self, now: Time) {
        let hour = now.hour().unix();
        if self.0.used.load(Ordering::Relaxed) != hour {
            self.0.used.store(hour, Ordering::Relaxed);
        }
    }

    /// Records what the store has.
    pub fn note_stored(&self, time: Time) {
        let hour = time.hour().unix();
        self.0.used.fetch_max(hour, Ordering::Relaxed);
        self.0.stored.fetch_max(hour, Ordering::Relaxed);
    }

    /// The beginning of the hour of the last use, if it is not stored yet.
    pub fn unstored(&self) -> Option<Time> {
        let used = self.0.used.load(Ordering::Relaxed);
        let is_new = used > self.0.stored.load(Ordering::Relaxed);
        is_new.then(|| Time::from_unix(used))
    }
}

impl PartialEq for LastUse {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LastUse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_is_to_be_stored_once() {
        let uses = LastUse::default();
        assert_eq!(uses.unstored(), None);
        for (now, hour) in [(7_300, 7_200), (10_799, 7_200), (10_800, 10_800)] {
            uses.clone().record(Time::from_unix(now));
            let unstored = uses.unstored();
            assert_eq!(unstored, (now != 10_799).then(|| Time::from_unix(hour)), "{now}");
            uses.note_stored(Time::from_unix(hour));
            assert_eq!(uses.unstored(), None);
        }
    }

    #[test]
    fn what_another_gateway_stored_is_kept() {
        let uses = LastUse::default();
        uses.note_stored(Time::from_unix(10_800));
        uses.record(Time::from_unix(7_200));
        assert_eq!(uses.unstored(), None);
    }
}
