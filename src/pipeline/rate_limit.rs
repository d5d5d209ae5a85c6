//! Who has done how much lately, for many at a time in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most that are remembered. Beyond it one is forgotten for each new one.
pub(super) const MAX_ENTRIES: usize = 16_384;

/// How often, at most, those that owe nothing are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much may be done at once, in seconds' worth.
const BURST: Duration = Duration::from_secs(1);

/// A leaky bucket for each key: each thing done costs some time, which passes by itself.
#[derive(Debug)]
pub(super) struct LeakyBuckets<K> {
    /// The time that one thing costs.
    cost: Duration,
    penalties: Mutex<Penalties<K>>,
}

#[derive(Debug)]
struct Penalties<K> {
    /// Until when each key has run up penalties. One whose time has passed owes nothing.
    until: HashMap<K, Instant>,
    swept: Option<Instant>,
}

impl<K: Copy + Eq + Hash> LeakyBuckets<K> {
    /// Of so many things a second.
    pub(super) fn new(per_second: u32) -> Self {
        let penalties = Penalties { until: HashMap::new(), swept: None };
        Self { cost: Duration::from_secs(1) / per_second.max(1), penalties: Mutex::new(penalties) }
    }

    /// Whether the key may do something now.
    pub(super) fn allows(&self, key: K, now: Instant) -> bool {
        self.penalties().allows(key, now)
    }

    /// Notes that the key has done something.
    pub(super) fn note(&self, key: K, now: Instant) {
        self.penalties().note(key, now, self.cost);
    }

    /// Notes that the key does something, if it may.
    pub(super) fn take(&self, key: K, now: Instant) -> bool {
        let mut penalties = self.penalties();
        let may = penalties.allows(key, now);
        if may {
            penalties.note(key, now, self.cost);
        }
        may
    }

    fn penalties(&self) -> MutexGuard<'_, Penalties<K>> {
        self.penalties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.penalties().until.len()
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

    /// Forgets, when there are too many, those that owe nothing, or else just any one.
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
