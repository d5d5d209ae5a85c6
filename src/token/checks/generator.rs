//! A health check of the token's random generator. It detects a dead or stuck generator, but not a
//! weak one (D5; similar to the repetition count test of NIST SP 800-90B, 4.4.1).
//!
//! Each draw is compared with the recent draws of all threads, including those before a recovery of
//! the token: AES-GCM with one key is broken by the first IV that repeats.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest;
use parking_lot::Mutex;

use crate::model::{IV_BYTES, Iv, KeyVersionId};
use crate::telemetry::Counter;
use crate::token::error::TokenError;

/// The minimum bytes of a draw. A healthy generator repeats the first bytes of a draw, up to this
/// number, with a probability of 2^-128.
pub(crate) const CHECKED_BYTES: usize = 16;
/// A run of this many equal bytes occurs by chance once in 2^88 bytes.
const MAX_RUN: usize = 12;
/// The number of remembered draws.
const DRAWS: usize = 256;
/// The number of remembered IVs: the last blocks of all threads.
const IVS: usize = 16 * 340;

/// The maximum bytes of one draw, if the token does not refuse them; NSS supports 64 KiB.
pub(crate) const MAX_DRAW: usize = 4096;
/// A token that refuses this many bytes has another fault.
const MIN_DRAW: usize = 256;

/// The recent output of the token's generator, in all threads, and the size of its draws.
#[derive(Debug)]
pub(crate) struct GeneratorWatch {
    memory: Mutex<Memory>,
    failures: Counter,
    max_draw: AtomicUsize,
}

impl Default for GeneratorWatch {
    fn default() -> Self {
        Self::new(Counter::default())
    }
}

#[derive(Debug, Default)]
struct Memory {
    /// Digests of the beginnings of draws: draws may be secret.
    draws: RecentCache<[u8; CHECKED_BYTES]>,
    ivs: RecentCache<[u8; IV_BYTES]>,
    /// IVs that the token made, each with its key: they may be a counter of each key.
    token_ivs: RecentCache<(KeyVersionId, Iv)>,
}

impl GeneratorWatch {
    /// A watch that has seen no draw, and counts the refused ones.
    pub(crate) fn new(failures: Counter) -> Self {
        Self { memory: Mutex::default(), failures, max_draw: AtomicUsize::new(MAX_DRAW) }
    }

    /// The maximum bytes that the token returns in one call, as far as is known.
    pub(crate) fn max_draw(&self) -> usize {
        self.max_draw.load(Ordering::Relaxed)
    }

    /// Begins with the largest draws: the module was initialized again.
    pub(crate) fn reset_draws(&self) {
        self.max_draw.store(MAX_DRAW, Ordering::Relaxed);
    }

    /// Halves the draws after the token refused one of this size; all threads remember it. False if
    /// the size is not the cause.
    pub(crate) fn halve_draws(&self, refused: usize) -> bool {
        if refused <= MIN_DRAW {
            return false;
        }
        // Another thread may have halved them meanwhile.
        let halved = |most: usize| (most >= refused).then_some((most / 2).max(MIN_DRAW));
        if let Ok(most) = self.max_draw.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halved) {
            tracing::info!(
                event = "token.random_draw_halved",
                refused,
                bytes = (most / 2).max(MIN_DRAW),
                "the token refused a draw of random bytes; further draws are smaller"
            );
        }
        true
    }

    /// Checks a draw.
    ///
    /// # Errors
    /// `Untrusted` when a working generator cannot have made it.
    pub(crate) fn check(&self, draw: &[u8]) -> Result<(), TokenError> {
        self.counted(self.memory.lock().check(draw))
    }

    /// Checks a draw that is used as IVs.
    ///
    /// # Errors
    /// As [`GeneratorWatch::check`], and when an IV occurs twice in the draw or was drawn recently.
    pub(crate) fn check_ivs(&self, draw: &[u8]) -> Result<(), TokenError> {
        let mut memory = self.memory.lock();
        self.counted(memory.check(draw).and_then(|()| memory.check_ivs(draw)))
    }

    /// Checks an IV that the token made for an encryption with a key.
    ///
    /// # Errors
    /// `Untrusted` when it repeats one byte, or was made recently for this key.
    pub(crate) fn check_token_iv(&self, key: KeyVersionId, iv: &Iv) -> Result<(), TokenError> {
        self.counted(self.memory.lock().check_token_iv(key, iv))
    }

    fn counted(&self, outcome: Result<(), TokenError>) -> Result<(), TokenError> {
        outcome.inspect_err(|_error| {
            self.failures.inc();
        })
    }
}

impl Memory {
    fn check(&mut self, draw: &[u8]) -> Result<(), TokenError> {
        let is_run = |run: &[u8]| run.windows(2).all(|pair| pair.first() == pair.last());
        if draw.windows(MAX_RUN).any(is_run) {
            return Err(TokenError::Untrusted("its random generator repeats one byte"));
        }
        let start = draw.get(..CHECKED_BYTES).unwrap_or(draw);
        let digest = digest::digest(&digest::SHA256, start);
        let digest = digest.as_ref().first_chunk().copied().unwrap_or_default();
        if self.draws.note(digest, DRAWS) { Ok(()) } else { Err(repeated()) }
    }

    fn check_token_iv(&mut self, key: KeyVersionId, iv: &Iv) -> Result<(), TokenError> {
        let bytes = iv.as_slice();
        if bytes.windows(2).all(|pair| pair.first() == pair.last()) {
            return Err(TokenError::Untrusted("it makes IVs of one repeated byte"));
        }
        if self.token_ivs.note((key, *iv), IVS) {
            Ok(())
        } else {
            Err(TokenError::Untrusted("it made an IV of AES-GCM twice"))
        }
    }

    fn check_ivs(&mut self, draw: &[u8]) -> Result<(), TokenError> {
        let (ivs, _rest) = draw.as_chunks();
        let all_new = ivs.iter().all(|iv| self.ivs.note(*iv, IVS));
        if all_new { Ok(()) } else { Err(repeated()) }
    }
}

fn repeated() -> TokenError {
    TokenError::Untrusted("its random generator repeats itself")
}

/// The last values of a sequence.
#[derive(Debug)]
struct RecentCache<T> {
    order: VecDeque<T>,
    known: HashSet<T>,
}

impl<T> Default for RecentCache<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), known: HashSet::new() }
    }
}

impl<T: Copy + Eq + Hash> RecentCache<T> {
    /// Records a value and removes the oldest beyond `most`; false if it is present already.
    fn note(&mut self, value: T, most: usize) -> bool {
        if !self.known.insert(value) {
            return false;
        }
        if self.order.len() >= most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(outcome: &Result<(), TokenError>) -> bool {
        matches!(outcome, Err(TokenError::Untrusted(_)))
    }

    fn draw(seed: u8, bytes: usize) -> Vec<u8> {
        let block =
            |at: usize| digest::digest(&digest::SHA256, &[&[seed], &at.to_be_bytes()[..]].concat());
        (0..).flat_map(|at| block(at).as_ref().to_vec()).take(bytes).collect()
    }

    #[test]
    fn a_generator_that_repeats_one_byte_is_refused() {
        for byte in [0, 7, 255] {
            assert!(is_refused(&GeneratorWatch::default().check(&[byte; 16])));
            let dies = [draw(1, 4000), vec![byte; 12]].concat();
            assert!(is_refused(&GeneratorWatch::default().check_ivs(&dies)));
        }
    }

    #[test]
    fn a_draw_that_begins_like_an_earlier_one_of_any_thread_is_refused() {
        let watch = GeneratorWatch::default();
        assert!(watch.check(&draw(1, 64)).is_ok());
        assert!(watch.check_ivs(&draw(2, 4080)).is_ok());
        assert!(is_refused(&watch.check(&draw(2, 16))));
        assert!(is_refused(&watch.check_ivs(&draw(1, 4080))));
        assert!(watch.check(&draw(3, 32)).is_ok());
    }

    #[test]
    fn an_iv_that_repeats_in_a_draw_or_a_recent_one_is_refused() {
        let period = draw(1, 96).repeat(42);
        assert!(is_refused(&GeneratorWatch::default().check_ivs(&period)));
        let watch = GeneratorWatch::default();
        let first = draw(2, 4080);
        assert!(watch.check_ivs(&first).is_ok());
        let out_of_step = [&draw(3, 24), &first[120..]].concat();
        assert!(is_refused(&watch.check_ivs(&out_of_step)));
    }

    #[test]
    fn a_token_that_makes_an_iv_twice_for_a_key_is_refused() {
        let watch = GeneratorWatch::default();
        let (key, other) = (KeyVersionId::random(), KeyVersionId::random());
        let iv = |last: u8| Iv::from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, last]);
        assert!(watch.check_token_iv(key, &iv(1)).is_ok());
        assert!(watch.check_token_iv(key, &iv(2)).is_ok());
        assert!(watch.check_token_iv(other, &iv(1)).is_ok(), "a counter of each key");
        assert!(is_refused(&watch.check_token_iv(key, &iv(1))));
        assert!(is_refused(&watch.check_token_iv(key, &Iv::from([0; 12]))));
    }

    #[test]
    fn refused_draws_are_halved_down_to_256_bytes() {
        let watch = GeneratorWatch::default();
        let mut sizes = vec![watch.max_draw()];
        // An IV block is somewhat smaller than the maximum.
        while watch.halve_draws(watch.max_draw() - 4) {
            sizes.push(watch.max_draw());
        }
        assert_eq!(sizes, [4096, 2048, 1024, 512, 256]);
        let watch = GeneratorWatch::default();
        assert!(watch.halve_draws(4080) && watch.halve_draws(4080), "two threads at once");
        assert_eq!(watch.max_draw(), 2048);
        assert!(!watch.halve_draws(16));
    }

    #[test]
    fn a_healthy_generator_is_never_refused_and_memory_is_bounded() {
        let watch = GeneratorWatch::default();
        for seed in 0..200 {
            assert!(watch.check_ivs(&draw(seed, 4080)).is_ok());
            assert!(watch.check(&draw(seed, 64)[32..]).is_ok());
        }
        let memory = watch.memory.lock();
        assert_eq!((memory.ivs.known.len(), memory.ivs.order.len()), (IVS, IVS));
        assert_eq!((memory.draws.known.len(), memory.draws.order.len()), (DRAWS, DRAWS));
    }
}
