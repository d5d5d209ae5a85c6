//! The time at which each of many keys was last seen, in memory of fixed size.
//!
//! Keys share slots: a later key replaces an earlier one. So a key that was seen may be evicted
//! early, and a key that was never seen is found with a probability of 2^-24 for each occupied
//! slot. Use it only where this is acceptable. An attacker cannot choose two keys that collide: the
//! hash has a secret of the process.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::clock;

const TAG_BITS: u32 = 24;
const VALUE_BITS: u32 = 16;
/// Seconds since the start, which wrap around after 194 days.
const SECOND_BITS: u32 = 24;
const SECOND_MASK: u64 = (1 << SECOND_BITS) - 1;

/// Keys and when they were last seen, each with a small value. One `u64` for each slot: tag, value,
/// second. 0 is free.
#[derive(Debug)]
pub struct RecentCache {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
}

impl RecentCache {
    /// Creates a cache with this many slots, rounded up to a power of two; 8 bytes each.
    pub fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two();
        Self {
            slots: (0..slots).map(|_slot| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            start: clock::monotonic(),
        }
    }

    /// Records that a key was seen now.
    pub fn note(&self, key: &impl Hash, value: u16, now: Instant) {
        let (slot, tag) = self.slot(key);
        if let Some(slot) = slot {
            slot.store(packed(tag, value, self.second(now)), Ordering::Relaxed);
        }
    }

    /// The value of a key that was seen within that time before `now`, if it is still in the cache.
    pub fn find(&self, key: &impl Hash, now: Instant, within: Duration) -> Option<u16> {
        let (slot, tag) = self.slot(key);
        let found = slot?.load(Ordering::Relaxed);
        let age = self.second(now).wrapping_sub(found) & SECOND_MASK;
        // It was noted after `now`, because `now` is the arrival time of a request that was read
        // meanwhile.
        let age = if age > SECOND_MASK / 2 { 0 } else { age };
        let is_match = found != 0 && found >> (64 - TAG_BITS) == tag && age <= within.as_secs();
        is_match.then(|| u16::try_from((found >> SECOND_BITS) & 0xffff).unwrap_or_default())
    }

    /// 16 bits that distinguish a key from most others.
    pub fn key_bits(&self, key: &impl Hash) -> u16 {
        u16::try_from(self.hasher.hash_one(key) & 0xffff).unwrap_or_default()
    }

    fn slot(&self, key: &impl Hash) -> (Option<&AtomicU64>, u64) {
        let hash = self.hasher.hash_one(key);
        let mask = self.slots.len().saturating_sub(1);
        // The low bits are sufficient for the index on every machine.
        let index = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() & mask;
        (self.slots.get(index), hash >> (64 - TAG_BITS))
    }

    /// Never 0 for the first 194 days, so that an entry differs from a free slot.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs().wrapping_add(1) & SECOND_MASK
    }
}

fn packed(tag: u64, value: u16, second: u64) -> u64 {
    (tag << (VALUE_BITS + SECOND_BITS)) | (u64::from(value) << SECOND_BITS) | second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_with_its_value_until_it_expires() {
        let (recent, now) = (RecentCache::new(1000), Instant::now());
        let minute = Duration::from_mins(1);
        assert_eq!(recent.find(&"a", now, minute), None);
        recent.note(&"a", 7, now);
        assert_eq!(recent.find(&"a", now, minute), Some(7));
        assert_eq!(recent.find(&"a", now + minute, minute), Some(7));
        assert_eq!(recent.find(&"a", now + minute * 2, minute), None);
        assert_eq!(recent.find(&"b", now, minute), None);
        recent.note(&"a", u16::MAX, now + minute);
        assert_eq!(recent.find(&"a", now, minute), Some(u16::MAX), "noted after `now`");
        assert_eq!(recent.find(&"a", now + minute * 2, minute), Some(u16::MAX));
    }

    #[test]
    fn any_number_of_keys_takes_the_same_memory_and_the_latest_are_found() {
        let (recent, now) = (RecentCache::new(1 << 12), Instant::now());
        for key in 0..100_000_u32 {
            recent.note(&key, 1, now);
        }
        assert_eq!(recent.slots.len(), 1 << 12);
        let found =
            (99_900..100_000_u32).filter(|key| recent.find(key, now, Duration::ZERO).is_some());
        assert!(found.count() > 80);
        let unseen =
            (100_000..200_000_u32).filter(|key| recent.find(key, now, Duration::ZERO).is_some());
        assert!(unseen.count() < 5);
    }
}
