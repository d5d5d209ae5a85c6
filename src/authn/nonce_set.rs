//! A set of 64-bit hashes in about eleven bytes each, for millions of nonces at a time. The
//! standard one takes twice as many bytes, and twice that while it grows.

/// The set is split into this many tables by the first bits of a hash, so that no growth takes
/// long.
const SHARDS: usize = 64;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// The maximum load of a table before it grows by a quarter.
const MAX_LOAD_PERCENT: usize = 80;
const MIN_SLOTS: usize = 8;
/// Marks a free slot; the hash 0 is stored as 1.
const FREE: u64 = 0;

/// The set. It only grows; drop it to remove its entries.
#[derive(Debug)]
pub(super) struct NonceSet(Vec<Table>);

impl Default for NonceSet {
    fn default() -> Self {
        Self((0..SHARDS).map(|_shard| Table::default()).collect())
    }
}

impl NonceSet {
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.0.get(shard(hash)).is_some_and(|table| table.find(hash.max(1)).is_none())
    }

    pub(super) fn insert(&mut self, hash: u64) {
        if let Some(table) = self.0.get_mut(shard(hash)) {
            table.insert(hash.max(1));
        }
    }
}

fn shard(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - SHARD_BITS)).unwrap_or_default()
}

/// Open addressing with linear probing. The slots are in the order of the hashes, so that growth
/// is one sequential pass over memory.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<u64>,
    used: usize,
}

impl Table {
    /// The free slot for a hash; `None` if it is present already. An empty table returns a slot out
    /// of range, which says that the hash is new.
    fn find(&self, hash: u64) -> Option<usize> {
        let count = self.slots.len();
        let position = (u128::from(hash << SHARD_BITS) * count as u128) >> u64::BITS;
        let start = usize::try_from(position).unwrap_or_default();
        let (before, after) = self.slots.split_at(start.min(count));
        let numbered = (start..).zip(after).chain((0..).zip(before));
        for (at, slot) in numbered {
            if *slot == FREE {
                return Some(at);
            }
            if *slot == hash {
                return None;
            }
        }
        Some(count)
    }

    fn insert(&mut self, hash: u64) {
        if self.used * 100 >= self.slots.len() * MAX_LOAD_PERCENT {
            self.grow();
        }
        self.put(hash);
    }

    /// Inserts a hash where the table has room.
    fn put(&mut self, hash: u64) {
        if let Some(at) = self.find(hash)
            && let Some(slot) = self.slots.get_mut(at)
        {
            *slot = hash;
            self.used += 1;
        }
    }

    fn grow(&mut self) {
        let count = (self.slots.len() + self.slots.len() / 4).max(MIN_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![FREE; count]);
        self.used = 0;
        old.into_iter().filter(|hash| *hash != FREE).for_each(|hash| self.put(hash));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hashes() -> impl Iterator<Item = u64> {
        (1..).map(|index| fault_token::mix(0, index))
    }

    #[test]
    fn it_holds_what_was_inserted_and_nothing_else() {
        let mut set = NonceSet::default();
        let mut model = HashSet::new();
        let small = [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 58, (1 << 58) + 1];
        for hash in hashes().take(100_000).chain(small) {
            assert_eq!(set.contains(hash), model.contains(&hash.max(1)), "{hash}");
            set.insert(hash);
            set.insert(hash);
            model.insert(hash.max(1));
        }
        assert!(model.iter().all(|hash| set.contains(*hash)));
        assert!(hashes().skip(100_000).take(100_000).all(|hash| !set.contains(hash)));
    }

    #[test]
    fn a_million_nonces_take_less_than_thirteen_bytes_each() {
        let mut set = NonceSet::default();
        hashes().take(1_000_000).for_each(|hash| set.insert(hash));
        let slots: usize = set.0.iter().map(|table| table.slots.capacity()).sum();
        assert!(slots * 8 < 13_000_000, "{slots}");
    }
}
