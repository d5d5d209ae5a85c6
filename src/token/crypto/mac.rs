//! HMAC.

use super::mechanism::MacAlgorithm;
use crate::token::error::TokenError;
use crate::token::objects::name::KeyIdentity;
use crate::token::worker::Worker;

impl Worker<'_> {
    /// The MAC of a message, as long as the hash. To verify a MAC, compute it again and compare in
    /// constant time.
    ///
    /// # Errors
    /// `NotFound` when the key is not in the token, and other
    /// [`TokenError`](crate::token::TokenError)s.
    pub fn mac(
        &mut self,
        key: KeyIdentity,
        algorithm: MacAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let handle = worker.handles(key)?.preferred();
            let mac = worker.session()?.sign(&algorithm.mechanism(), handle, message)?;
            if mac.len() != algorithm.bytes() {
                return Err(TokenError::Untrusted("its MACs have a wrong length"));
            }
            Ok(mac)
        })
    }
}
