//! Users and roles: the principals of AccessKeys and temporary credentials.

use super::access_key::{AccessKeyError, CredentialStore};
use crate::model::policy::AttachedPolicy;
use crate::model::{PrincipalDetails, PrincipalName, clock};
use crate::store::{Principal, Store, StoreError};

impl CredentialStore {
    /// Creates a principal with these policies, unless it exists: it then keeps its own.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure_principal(
        &self,
        name: &PrincipalName,
        policies: Vec<AttachedPolicy>,
    ) -> Result<(), AccessKeyError> {
        match create_principal(&self.store, name, policies).await {
            Err(AccessKeyError::PrincipalExists(_)) => Ok(()),
            done => {
                done?;
                self.refresh().await
            }
        }
    }

    /// Attaches a policy, as [`attach_policy`] does.
    ///
    /// # Errors
    /// When the principal does not exist, or the store fails.
    pub async fn attach(
        &self,
        name: &PrincipalName,
        policy: AttachedPolicy,
    ) -> Result<(), AccessKeyError> {
        attach_policy(&self.store, name, policy).await?;
        self.refresh().await
    }
}

/// Creates a principal with these policies.
///
/// # Errors
/// When its name is taken, or the store fails.
pub async fn create_principal(
    store: &Store,
    name: &PrincipalName,
    policies: Vec<AttachedPolicy>,
) -> Result<(), AccessKeyError> {
    let row = Principal::new(name.clone(), policies, clock::now());
    match store.insert_principal(row).await {
        Err(StoreError::Exists) => Err(AccessKeyError::PrincipalExists(name.clone())),
        done => Ok(done?),
    }
}

/// Attaches a policy, and replaces one with the same name.
///
/// # Errors
/// When the principal does not exist, or the store fails.
pub async fn attach_policy(
    store: &Store,
    name: &PrincipalName,
    policy: AttachedPolicy,
) -> Result<(), AccessKeyError> {
    let change = store.change_policies(name, |policies| {
        policies.retain(|other| other.name() != policy.name());
        policies.push(policy);
        Ok::<_, StoreError>(())
    });
    found(name, change.await)
}

/// Passes a principal's details to `change` and stores the result.
///
/// # Errors
/// When the principal does not exist, or the store fails.
pub async fn change_principal_details(
    store: &Store,
    name: &PrincipalName,
    change: impl FnOnce(&mut PrincipalDetails) + Send,
) -> Result<(), AccessKeyError> {
    found(name, store.change_principal_details(name, change).await)
}

fn found<T>(name: &PrincipalName, outcome: Result<T, StoreError>) -> Result<T, AccessKeyError> {
    outcome.map_err(|error| match error {
        StoreError::NotFound => AccessKeyError::PrincipalNotFound(name.clone()),
        other => other.into(),
    })
}
