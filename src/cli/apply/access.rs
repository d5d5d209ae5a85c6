//! Network rules, policies and access points of client keys.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entry::{Difference, SeedEntry, Work};
use super::values::{Description, NamedKey};
use crate::cli::exit::CliError;
use crate::config::Duty;
use crate::model::{
    AccessName, AccessPoint, AccessPolicy, AccessResource, AddressRange, NetworkRule,
    PermissionTemplate,
};
use crate::ops::access::access_points::create_application_access_point::CreateApplicationAccessPoint;
use crate::ops::access::access_points::update_application_access_point::UpdateApplicationAccessPoint;
use crate::ops::access::network_rules::create_network_rule::CreateNetworkRule;
use crate::ops::access::network_rules::update_network_rule::UpdateNetworkRule;
use crate::ops::access::policies::create_policy::CreatePolicy;
use crate::ops::access::policies::update_policy::UpdatePolicy;

/// Addresses from which client keys may be used.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct NetworkRuleEntry {
    pub(super) name: AccessName,
    pub(super) sources: Vec<AddressRange>,
    pub(super) description: Option<Description>,
}

/// What client keys may do with which keys and secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct AccessPolicyEntry {
    pub(super) name: AccessName,
    pub(super) permissions: Vec<PermissionTemplate>,
    pub(super) resources: Vec<NamedResource>,
    pub(super) network_rules: Vec<AccessName>,
    pub(super) description: Option<Description>,
}

/// A resource of a policy, before its alias is resolved.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum NamedResource {
    /// A key by its alias, and whether the same file makes it.
    Alias(NamedKey, bool),
    /// As in the API.
    Resource(AccessResource),
}

/// An access point.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct AccessPointEntry {
    pub(super) name: AccessName,
    pub(super) policies: Vec<AccessName>,
    pub(super) description: Option<Description>,
}

/// The description, if it has to be changed.
fn other_description<'a>(
    wanted: Option<&'a Description>,
    now: &str,
    difference: &mut Difference,
) -> Option<(&'static str, &'a str)> {
    let wanted = wanted.map(Description::as_str).filter(|wanted| *wanted != now)?;
    difference.change("description");
    Some(("Description", wanted))
}

/// The parameter of a new object.
fn description(wanted: Option<&Description>) -> (&'static str, &str) {
    ("Description", wanted.map(Description::as_str).unwrap_or_default())
}

impl SeedEntry for NetworkRuleEntry {
    const NAME: &'static str = "apply network-rule";
    const DUTY: Duty = Duty::Principals;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let sources: Vec<_> = self.sources.iter().map(ToString::to_string).collect();
        vec![("Name", self.name.to_string()), ("SourcePrivateIp", sources.join(","))]
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        let mut difference = Difference::of(format!("network rule {}", self.name));
        let sources = serde_json::to_string(&self.sources)?;
        let name = ("Name", self.name.as_str());
        let Some(stored) = work.store().document::<NetworkRule>(self.name.as_str()) else {
            difference = difference.create();
            let new = [name, ("Type", "Private"), ("SourcePrivateIp", &*sources)];
            let new = [&new[..], &[description(self.description.as_ref())]].concat();
            work.call::<CreateNetworkRule>(&new).await?;
            return Ok(vec![difference]);
        };
        let mut change = vec![name];
        if *self.sources != **stored.source_private_ip {
            difference.change("sources");
            change.push(("SourcePrivateIp", &sources));
        }
        let wanted = self.description.as_ref();
        change.extend(other_description(wanted, &stored.description, &mut difference));
        if difference.is_change() {
            work.call::<UpdateNetworkRule>(&change).await?;
        }
        Ok(vec![difference])
    }
}

impl SeedEntry for AccessPolicyEntry {
    const NAME: &'static str = "apply access-policy";
    const DUTY: Duty = Duty::Principals;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let resources: Vec<_> = self.resources.iter().map(NamedResource::in_words).collect();
        vec![("Name", self.name.to_string()), ("Resources", resources.join(","))]
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        let mut difference = Difference::of(format!("access policy {}", self.name));
        let resources = self.resources.iter().map(|one| one.resolved(work));
        let resources = resources.collect::<anyhow::Result<Vec<_>>>()?;
        // In a plan, a key that is not there yet has no id.
        let resources: Option<Vec<AccessResource>> = resources.into_iter().collect();
        let in_json = serde_json::to_string(&resources.clone().unwrap_or_default())?;
        let permissions = serde_json::to_string(&self.permissions)?;
        let rules = json!({"NetworkRules": self.network_rules}).to_string();
        let name = ("Name", self.name.as_str());
        let Some(stored) = work.store().document::<AccessPolicy>(self.name.as_str()) else {
            let new = [
                name,
                ("Permissions", &*permissions),
                ("Resources", &*in_json),
                ("AccessControlRules", &*rules),
                description(self.description.as_ref()),
            ];
            work.call::<CreatePolicy>(&new).await?;
            return Ok(vec![difference.create()]);
        };
        let mut change = vec![name];
        if !have_same(&self.permissions, &stored.permissions) {
            difference.change("permissions");
            change.push(("Permissions", &permissions));
        }
        if resources.is_none_or(|wanted| !have_same(&wanted, &stored.resources)) {
            difference.change("resources");
            change.push(("Resources", &in_json));
        }
        if !have_same(&self.network_rules, &stored.rules.network_rules) {
            difference.change("network rules");
            change.push(("AccessControlRules", &rules));
        }
        let wanted = self.description.as_ref();
        change.extend(other_description(wanted, &stored.description, &mut difference));
        if difference.is_change() {
            work.call::<UpdatePolicy>(&change).await?;
        }
        Ok(vec![difference])
    }
}

/// Whether two lists have the same items, in any order.
fn have_same<T: Ord>(one: &[T], other: &[T]) -> bool {
    one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}

impl NamedResource {
    /// As in the API. `None` for a key that a plan does not create.
    fn resolved(&self, work: &Work<'_>) -> anyhow::Result<Option<AccessResource>> {
        let (key, is_in_file) = match self {
            Self::Resource(resource) => return Ok(Some(resource.clone())),
            Self::Alias(key, is_in_file) => (key, *is_in_file),
        };
        let id = match key {
            NamedKey::Id(id) => Some(*id),
            NamedKey::Alias(alias) => work.store().alias_target(alias),
        };
        match id {
            Some(id) => Ok(Some(AccessResource::Key(id.as_str().into()))),
            None if work.is_plan() && is_in_file => Ok(None),
            None => Err(CliError::NotFound(format!("{key} does not exist")).into()),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Alias(key, _is_in_file) => key.to_string(),
            Self::Resource(resource) => resource.to_string(),
        }
    }
}

impl SeedEntry for AccessPointEntry {
    const NAME: &'static str = "apply access-point";
    const DUTY: Duty = Duty::Principals;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let policies: Vec<_> = self.policies.iter().map(AccessName::as_str).collect();
        vec![("Name", self.name.to_string()), ("Policies", policies.join(","))]
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        let mut difference = Difference::of(format!("access point {}", self.name));
        let policies = serde_json::to_string(&self.policies)?;
        let name = ("Name", self.name.as_str());
        let Some(stored) = work.store().document::<AccessPoint>(self.name.as_str()) else {
            let new = [name, ("Policies", &*policies), description(self.description.as_ref())];
            work.call::<CreateApplicationAccessPoint>(&new).await?;
            return Ok(vec![difference.create()]);
        };
        let mut change = vec![name];
        if !have_same(&self.policies, &stored.policies) {
            difference.change("policies");
            change.push(("Policies", &policies));
        }
        let wanted = self.description.as_ref();
        change.extend(other_description(wanted, &stored.description, &mut difference));
        if difference.is_change() {
            work.call::<UpdateApplicationAccessPoint>(&change).await?;
        }
        Ok(vec![difference])
    }
}
