//! Who may use a key: for a report, over all requests and not for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::evaluate::{self, ApplicablePolicies};
use super::simulate::{SimulatedCaller, SimulatedRequest, UnreadablePolicy, simulate};
use crate::model::policy::{Extent, KeyPolicy, KeySet, Resource, ResourceName};
use crate::model::{
    AccessPoint, AccessPolicy, AddressRange, EncryptionContext, KeyRecord, NetworkRule,
    RegionAccount, RequestContext,
};
use crate::store::{Principal, Store};

/// The access to one key.
#[derive(Debug)]
pub struct KeyAccess<'a> {
    here: &'a RegionAccount,
    record: &'a KeyRecord,
    policy: Option<KeyPolicy>,
}

impl<'a> KeyAccess<'a> {
    /// Reads the key policy.
    ///
    /// # Errors
    /// When it cannot be parsed, so that every request for the key fails.
    pub fn new(here: &'a RegionAccount, record: &'a KeyRecord) -> Result<Self, UnreadablePolicy> {
        let policy = record.policy.as_deref().map(KeyPolicy::parse).transpose()?;
        Ok(Self { here, record, policy })
    }

    /// In how many requests a principal may perform an action with the key. Source, time and encryption
    /// context are those of the request, so a statement with a condition on them applies to some.
    pub fn of_principal(&self, principal: &Principal, action: &str) -> Extent {
        let policies = ApplicablePolicies {
            account: &self.here.account,
            principal: &principal.name,
            policies: &principal.policies,
            session: None,
            key_policy: self.policy.as_ref(),
        };
        let keys = KeySet::One {
            resource: Resource::new(self.here, ResourceName::Key(self.record.id)),
            tags: Some(&self.record.tags),
        };
        evaluate::extent(&policies, &self.here.account, action, &keys)
    }

    /// As [`KeyAccess::of_principal`], for any client key of an access point: each address that its
    /// network rules name is tried. `permission` is that of client keys for the action.
    ///
    /// # Errors
    /// When the key policy cannot be parsed.
    pub fn of_access_point(
        &self,
        store: &Store,
        point: &AccessPoint,
        action: &str,
        permission: &str,
    ) -> Result<Extent, UnreadablePolicy> {
        let resource = format!("key/{}", self.record.id);
        let context = EncryptionContext::default();
        let (mut allowed, mut is_everywhere, mut tried) = (0, false, 0);
        for source in sources(store, point) {
            let result = simulate(&SimulatedRequest {
                caller: SimulatedCaller::ClientKey {
                    store,
                    access_point: &point.name,
                    id: None,
                    permission: Some(permission),
                },
                region_account: self.here,
                action,
                resource_region_account: self.here,
                resource: &resource,
                record: Some(self.record),
                secret: None,
                role: None,
                request: RequestContext::now(source),
                tags: None,
                context: &context,
            })?;
            let policy = result.policy.filter(|_policy| result.allowed);
            let policy: Option<Arc<AccessPolicy>> = policy.and_then(|name| store.document(&name));
            tried += 1;
            allowed += usize::from(result.allowed);
            is_everywhere |= policy.is_some_and(|policy| policy.rules.network_rules.is_empty());
        }
        Ok(match allowed {
            0 => Extent::None,
            count if count == tried && is_everywhere => Extent::All,
            _ => Extent::Some,
        })
    }
}

/// The addresses to try: one that no rule names, and the first of each range of the network rules.
fn sources(store: &Store, point: &AccessPoint) -> Vec<IpAddr> {
    let mut sources = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for policy in point.policies.iter() {
        let Some(policy) = store.document::<AccessPolicy>(policy.as_str()) else { continue };
        for rule in policy.rules.network_rules.iter() {
            let Some(rule) = store.document::<NetworkRule>(rule.as_str()) else { continue };
            sources.extend(rule.source_private_ip.iter().map(AddressRange::address));
        }
    }
    sources.sort_unstable();
    sources.dedup();
    sources
}
