//! Tests of the token's capabilities in the background.

use super::Keyring;
use crate::token::{Budget, CapabilityTest, TestResult};

impl Keyring {
    /// Tests each capability of the token that was not tested since the module was initialized,
    /// except those that need a large RSA pair: its generation may block the creation of keys for
    /// minutes. They are tested when such a key is created.
    pub async fn test_capabilities(&self) {
        for test in CapabilityTest::ALL.iter().copied().filter(|test| !test.is_slow()) {
            let is_untested = |one: &_| self.token.capability(*one).result == TestResult::Untested;
            if !test.capabilities().iter().any(is_untested) || self.token.ready().is_err() {
                continue;
            }
            let budget = Budget::new(self.timeouts.generate);
            let tested =
                self.token.change(&budget, move |worker| worker.run_capability_test(test)).await;
            if let Err(error) = tested {
                tracing::debug!(?test, %error, "could not test a capability of the token");
            }
        }
    }
}
