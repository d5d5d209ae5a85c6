//! Removes the padding of RSAES-OAEP (RFC 8017, section 7.1.2, step 3) after raw RSA in the token.
//!
//! An attacker who can distinguish one bad padding from another can decrypt (Manger 2001). So
//! nothing in this file branches on, or indexes by, decrypted data, until one result for all checks
//! is computed.

use aws_lc_rs::digest;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::mechanism::OaepHash;

/// The message in an encoded block that is as long as the modulus; `None` if it is not valid with
/// an empty label. Only the length of `encoded` and the validity are public.
pub(crate) fn unpad(hash: OaepHash, encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let algorithm = hash.digest();
    let (first, masked) = encoded.split_first()?;
    let (seed, block) = masked.split_at_checked(algorithm.output_len())?;
    let mut seed = Zeroizing::new(seed.to_vec());
    let mut block = Zeroizing::new(block.to_vec());
    unmask(algorithm, &mut seed, &block);
    unmask(algorithm, &mut block, &seed);

    let (label, padded) = block.split_at_checked(algorithm.output_len())?;
    let empty_label = digest::digest(algorithm, b"");
    let (start, is_padded) = message_start(padded);
    let is_good = first.ct_eq(&0) & label.ct_eq(empty_label.as_ref()) & is_padded;
    if !bool::from(is_good) {
        return None;
    }
    padded.get(usize::try_from(start).ok()?..).map(|message| Zeroizing::new(message.to_vec()))
}

/// The start of the message, after zeros and a one, and whether it exists.
fn message_start(padded: &[u8]) -> (u32, Choice) {
    let mut start = 0_u32;
    let mut in_zeros = Choice::from(1);
    let mut is_good = Choice::from(1);
    let mut next = 0_u32;
    for byte in padded {
        next = next.wrapping_add(1);
        let is_zero = byte.ct_eq(&0);
        let is_one = byte.ct_eq(&1);
        start.conditional_assign(&next, in_zeros & is_one);
        is_good &= !in_zeros | is_zero | is_one;
        in_zeros &= is_zero;
    }
    (start, is_good & !in_zeros)
}

/// XORs the MGF1 mask of `seed` over `target` (RFC 8017, appendix B.2.1).
fn unmask(algorithm: &'static digest::Algorithm, target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(target.chunks_mut(algorithm.output_len())) {
        let mut context = digest::Context::new(algorithm);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        for (byte, mask) in chunk.iter_mut().zip(context.finish().as_ref()) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: usize = 256;

    fn encode(hash: OaepHash, label: &[u8], separator: &[u8], message: &[u8]) -> Vec<u8> {
        let algorithm = hash.digest();
        let mut block = digest::digest(algorithm, label).as_ref().to_vec();
        let block_bytes = BLOCK_BYTES - 1 - algorithm.output_len();
        block.resize(block_bytes - separator.len() - message.len(), 0);
        block.extend_from_slice(separator);
        block.extend_from_slice(message);
        let mut seed = vec![0xa7; algorithm.output_len()];
        unmask(algorithm, &mut block, &seed);
        unmask(algorithm, &mut seed, &block);
        [vec![0], seed, block].concat()
    }

    #[test]
    fn a_message_of_any_length_is_recovered() {
        for hash in [OaepHash::Sha1, OaepHash::Sha256] {
            let longest = BLOCK_BYTES - 2 - 2 * hash.digest().output_len();
            for length in [0, 1, 32, longest] {
                let message = vec![1; length];
                let opened = unpad(hash, &encode(hash, b"", &[1], &message)).unwrap();
                assert_eq!(*opened, message);
            }
        }
    }

    #[test]
    fn every_changed_byte_is_detected() {
        let good = encode(OaepHash::Sha256, b"", &[1], b"message");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(unpad(OaepHash::Sha256, &bad).is_none(), "byte {at}");
        }
    }

    #[test]
    fn another_label_hash_separator_or_length_is_rejected() {
        let sha256 = OaepHash::Sha256;
        for bad in [
            encode(sha256, b"label", &[1], b"message"),
            encode(sha256, b"", &[2], b"message"),
            encode(sha256, b"", &[], &[0; 7]),
            encode(OaepHash::Sha1, b"", &[1], b"message"),
            Vec::new(),
            vec![0; 32],
            vec![0; 65],
        ] {
            assert!(unpad(sha256, &bad).is_none());
        }
    }
}
