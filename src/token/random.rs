//! Random bytes from the token's generator, with a health check.

use aws_lc_rs::digest;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::error::TokenError;
use crate::model::IV_BYTES;

/// 340 IVs at once: one C_GenerateRandom per message costs 16 to 64 % of the throughput.
const IV_BLOCK_BYTES: usize = 340 * IV_BYTES;
/// The most that one C_GenerateRandom is asked for; NSS takes 64 KiB.
const CALL_BYTES: usize = 4096;
/// From here on a healthy generator repeats one byte, or a block, with a chance under 2^-120.
const CHECKED_BYTES: usize = 16;

/// One thread's supply of random bytes.
#[derive(Default)]
pub(super) struct RandomSource {
    ivs: Vec<u8>,
    health: Health,
}

impl RandomSource {
    /// 96 random bits, never handed out twice.
    pub(super) fn iv(&mut self, session: &Session) -> Result<[u8; IV_BYTES], TokenError> {
        if self.ivs.len() < IV_BYTES {
            let mut block = vec![0; IV_BLOCK_BYTES];
            session.generate_random_slice(&mut block)?;
            self.health.check(&block)?;
            self.ivs = block;
        }
        let rest = self.ivs.len() - IV_BYTES;
        let mut iv = [0; IV_BYTES];
        for (to, from) in iv.iter_mut().zip(self.ivs.drain(rest..)) {
            *to = from;
        }
        Ok(iv)
    }

    /// So many random bytes for use as a secret.
    pub(super) fn bytes(
        &mut self,
        session: &Session,
        bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let mut secret = Zeroizing::new(vec![0; bytes]);
        for chunk in secret.chunks_mut(CALL_BYTES) {
            session.generate_random_slice(chunk)?;
            self.health.check(chunk)?;
        }
        Ok(secret)
    }
}

/// Refuses a dead generator. It can not tell a good one (D5).
#[derive(Default)]
struct Health {
    /// The digest of the block before: blocks may be secret, so none is kept.
    previous: Option<digest::Digest>,
}

impl Health {
    fn check(&mut self, block: &[u8]) -> Result<(), TokenError> {
        if block.len() < CHECKED_BYTES {
            return Ok(());
        }
        if block.windows(2).all(|pair| pair.first() == pair.last()) {
            return Err(TokenError::Untrusted("its random generator repeats one byte"));
        }
        let digest = digest::digest(&digest::SHA256, block);
        let is_repeated =
            self.previous.is_some_and(|previous| previous.as_ref() == digest.as_ref());
        self.previous = Some(digest);
        if is_repeated {
            return Err(TokenError::Untrusted("its random generator repeats a block"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_repeats_one_byte_is_refused() {
        assert!(matches!(Health::default().check(&[7; 16]), Err(TokenError::Untrusted(_))));
    }

    #[test]
    fn a_generator_that_repeats_a_block_is_refused() {
        let block: Vec<u8> = (0..32).collect();
        let mut health = Health::default();
        assert!(health.check(&block).is_ok());
        assert!(matches!(health.check(&block), Err(TokenError::Untrusted(_))));
    }

    #[test]
    fn a_few_bytes_may_be_equal_by_chance() {
        assert!(Health::default().check(&[0]).is_ok());
    }
}
