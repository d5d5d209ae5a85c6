//! Message authentication codes.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{Execution, KeyAction, Keyring, KeyringError, UsableVersion, VersionSelector};
use crate::authz::{AuthorizedKey, CanMac};
use crate::model::KeySpec;
use crate::model::algorithm::MacAlgorithm;
use crate::token::{self, Worker};

impl Keyring {
    /// Returns the version that computes MACs with this key now. A MAC does not name its version,
    /// so a MAC key has only one.
    ///
    /// # Errors
    /// When the key's state or spec forbids it.
    pub fn mac_version<'k, P: CanMac>(
        &self,
        key: &'k AuthorizedKey<P>,
        algorithm: MacAlgorithm,
    ) -> Result<UsableVersion<'k, P, token::MacAlgorithm>, KeyringError> {
        let algorithm = match (key.record().spec, algorithm) {
            (KeySpec::HmacSha224, MacAlgorithm::HmacSha224) => token::MacAlgorithm::HmacSha224,
            (KeySpec::HmacSha256, MacAlgorithm::HmacSha256) => token::MacAlgorithm::HmacSha256,
            (KeySpec::HmacSha384, MacAlgorithm::HmacSha384) => token::MacAlgorithm::HmacSha384,
            (KeySpec::HmacSha512, MacAlgorithm::HmacSha512) => token::MacAlgorithm::HmacSha512,
            _ => return Err(KeyringError::OTHER_ALGORITHM),
        };
        let version = UsableVersion::new(key, KeyAction::Cryptographic, VersionSelector::Initial)?;
        Ok(version.with(algorithm))
    }

    /// Computes the MAC of a message in the token.
    ///
    /// # Errors
    /// When the token fails.
    pub async fn mac<P: CanMac>(
        &self,
        version: &UsableVersion<'_, P, token::MacAlgorithm>,
        message: Vec<u8>,
        execution: Execution<'_>,
    ) -> Result<Vec<u8>, KeyringError> {
        let (key, algorithm) = (version.identity_for_use(), version.algorithm);
        let mac = move |worker: &mut Worker<'_>| worker.mac(key, algorithm, &message);
        Ok(self.token.run_with(key, execution.budget(), mac).await?)
    }

    /// Verifies a MAC of a message: computes it again and compares in constant time.
    ///
    /// # Errors
    /// As [`Keyring::mac`].
    pub async fn verify_mac<P: CanMac>(
        &self,
        version: &UsableVersion<'_, P, token::MacAlgorithm>,
        message: Vec<u8>,
        mac: &[u8],
        execution: Execution<'_>,
    ) -> Result<bool, KeyringError> {
        let right = self.mac(version, message, execution).await?;
        Ok(verify_slices_are_equal(&right, mac).is_ok())
    }
}
