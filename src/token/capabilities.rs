//! What the token can do: its mechanism list promises it, and a test decides. The results of the
//! tests are valid until the module is initialized again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cryptoki::mechanism::MechanismType;
use parking_lot::RwLock;

use super::crypto::mechanism::{Capability, OaepHash};
use super::crypto::mechanism_details::MechanismDetails;

/// The result of the test of a capability.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TestResult {
    /// It was not tested.
    #[default]
    Untested,
    /// It works.
    Works,
    /// The token refuses it; the text is the error.
    Refused(String),
}

/// What is known of a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityStatus {
    /// Whether the token lists the mechanisms, with flags and key sizes that allow it.
    pub is_listed: bool,
    /// The result of its last test.
    pub result: TestResult,
}

/// What is known of the token's capabilities in one initialization of the module.
#[derive(Debug, Default)]
pub(super) struct Capabilities(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    mechanisms: Arc<[MechanismType]>,
    details: Arc<MechanismDetails>,
    results: HashMap<Capability, TestResult>,
    /// The hashes with which the token refuses RSAES-OAEP, while it decrypts by raw RSA.
    raw_oaep: HashSet<OaepHash>,
}

impl Capabilities {
    /// Nothing was tried yet.
    pub(super) fn new(mechanisms: Arc<[MechanismType]>, details: Arc<MechanismDetails>) -> Self {
        Self(RwLock::new(Known { mechanisms, details, ..Known::default() }))
    }

    /// Forgets all results: the module was initialized again.
    pub(super) fn reset(&self, mechanisms: Arc<[MechanismType]>, details: Arc<MechanismDetails>) {
        *self.0.write() = Known { mechanisms, details, ..Known::default() };
    }

    /// What is known of a capability.
    pub(super) fn status(&self, capability: Capability) -> CapabilityStatus {
        let known = self.0.read();
        let is_listed = capability.is_among(&known.mechanisms) && known.details.allow(capability);
        let result = known.results.get(&capability).cloned().unwrap_or_default();
        CapabilityStatus { is_listed, result }
    }

    /// Whether the mechanism list has what the capability needs, and no test has refuted it.
    pub(super) fn supports(&self, capability: Capability) -> bool {
        let known = self.0.read();
        let is_refused = matches!(known.results.get(&capability), Some(TestResult::Refused(_)));
        capability.is_among(&known.mechanisms) && !is_refused
    }

    /// Whether OAEP with this hash can be tried in the token.
    pub(super) fn has_oaep(&self, hash: OaepHash) -> bool {
        let known = self.0.read();
        known.mechanisms.contains(&MechanismType::RSA_PKCS_OAEP) && !known.raw_oaep.contains(&hash)
    }

    /// Records that the token refuses OAEP with this hash, and decrypts by raw RSA.
    pub(super) fn note_raw_oaep(&self, hash: OaepHash) {
        self.0.write().raw_oaep.insert(hash);
    }

    /// The result of its last test.
    pub(super) fn result(&self, capability: Capability) -> TestResult {
        self.0.read().results.get(&capability).cloned().unwrap_or_default()
    }

    /// Records that it works.
    pub(super) fn note_works(&self, capability: Capability) {
        if self.result(capability) != TestResult::Works {
            self.0.write().results.insert(capability, TestResult::Works);
        }
    }

    /// Records that the token refuses it, and logs that once.
    pub(super) fn note_refused(&self, capability: Capability, error: &dyn std::error::Error) {
        let result = TestResult::Refused(error.to_string());
        let before = self.0.write().results.insert(capability, result);
        if !matches!(before, Some(TestResult::Refused(_))) {
            tracing::info!(
                event = "token.capability_refused",
                capability = capability.as_str(),
                %error,
                "the token lists the mechanisms for this, and refuses it; requests that need it are \
                 refused until the token is opened again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::error::TokenError;

    #[test]
    fn a_refused_capability_stays_refused_until_the_module_is_initialized_again() {
        let listed = || Arc::from([MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]);
        let capabilities = Capabilities::new(listed(), Arc::default());
        assert!(capabilities.supports(Capability::EcP256k));
        assert!(!capabilities.supports(Capability::Rsa2048), "it is not listed");
        capabilities.note_refused(Capability::EcP256k, &TokenError::Panicked);
        assert!(!capabilities.supports(Capability::EcP256k));
        assert!(capabilities.supports(Capability::EcP256), "another curve");
        capabilities.reset(listed(), Arc::default());
        assert!(capabilities.supports(Capability::EcP256k));
        assert_eq!(capabilities.result(Capability::EcP256k), TestResult::Untested);
    }

    #[test]
    fn raw_rsa_is_used_for_a_hash_until_the_module_is_initialized_again() {
        let listed = || Arc::from([MechanismType::RSA_PKCS_OAEP]);
        let capabilities = Capabilities::new(listed(), Arc::default());
        capabilities.note_raw_oaep(OaepHash::Sha256);
        assert!(!capabilities.has_oaep(OaepHash::Sha256));
        assert!(capabilities.has_oaep(OaepHash::Sha1), "another hash");
        capabilities.reset(listed(), Arc::default());
        assert!(capabilities.has_oaep(OaepHash::Sha256));
    }
}
