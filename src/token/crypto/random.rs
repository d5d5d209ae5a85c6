//! Random bytes from the token's generator, each draw compared with previous ones and combined with
//! random bytes of the operating system at the moment of use.
//!
//! Random bytes that wait in the memory of the process are the same in every copy of that memory: a
//! virtual machine that is reverted to a snapshot, or cloned from one, would use them twice. The
//! same holds for a token whose generator runs in this process. Bytes that the kernel returns now
//! differ in each copy. The XOR of both is as good as the better source.

use std::sync::Arc;

use cryptoki::session::Session;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::model::{IV_BYTES, Iv, KeyVersionId};
use crate::token::checks::generator::{CHECKED_BYTES, GeneratorWatch, MAX_DRAW};
use crate::token::error::{ErrorClass, TokenError};

/// The maximum bytes of one request to the kernel.
const SYSTEM_BYTES: usize = 256;

/// The random bytes of one thread.
pub(crate) struct RandomSource {
    ivs: IvPool,
    watch: Arc<GeneratorWatch>,
}

/// Bytes from the token that are used as the next IVs.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
struct IvPool(Vec<u8>);

impl IvPool {
    /// The next IV; `None` if the pool is empty.
    fn next(&mut self) -> Option<Result<[u8; IV_BYTES], TokenError>> {
        let rest = self.0.len().checked_sub(IV_BYTES)?;
        let mut iv = [0; IV_BYTES];
        for (to, from) in iv.iter_mut().zip(self.0.drain(rest..)) {
            *to = from;
        }
        Some(combine_with_system(&mut iv).map(|()| iv))
    }
}

impl RandomSource {
    /// Creates a source that shares the generator check of all threads.
    pub(crate) fn new(watch: &Arc<GeneratorWatch>) -> Self {
        Self { ivs: IvPool::default(), watch: Arc::clone(watch) }
    }

    /// 96 random bits, never returned twice.
    pub(crate) fn iv(&mut self, session: &Session) -> Result<[u8; IV_BYTES], TokenError> {
        if let Some(iv) = self.ivs.next() {
            return iv;
        }
        // Up to 341 IVs at once: one C_GenerateRandom per message costs 16 to 64 % of the
        // throughput.
        let mut block = self.draw(session, MAX_DRAW)?.to_vec();
        block.truncate(block.len() / IV_BYTES * IV_BYTES);
        // The check gets the output of the token itself: combined with other bytes, a dead
        // generator would look healthy.
        self.watch.check_ivs(&block)?;
        self.ivs = IvPool(block);
        self.ivs.next().unwrap_or(Err(TokenError::Untrusted("it returned no random bytes")))
    }

    /// Checks an IV that the token made for an encryption with a key.
    pub(crate) fn check_token_iv(&self, key: KeyVersionId, iv: &Iv) -> Result<(), TokenError> {
        self.watch.check_token_iv(key, iv)
    }

    /// Random bytes for use as a secret. If too few to be checked, they are the start of a longer
    /// draw.
    pub(crate) fn bytes(
        &self,
        session: &Session,
        bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let mut secret = Zeroizing::new(Vec::with_capacity(bytes));
        while secret.len() < bytes {
            let missing = bytes - secret.len();
            let draw = self.draw(session, missing.max(CHECKED_BYTES))?;
            self.watch.check(&draw)?;
            secret.extend(draw.iter().take(missing));
        }
        combine_with_system(&mut secret)?;
        Ok(secret)
    }

    /// Draws this many bytes, or as many as the token returns in one call.
    fn draw(&self, session: &Session, most: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        loop {
            let bytes = most.min(self.watch.max_draw());
            let error = match draw_exactly(session, bytes) {
                Ok(drawn) => return Ok(drawn),
                Err(error) => error,
            };
            let is_refusal =
                matches!(error.class(), ErrorClass::BadInput | ErrorClass::Configuration);
            if !is_refusal || !self.watch.halve_draws(bytes) {
                return Err(error);
            }
        }
    }

    /// Finds the maximum bytes of a draw. `attempt` repeats a call that failed by chance; a token
    /// that refuses the size may do it with any code.
    pub(crate) fn find_max_draw(
        &self,
        attempt: impl Fn(&dyn Fn(&Session) -> Result<(), TokenError>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        self.watch.reset_draws();
        loop {
            let bytes = self.watch.max_draw();
            let drawn = attempt(&|session| self.watch.check(&draw_exactly(session, bytes)?));
            match drawn {
                Err(TokenError::Call { .. }) if self.watch.halve_draws(bytes) => {}
                drawn => return drawn,
            }
        }
    }
}

fn draw_exactly(session: &Session, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut drawn = Zeroizing::new(vec![0; bytes]);
    session.generate_random_slice(&mut drawn)?;
    Ok(drawn)
}

/// Combines bytes with as many from the kernel, by a system call: the state of a generator in user
/// space, such as that of the crypto library, would be copied with the memory.
#[expect(clippy::disallowed_methods, reason = "the source of key material and IVs")]
fn combine_with_system(bytes: &mut [u8]) -> Result<(), TokenError> {
    let mut system = Zeroizing::new([0; SYSTEM_BYTES]);
    for chunk in bytes.chunks_mut(SYSTEM_BYTES) {
        let Some(drawn) = system.get_mut(..chunk.len()) else { continue };
        // The kernel returns up to 256 bytes as a whole (getrandom(2)).
        let count = getrandom(&mut *drawn, GetRandomFlags::empty())
            .map_err(|error| TokenError::SystemRandom(error.into()))?;
        if count != chunk.len() {
            return Err(TokenError::SystemRandom(std::io::ErrorKind::UnexpectedEof.into()));
        }
        for (to, from) in chunk.iter_mut().zip(drawn.iter()) {
            *to ^= *from;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all(mut pool: IvPool) -> HashSet<[u8; IV_BYTES]> {
        std::iter::from_fn(|| pool.next()).map(Result::unwrap).collect()
    }

    #[test]
    fn two_copies_of_one_pool_share_no_iv() {
        let block: Vec<u8> = (0..=255_u8).cycle().take(340 * IV_BYTES).collect();
        let pool = IvPool(block);
        let (one, other) = (all(pool.clone()), all(pool));
        assert_eq!((one.len(), other.len()), (340, 340));
        assert!(one.is_disjoint(&other));
    }

    #[test]
    fn a_million_ivs_from_copies_of_the_same_bytes_of_the_token_are_all_different() {
        let count =
            if std::env::var_os("HSMGATE_TORTURE").is_some() { 10_000_000 } else { 1_000_000 };
        let block = [0x5a; 340 * IV_BYTES];
        let mut ivs = Vec::with_capacity(count);
        while ivs.len() < count {
            let mut pool = IvPool(block.to_vec());
            ivs.extend(std::iter::from_fn(|| pool.next()).map(Result::unwrap));
        }
        let drawn = ivs.len();
        ivs.sort_unstable();
        ivs.dedup();
        assert_eq!(ivs.len(), drawn);
    }

    #[test]
    fn every_byte_of_a_secret_is_combined() {
        for bytes in [1, 255, 256, 257, 4097] {
            // In 40 tries no byte stays unchanged by chance (2^-320).
            let mut changed = vec![false; bytes];
            for _try in 0..40 {
                let mut secret = vec![0x5a; bytes];
                combine_with_system(&mut secret).unwrap();
                let differs = secret.iter().map(|byte| *byte != 0x5a);
                changed.iter_mut().zip(differs).for_each(|(known, now)| *known |= now);
            }
            assert!(changed.iter().all(|changed| *changed), "{bytes}");
        }
    }
}
