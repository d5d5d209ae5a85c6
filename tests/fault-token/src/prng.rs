//! Choices that are the same in every run: enough for tests, and for nothing else.

use std::cell::Cell;

/// The numbers of the SplitMix64 generator (Steele, Lea and Flood 2014).
#[derive(Debug)]
pub struct Prng {
    seed: u64,
    index: Cell<u64>,
}

impl Prng {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, index: Cell::new(0) }
    }

    /// The next number.
    pub fn number(&self) -> u64 {
        self.index.set(self.index.get() + 1);
        mix(self.seed, self.index.get())
    }

    /// A number below `end`, which is not 0.
    #[expect(clippy::cast_possible_truncation, reason = "it is below a usize")]
    pub fn below(&self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// One of a list that is not empty.
    pub fn of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The `index`-th number of the SplitMix64 generator.
pub fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let prng = Prng::new(0);
        let numbers = [prng.number(), prng.number()];
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }
}
