//! The processor time of one RSA-2048 verification, which a request of the instance protocol needs.

use std::time::Duration;

use anyhow::ensure;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use hsmgate::authn::is_rsa_signature_valid;
use rustix::time::{ClockId, clock_gettime};

/// Verifications of one measurement.
const COUNT: u32 = 200;
/// As long as what a request of the instance protocol signs.
const TEXT: [u8; 350] = [b'a'; 350];

/// A signature, and the key to verify it.
pub(crate) struct Verification {
    /// As the gateway has it.
    public_key: Vec<u8>,
    signature: Vec<u8>,
}

impl Verification {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &TEXT, &mut signature)?;
        let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(Self { public_key: public_key.as_ref().to_vec(), signature })
    }

    /// The processor time of one, in this thread.
    pub(crate) fn measure(&self) -> anyhow::Result<Duration> {
        let start = thread_time()?;
        for _index in 0..COUNT {
            let is_valid = is_rsa_signature_valid(&self.public_key, &TEXT, &self.signature);
            ensure!(is_valid, "a signature is not valid");
        }
        Ok(thread_time()?.saturating_sub(start) / COUNT)
    }
}

fn thread_time() -> anyhow::Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}
