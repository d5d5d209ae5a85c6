//! A caller hands out only permissions that it has.
//!
//! Access documents refer to each other by names, which are resolved when a client key is used.
//! Therefore the check is made by every operation with which a permission can take effect, whatever
//! the order in which the documents are created.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::access_point::{SECRET_ACTIONS, granted_actions, permits_key_use, permits_secret_use};
use super::evaluate::{ApplicablePolicies, may_always};
use super::{AuthorizationRequest, Authorizer};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::{KeySet, Resource, ResourceName};
use crate::model::{
    AccessName, AccessPoint, AccessPolicy, AccessResource, KeyRecord, PrincipalKind, SecretRecord,
};

/// A change after which client keys may have more permissions.
#[derive(Debug, Clone, Copy)]
pub enum AccessChange<'a> {
    /// A policy will have this content: for every access point that names it.
    Policy(&'a AccessPolicy),
    /// An access point will have this content.
    AccessPoint(&'a AccessPoint),
    /// This access point gets another client key.
    ClientKey(&'a AccessName),
}

impl Authorizer {
    /// Checks that the caller may do everything that the client keys of each concerned access point
    /// could do after a change: every action of `CryptoServiceKeyUser` with every key of their
    /// policies, and of `CryptoServiceSecretUser` with every secret, in every request. The root may do it
    /// in any case.
    ///
    /// Must be called in the transaction of the change: otherwise two changes could together grant
    /// what neither of them was checked for.
    ///
    /// # Errors
    /// `Forbidden.NoPermission`, whose message names an access point, a resource and an action.
    pub fn check_grant(
        &self,
        request: &AuthorizationRequest<'_>,
        change: AccessChange<'_>,
    ) -> Result<(), ApiError> {
        let policies = request.applicable_policies();
        if policies.principal.kind() == PrincipalKind::Root && policies.session.is_none() {
            return Ok(());
        }
        for (resource, point) in self.resources_after(change) {
            if let Some(action) = self.missing_permission(&policies, &resource)? {
                return Err(beyond(&point, &resource, action));
            }
        }
        Ok(())
    }

    /// Whether the client keys of a concerned access point could use keys by a pattern after a
    /// change, such as `key/*`.
    pub fn grants_key_patterns(&self, change: AccessChange<'_>) -> bool {
        let resources = self.resources_after(change);
        resources.keys().any(|resource| matches!(resource, AccessResource::KeyPrefix(_)))
    }

    /// The keys that the client keys of the concerned access points could use after a change, each
    /// with one of these access points.
    fn resources_after(&self, change: AccessChange<'_>) -> BTreeMap<AccessResource, AccessName> {
        let mut resources = BTreeMap::new();
        let mut add = |point: &AccessPoint| {
            for name in point.policies.iter() {
                let stored = self.store.document::<AccessPolicy>(name.as_str());
                let policy = match change {
                    AccessChange::Policy(changed) if changed.name == *name => Some(changed),
                    _ => stored.as_deref(),
                };
                let Some(policy) = policy else { continue };
                let (keys, secrets) = (permits_key_use(policy), permits_secret_use(policy));
                let is_granted =
                    |one: &&AccessResource| if one.is_secret() { secrets } else { keys };
                let of_policy = policy.resources.iter().filter(is_granted).cloned();
                resources.extend(of_policy.map(|resource| (resource, point.name.clone())));
            }
        };
        match change {
            AccessChange::Policy(policy) => {
                let names_it = |point: &&AccessPoint| point.policies.contains(&policy.name);
                let points = self.store.documents::<AccessPoint>();
                points.iter().map(|point| &**point).filter(names_it).for_each(add);
            }
            AccessChange::AccessPoint(point) => add(point),
            AccessChange::ClientKey(name) => {
                self.store
                    .document::<AccessPoint>(name.as_str())
                    .iter()
                    .for_each(|point| add(point));
            }
        }
        resources
    }

    /// The first action that the caller may not always perform with the keys of a resource.
    fn missing_permission(
        &self,
        policies: &ApplicablePolicies<'_>,
        resource: &AccessResource,
    ) -> Result<Option<&'static str>, ApiError> {
        match resource {
            AccessResource::Key(name) => {
                let record = name.parse().ok().and_then(|id| self.store.key(id));
                self.missing_on_key(policies, name, record.as_deref())
            }
            AccessResource::KeyPrefix(start) => {
                let prefix = self.region_account.arn(format_args!("key/{start}"));
                let missing = self.missing(policies, &KeySet::Prefix(prefix), granted_actions());
                if missing.is_some() {
                    return Ok(missing);
                }
                // The caller's policies allow every key; the policy of a key may deny it.
                let of_prefix = |key: &&KeyRecord| key.id.as_str().starts_with(&**start);
                for key in self.store.keys().iter().map(|key| &**key).filter(of_prefix) {
                    if key.policy.is_some() {
                        let missing = self.missing_on_key(policies, key.id.as_str(), Some(key))?;
                        if missing.is_some() {
                            return Ok(missing);
                        }
                    }
                }
                Ok(None)
            }
            AccessResource::Secret(name) => {
                let named = |secret: &&Arc<SecretRecord>| secret.name.as_str() == &**name;
                let secrets = self.store.secrets();
                self.missing_on_secret(policies, name, secrets.iter().find(named).map(|one| &**one))
            }
            AccessResource::SecretPrefix(start) => self.missing_on_secrets(policies, start),
        }
    }

    fn missing_on_key(
        &self,
        policies: &ApplicablePolicies<'_>,
        name: &str,
        record: Option<&KeyRecord>,
    ) -> Result<Option<&'static str>, ApiError> {
        let key_policy = self.key_policy(record)?;
        let policies = ApplicablePolicies { key_policy: key_policy.as_ref(), ..*policies };
        let name = format!("key/{name}");
        let keys = KeySet::One {
            resource: Resource::new(&self.region_account, ResourceName::Other(&name)),
            tags: record.map(|record| &record.tags),
        };
        Ok(self.missing(&policies, &keys, granted_actions()))
    }

    fn missing_on_secrets(
        &self,
        policies: &ApplicablePolicies<'_>,
        start: &str,
    ) -> Result<Option<&'static str>, ApiError> {
        let prefix = self.region_account.arn(format_args!("secret/{start}"));
        let missing = self.missing(policies, &KeySet::Prefix(prefix), SECRET_ACTIONS);
        if missing.is_some() {
            return Ok(missing);
        }
        // The caller's policies allow every secret; the policy of a secret may deny it.
        for secret in self.store.secrets() {
            if secret.policy.is_some() && secret.name.as_str().starts_with(start) {
                let missing =
                    self.missing_on_secret(policies, secret.name.as_str(), Some(&secret))?;
                if missing.is_some() {
                    return Ok(missing);
                }
            }
        }
        Ok(None)
    }

    fn missing_on_secret(
        &self,
        policies: &ApplicablePolicies<'_>,
        name: &str,
        record: Option<&SecretRecord>,
    ) -> Result<Option<&'static str>, ApiError> {
        let policy = record.map(|record| self.secret_policy(record)).transpose()?.flatten();
        let policies = ApplicablePolicies { key_policy: policy.as_ref(), ..*policies };
        let name = format!("secret/{name}");
        let secrets = KeySet::One {
            resource: Resource::new(&self.region_account, ResourceName::Other(&name)),
            tags: record.map(|record| &record.tags),
        };
        Ok(self.missing(&policies, &secrets, SECRET_ACTIONS))
    }

    fn missing(
        &self,
        policies: &ApplicablePolicies<'_>,
        keys: &KeySet<'_>,
        actions: impl IntoIterator<Item = &'static str>,
    ) -> Option<&'static str> {
        let may = |action: &&str| may_always(policies, &self.region_account.account, action, keys);
        actions.into_iter().find(|action| !may(action))
    }
}

fn beyond(point: &AccessName, resource: &AccessResource, action: &str) -> ApiError {
    let code = ErrorCode::NoPermission;
    let text = code.message();
    let message = format!(
        "{text} The client keys of access point {point} could then use {action} with {resource}, \
         which the caller itself may not use with each of these resources under all conditions."
    );
    ApiError::with_message(code, message)
}
