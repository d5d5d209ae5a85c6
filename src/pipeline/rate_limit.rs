//! Leaky-bucket rate limits for many keys in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The maximum number of entries. Beyond it each new entry replaces another.
pub(super) const MAX_ENTRIES: usize = 16_384;

/// The minimum time between two removals of expired entries.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The permitted burst, in seconds' worth of the rate.
const BURST: Duration = Duration::from_secs(1);

/// A leaky bucket for each key: each action adds a fixed time to the key's penalty.
#[derive(Debug)]
pub(super) struct LeakyBuckets<K> {
    /// The time that one action adds.
    cost: Duration,
    penalties: Mutex<Penalties<K>>,
}

#[derive(Debug)]
struct Penalties<K> {
    /// The end of each key's penalty. An entry whose end has passed is no longer needed.
    until: HashMap<K, Instant>,
    swept: Option<Instant>,
}

impl<K: Copy + Eq + Hash> LeakyBuckets<K> {
    /// Creates buckets that allow this number of actions a second.
    pub(super) fn new(per_second: u32) -> Self {
        let penalties = Penalties { until: HashMap::new(), swept: None };
        Self { cost: Duration::from_secs(1) / per_second.max(1), penalties: Mutex::new(penalties) }
    }

    /// Whether the key may act now.
    pub(super) fn allows(&self, key: K, now: Instant) -> bool {
        self.penalties.lock().allows(key, now)
    }

    /// Records an action of the key.
    pub(super) fn note(&self, key: K, now: Instant) {
        self.penalties.lock().note(key, now, self.cost);
    }

    /// Records an action of the key if it is allowed; returns whether it is.
    pub(super) fn take(&self, key: K, now: Instant) -> bool {
        let mut penalties = self.penalties.lock();
        let may = penalties.allows(key, now);
        if may {
            penalties.note(key, now, self.cost);
        }
        may
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.penalties.lock().until.len()
    }
}

impl<K: Copy + Eq + Hash> Penalties<K> {
    fn allows(&self, key: K, now: Instant) -> bool {
        self.until.get(&key).is_none_or(|until| *until < now + BURST)
    }

    fn note(&mut self, key: K, now: Instant, cost: Duration) {
        if !self.until.contains_key(&key) {
            self.make_room(now);
        }
        let until = self.until.entry(key).or_insert(now);
        *until = (*until).max(now) + cost;
    }

    /// Removes expired entries when the map is full, or any one entry if none has expired.
    fn make_room(&mut self, now: Instant) {
        if self.until.len() < MAX_ENTRIES {
            return;
        }
        if self.swept.is_none_or(|swept| now >= swept + SWEEP_EVERY) {
            self.swept = Some(now);
            self.until.retain(|_key, until| *until > now);
        }
        let one = self.until.keys().next().copied();
        if let Some(one) = one.filter(|_one| self.until.len() >= MAX_ENTRIES) {
            self.until.remove(&one);
        }
    }
}
