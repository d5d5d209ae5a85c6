//! Tests of the token's capabilities in the background.

use std::time::Duration;

use super::Keyring;
use crate::token::{Budget, CapabilityTest, TestResult};

/// If the test with a pair of 2,048 bits takes longer, larger ones are not generated for a test: they
/// take ten times as long on average, and the creation of keys waits.
const MAX_PAIR_TIME: Duration = Duration::from_secs(2);
/// The time between two looks at the queue of keys to be created.
const QUEUE_INTERVAL: Duration = Duration::from_secs(1);

impl Keyring {
    /// Tests each capability of the token that was not tested since the module was initialized. Those
    /// that need a large RSA pair are tested at the end, if the token generates pairs fast, and while
    /// no other key is waiting to be created.
    pub async fn test_capabilities(&self) {
        let mut has_fast_pairs = true;
        for test in CapabilityTest::ALL.iter().copied() {
            if test.is_slow() {
                if !has_fast_pairs {
                    continue;
                }
                self.wait_for_changes().await;
            }
            let took = self.test_capability(test).await;
            if matches!(test, CapabilityTest::WrappingPair | CapabilityTest::SigningPair) {
                has_fast_pairs &= took.is_some_and(|took| took <= MAX_PAIR_TIME);
            }
        }
    }

    /// Returns how long the test took; `None` if it was not made, or failed without a result.
    async fn test_capability(&self, test: CapabilityTest) -> Option<Duration> {
        let is_untested = |one: &_| self.token.capability(*one).result == TestResult::Untested;
        if !test.capabilities().iter().any(is_untested) || self.token.ready().is_err() {
            return None;
        }
        let budget = Budget::new(self.timeouts.generate);
        let tested =
            self.token.change(&budget, move |worker| worker.run_capability_test(test)).await;
        match tested {
            Ok(()) => Some(budget.spent()),
            Err(error) => {
                tracing::debug!(?test, %error, "could not test a capability of the token");
                None
            }
        }
    }

    async fn wait_for_changes(&self) {
        while self.token.load().waiting_changes > 0 {
            tokio::time::sleep(QUEUE_INTERVAL).await;
        }
    }
}
