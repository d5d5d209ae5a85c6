//! Random bytes from the token's generator, each draw held against those before it.

use std::sync::Arc;

use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::error::TokenError;
use super::generator::{CHECKED_BYTES, GeneratorWatch};
use crate::model::IV_BYTES;

/// 340 IVs at once: one C_GenerateRandom per message costs 16 to 64 % of the throughput.
const IV_BLOCK_BYTES: usize = 340 * IV_BYTES;
/// The most that one C_GenerateRandom is asked for; NSS takes 64 KiB.
const CALL_BYTES: usize = 4096;

/// One thread's supply of random bytes.
pub(super) struct RandomSource {
    ivs: Vec<u8>,
    watch: Arc<GeneratorWatch>,
}

impl RandomSource {
    /// A supply of the generator that all threads watch together.
    pub(super) fn new(watch: &Arc<GeneratorWatch>) -> Self {
        Self { ivs: Vec::new(), watch: Arc::clone(watch) }
    }

    /// 96 random bits, never handed out twice.
    pub(super) fn iv(&mut self, session: &Session) -> Result<[u8; IV_BYTES], TokenError> {
        if self.ivs.len() < IV_BYTES {
            let mut block = vec![0; IV_BLOCK_BYTES];
            session.generate_random_slice(&mut block)?;
            self.watch.admit_ivs(&block)?;
            self.ivs = block;
        }
        let rest = self.ivs.len() - IV_BYTES;
        let mut iv = [0; IV_BYTES];
        for (to, from) in iv.iter_mut().zip(self.ivs.drain(rest..)) {
            *to = from;
        }
        Ok(iv)
    }

    /// So many random bytes for use as a secret. What is too short to be checked is cut from a
    /// longer draw.
    pub(super) fn bytes(
        &self,
        session: &Session,
        bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let mut secret = Zeroizing::new(vec![0; bytes]);
        for chunk in secret.chunks_mut(CALL_BYTES) {
            let mut draw = Zeroizing::new(vec![0; chunk.len().max(CHECKED_BYTES)]);
            session.generate_random_slice(&mut draw)?;
            self.watch.admit(&draw)?;
            for (to, from) in chunk.iter_mut().zip(draw.iter()) {
                *to = *from;
            }
        }
        Ok(secret)
    }
}
