//! Rate limits of cryptographic operations, for each account and for each principal.
//!
//! A principal's calls count on arrival, so that a principal whose calls are rejected uses its own
//! limit. The account's calls count after authorization: a caller without permission cannot use up
//! the limit of authorized callers.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::model::{AccountId, PrincipalKind};
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
    throttled: Throttled,
}

#[derive(Debug)]
struct Limiter<K: std::hash::Hash + Eq + Clone> {
    rate: NonZeroU32,
    calls: DefaultKeyedRateLimiter<K>,
}

impl CallLimits {
    /// Creates limits with these rates.
    pub fn new(rates: CallRates, throttled: Throttled) -> Self {
        Self {
            accounts: rates.per_account.map(Limiter::new),
            principals: rates.per_principal.map(Limiter::new),
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
        if limiter.allows(&principal) {
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
        if limiter.allows(&(caller.account.clone(), operation)) {
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

    fn allows(&self, key: &K) -> bool {
        self.calls.check_key(key).is_ok()
    }
}

fn exceeded(setting: &str, rate: NonZeroU32, whose: &str) -> ApiError {
    let code = ErrorCode::Throttling;
    let text = code.message();
    let message =
        format!("{text}: {setting} allows {whose} {rate} calls a second of an operation.");
    ApiError::with_message(code, message)
}
