//! Rate limits of cryptographic operations, for each account and for each principal.
//!
//! A principal's calls count on arrival, so that a principal whose calls are rejected uses its own
//! limit. The account's calls count after authorization: a caller without permission cannot use up
//! the limit of authorized callers.
//!
//! The gateways of a cluster divide the limits: a call counts at its gateway as one for each gateway.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, PrincipalKind};
use crate::store::LiveGateways;
use crate::telemetry::{Limit, Throttled};

/// The setting for the account limit.
const PER_ACCOUNT: &str = "limits.calls_per_second";
/// The setting for the principal limit.
const PER_PRINCIPAL: &str = "limits.calls_per_second_per_principal";

/// Calls a second for one cryptographic operation; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallRates {
    /// Of an account.
    pub per_account: Option<NonZeroU32>,
    /// Of a user, a role or an access point.
    pub per_principal: Option<NonZeroU32>,
}

/// The limits of all accounts and principals. Their number is limited by that in the store.
#[derive(Debug, Default)]
pub struct CallLimits {
    accounts: Option<Limiter<(AccountId, &'static str)>>,
    principals: Option<Limiter<(PrincipalKind, Arc<str>, &'static str)>>,
    gateways: LiveGateways,
    throttled: Throttled,
}

#[derive(Debug)]
struct Limiter<K: std::hash::Hash + Eq + Clone> {
    rate: NonZeroU32,
    calls: DefaultKeyedRateLimiter<K>,
}

impl CallLimits {
    /// Creates limits with these rates, which these gateways divide.
    pub fn new(rates: CallRates, gateways: LiveGateways, throttled: Throttled) -> Self {
        Self {
            accounts: rates.per_account.map(Limiter::new),
            principals: rates.per_principal.map(Limiter::new),
            gateways,
            throttled,
        }
    }

    /// Counts a call of an operation against its principal.
    ///
    /// # Errors
    /// `Rejected.Throttling`, whose message names the setting.
    pub fn charge_principal(
        &self,
        caller: &Caller,
        operation: &'static str,
    ) -> Result<(), ApiError> {
        let Some(limiter) = &self.principals else { return Ok(()) };
        let principal = (caller.principal.name.kind(), Arc::clone(&caller.user), operation);
        if limiter.allows(&principal, &self.gateways) {
            return Ok(());
        }
        self.throttled.count(Limit::principal_calls);
        Err(exceeded(PER_PRINCIPAL, limiter.rate, "a principal"))
    }

    /// Counts an authorized call of an operation against the account of its caller.
    ///
    /// # Errors
    /// `Rejected.Throttling`, whose message names the setting.
    pub(super) fn charge_account(
        &self,
        caller: &Caller,
        operation: &'static str,
    ) -> Result<(), ApiError> {
        let Some(limiter) = &self.accounts else { return Ok(()) };
        if limiter.allows(&(caller.account.clone(), operation), &self.gateways) {
            return Ok(());
        }
        self.throttled.count(Limit::calls);
        Err(exceeded(PER_ACCOUNT, limiter.rate, "an account"))
    }
}

impl<K: std::hash::Hash + Eq + Clone> Limiter<K> {
    fn new(rate: NonZeroU32) -> Self {
        Self { rate, calls: RateLimiter::hashmap(Quota::per_second(rate)) }
    }

    fn allows(&self, key: &K, gateways: &LiveGateways) -> bool {
        // With more gateways than calls a second, each gateway allows one call.
        let share = gateways.count().min(self.rate);
        matches!(self.calls.check_key_n(key, share), Ok(Ok(())))
    }
}

fn exceeded(setting: &str, rate: NonZeroU32, whose: &str) -> ApiError {
    let code = ErrorCode::Throttling;
    let text = code.message();
    let message =
        format!("{text}: {setting} allows {whose} {rate} calls a second of an operation.");
    ApiError::with_message(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_divide_a_limit() {
        let rate = NonZeroU32::new(6).unwrap();
        for (count, allowed) in [(1, 6), (2, 3), (4, 1), (9, 1)] {
            let (gateways, limiter) = (LiveGateways::default(), Limiter::new(rate));
            gateways.set(count);
            let calls = (0..20).filter(|_call| limiter.allows(&"a", &gateways));
            assert_eq!(calls.count(), allowed, "{count} gateways");
        }
    }
}
