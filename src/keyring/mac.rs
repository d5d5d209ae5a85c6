//! Message authentication codes.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{Keyring, KeyringError, Use, identity, state};
use crate::authz::{AuthorizedKey, Macs};
use crate::error::ErrorCode;
use crate::model::algorithm::MacAlgorithm;
use crate::model::{KeyRecord, KeySpec};
use crate::token::{self, Budget, KeyIdentity};

impl Keyring {
    /// The MAC of a message, made in the token.
    ///
    /// # Errors
    /// When the key's state or spec forbids it, or the token fails.
    pub async fn mac<P: Macs>(
        &self,
        key: &AuthorizedKey<P>,
        algorithm: MacAlgorithm,
        message: Vec<u8>,
        budget: &Budget,
    ) -> Result<Vec<u8>, KeyringError> {
        let (version, algorithm) = mac_version(key.record(), algorithm)?;
        Ok(self
            .token
            .run_with(version, budget, move |worker| worker.mac(version, algorithm, &message))
            .await?)
    }

    /// Whether a MAC is the key's over the message: it is made anew and compared in constant
    /// time.
    ///
    /// # Errors
    /// As [`Keyring::mac`].
    pub async fn verify_mac<P: Macs>(
        &self,
        key: &AuthorizedKey<P>,
        algorithm: MacAlgorithm,
        message: Vec<u8>,
        mac: &[u8],
        budget: &Budget,
    ) -> Result<bool, KeyringError> {
        let right = self.mac(key, algorithm, message, budget).await?;
        Ok(verify_slices_are_equal(&right, mac).is_ok())
    }

    /// Whether the two above would be let through to the token.
    ///
    /// # Errors
    /// As they.
    pub fn check_mac<P: Macs>(
        &self,
        key: &AuthorizedKey<P>,
        algorithm: MacAlgorithm,
    ) -> Result<(), KeyringError> {
        mac_version(key.record(), algorithm).map(drop)
    }
}

/// The version that makes MACs. A MAC names no version, so a MAC key has just one.
fn mac_version(
    record: &KeyRecord,
    algorithm: MacAlgorithm,
) -> Result<(KeyIdentity, token::MacAlgorithm), KeyringError> {
    let algorithm = match (record.spec, algorithm) {
        (KeySpec::HmacSha224, MacAlgorithm::HmacSha224) => token::MacAlgorithm::HmacSha224,
        (KeySpec::HmacSha256, MacAlgorithm::HmacSha256) => token::MacAlgorithm::HmacSha256,
        (KeySpec::HmacSha384, MacAlgorithm::HmacSha384) => token::MacAlgorithm::HmacSha384,
        (KeySpec::HmacSha512, MacAlgorithm::HmacSha512) => token::MacAlgorithm::HmacSha512,
        _ => {
            return Err(KeyringError::NotForKey(
                "The parameter \"Algorithm\" does not go with the KeySpec of the key",
            ));
        }
    };
    state::check(record.state, Use::Cryptographic)?;
    let version = record.live_versions().next().ok_or(ErrorCode::KeyUnavailable)?;
    Ok((identity(record, version), algorithm))
}
