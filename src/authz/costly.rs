//! Stored policies that could use all the steps of a decision. New ones cannot be attached; one
//! that an older version attached denies every request once the steps are used up.

use crate::model::policy::{KeyPolicy, Policy, PolicyFault};
use crate::store::{Store, StoreError};

/// A policy that could use all the steps of a decision by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostlyPolicy {
    /// The key, principal or session that it belongs to, and its name.
    pub of: String,
    /// Where the steps would be used.
    pub fault: PolicyFault,
}

/// Finds the costly policies of keys, principals and sessions.
///
/// # Errors
/// When the store cannot be read. A row that cannot be read is skipped.
pub async fn costly_policies(store: &Store) -> Result<Vec<CostlyPolicy>, StoreError> {
    let mut costly = Vec::new();
    let mut check = |of: String, cost: Result<(), PolicyFault>| {
        if let Err(fault) = cost {
            costly.push(CostlyPolicy { of, fault });
        }
    };
    for key in store.keys() {
        if let Some(policy) = key.policy.as_deref().and_then(|text| KeyPolicy::parse(text).ok()) {
            check(format!("key policy of {}", key.id), policy.check_cost());
        }
    }
    let access = store.access_state().await?;
    for principal in access.principals {
        for attached in &principal.policies {
            let of = format!("{} of {}", attached.name(), principal.name);
            check(of, attached.policy().check_cost());
        }
    }
    for key in access.keys {
        let policy = key.session.and_then(|session| session.policy);
        if let Some(policy) = policy.and_then(|text| Policy::parse(&text).ok()) {
            check(format!("session policy of {}", key.id), policy.check_cost());
        }
    }
    Ok(costly)
}

/// Logs the costly policies at the start.
///
/// # Errors
/// As [`costly_policies`].
pub async fn log_costly_policies(store: &Store) -> Result<(), StoreError> {
    for CostlyPolicy { of, fault } in costly_policies(store).await? {
        tracing::warn!(
            event = "policy.too_costly",
            policy = of,
            %fault,
            "a stored policy may need more steps than a decision has, and then denies the request"
        );
    }
    Ok(())
}
