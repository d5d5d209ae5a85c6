//! Random values of this process: UUIDs, nonces, PINs, passwords. `clippy.toml` forbids drawing them
//! elsewhere. Key material, IVs, AccessKeys and session tokens come from the token
//! (`token::crypto::random`). The crypto library generates key pairs that are returned to a caller
//! (`keyring::data_key_pair`, `authn::client_key::issue`).

#![expect(clippy::disallowed_methods, reason = "random values are made here")]

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A UUID of version 4: 122 random bits, read from the operating system at each call, so that two
/// copies of one memory (a virtual machine that is restored twice) never make the same one.
pub fn uuid() -> Uuid {
    Uuid::new_v4()
}

/// Random bytes for a secret. They are overwritten when dropped.
///
/// # Errors
/// When the generator of the crypto library fails.
pub fn secret<const BYTES: usize>() -> Result<Zeroizing<[u8; BYTES]>, Unspecified> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    rand::fill(&mut *bytes)?;
    Ok(bytes)
}
