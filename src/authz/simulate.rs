//! Simulates a decision, and returns the statement that decided.

use std::collections::BTreeMap;

use serde::Serialize;

use super::access_point::{ClientKeyRequest, allowing_policy, allowing_secret_policy, names_of};
use super::evaluate::{
    ApplicablePolicies, Decision, MatchedStatement, PolicyType, decide, decide_client_key,
};
use crate::authn::{Principal, decide_trust};
use crate::model::policy::{
    ASSUME_ROLE, Effect, KeyPolicy, Policy, PolicyFault, PolicyRequest, Resource, ResourceName,
    Statement, Trust, TrustCaller, TrustValues,
};
use crate::model::{
    AccessName, AccessPolicy, ClientKeyId, EncryptionContext, IdentityProvider, KeyRecord,
    PrincipalKind, PrincipalName, RegionAccount, RequestContext, SecretRecord, TagKey, TagValue,
};
use crate::store::Store;

const KEY_POLICY: &str = "key policy";
const SECRET_POLICY: &str = "secret policy";
const TRUST_POLICY: &str = "trust policy";

/// A simulated request.
pub struct SimulatedRequest<'a> {
    /// The requester.
    pub caller: SimulatedCaller<'a>,
    /// The requester's account, and the region.
    pub region_account: &'a RegionAccount,
    /// The action.
    pub action: &'a str,
    /// Region and account of the resource.
    pub resource_region_account: &'a RegionAccount,
    /// The resource, for instance `key/<key id>`.
    pub resource: &'a str,
    /// The key, if it exists.
    pub record: Option<&'a KeyRecord>,
    /// The secret, if it exists.
    pub secret: Option<&'a SecretRecord>,
    /// The role, if the resource is one.
    pub role: Option<SimulatedRole<'a>>,
    /// The source and time of the request.
    pub request: RequestContext,
    /// Tags instead of those of the key or the secret.
    pub tags: Option<&'a BTreeMap<TagKey, TagValue>>,
    /// The encryption context.
    pub context: &'a EncryptionContext,
}

/// The role of a simulated request.
#[derive(Clone, Copy)]
pub struct SimulatedRole<'a> {
    /// Its name.
    pub name: &'a PrincipalName,
    /// The role, if it exists.
    pub found: Option<&'a Principal>,
    /// What the requester proves beside its identity.
    pub values: &'a TrustValues,
}

/// The requester of a simulated request.
#[derive(Clone, Copy)]
pub enum SimulatedCaller<'a> {
    /// A user, a role or the root.
    Principal {
        /// The principal.
        principal: &'a Principal,
        /// The policy that limits the session.
        session: Option<&'a Policy>,
    },
    /// A client key.
    ClientKey {
        /// The access documents.
        store: &'a Store,
        /// The access point.
        access_point: &'a AccessName,
        /// The client key; `None` for any client key of the access point.
        id: Option<ClientKeyId>,
        /// The permission of client keys for the action, if they can have it.
        permission: Option<&'a str>,
    },
    /// The subject of a token that this identity provider has signed.
    Federated(&'a IdentityProvider),
}

/// The result of a simulation.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SimulationResult {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// The reason, as text.
    pub reason: &'static str,
    /// What decided: `session policy`, `key policy`, `secret policy`, `trust policy`, or the name of a
    /// policy of the principal or of the access point.
    pub policy: Option<String>,
    /// The index of the statement in its document, from 0.
    pub statement: Option<usize>,
    /// Its `Sid`, if any.
    pub sid: Option<String>,
    /// Its effect.
    pub effect: Option<&'static str>,
}

/// The policy of the key or secret cannot be parsed, so that every request for it would fail.
#[derive(Debug, thiserror::Error)]
#[error("the policy of the resource cannot be parsed")]
pub struct UnreadablePolicy(#[from] PolicyFault);

/// Decides as the gateway would.
///
/// # Errors
/// When the policy of the key or secret cannot be parsed.
pub fn simulate(request: &SimulatedRequest<'_>) -> Result<SimulationResult, UnreadablePolicy> {
    let of_key = request.record.and_then(|record| record.policy.as_deref());
    let of_secret = request.secret.and_then(|secret| secret.policy.as_deref());
    let key_policy = of_key.or(of_secret).map(KeyPolicy::parse).transpose()?;
    let (principal, session) = match request.caller {
        SimulatedCaller::Principal { principal, session } => (principal, session),
        SimulatedCaller::ClientKey { .. } => {
            return Ok(simulate_client_key(request, key_policy.as_ref()));
        }
        SimulatedCaller::Federated(provider) => {
            return Ok(simulate_token(request, provider));
        }
    };
    let assumes = request.role.is_some() && request.action == ASSUME_ROLE;
    if assumes && principal.name.kind() == PrincipalKind::Root {
        return Ok(SimulationResult::denied("roles may not be assumed by the root"));
    }
    let policies = ApplicablePolicies {
        account: &request.region_account.account,
        principal: &principal.name,
        policies: &principal.policies,
        session,
        key_policy: key_policy.as_ref(),
    };
    let policy_request = request.policy_request(request.action);
    let of_resource = if request.secret.is_some() { SECRET_POLICY } else { KEY_POLICY };
    let result = SimulationResult::of(&decide(&policies, &policy_request), of_resource);
    match request.role {
        Some(role) if assumes && result.allowed => {
            let by = TrustCaller::Principal(&principal.name);
            Ok(simulate_trust(request, role, by, role.values))
        }
        _ => Ok(result),
    }
}

/// Decides whether the subject of a token may assume the role.
fn simulate_token(request: &SimulatedRequest<'_>, provider: &IdentityProvider) -> SimulationResult {
    let denied = SimulationResult::denied;
    let Some(role) = request.role.filter(|_role| request.action == ASSUME_ROLE) else {
        return denied("a token permits only sts:AssumeRole for a role");
    };
    let mut values = role.values.clone();
    if values.issuer.as_deref() != Some(&provider.issuer) {
        return denied("the issuer is not that of the provider");
    }
    values.audiences.retain(|one| provider.audiences.iter().any(|other| **other == **one));
    if values.audiences.is_empty() {
        return denied("the provider accepts none of the audiences");
    }
    simulate_trust(request, role, TrustCaller::Federated(&provider.name), &values)
}

/// Decides by the trust policy of the role.
fn simulate_trust(
    request: &SimulatedRequest<'_>,
    role: SimulatedRole<'_>,
    caller: TrustCaller<'_>,
    values: &TrustValues,
) -> SimulationResult {
    let Some(found) = role.found else {
        return SimulationResult::denied("the role does not exist");
    };
    let place = request.region_account;
    SimulationResult::of_trust(&decide_trust(place, found, caller, values, &request.request))
}

/// Decides a request for a secret that a client key has signed. Its access point decides alone.
fn simulate_secret_of_client_key(
    request: &SimulatedRequest<'_>,
    store: &Store,
    by: ClientKeyRequest<'_>,
) -> SimulationResult {
    let denied = SimulationResult::denied;
    let Some(secret) = request.secret else { return denied("the secret does not exist") };
    match allowing_secret_policy(store, by, &secret.name) {
        None => denied("no policy of the access point allows it"),
        Some(policy) => SimulationResult::allowed_by_access_point(&policy),
    }
}

/// Decides a request that a client key has signed.
fn simulate_client_key(
    request: &SimulatedRequest<'_>,
    key_policy: Option<&KeyPolicy>,
) -> SimulationResult {
    let denied = SimulationResult::denied;
    let SimulatedCaller::ClientKey { store, access_point, id, permission } = request.caller else {
        return denied("it is not a client key");
    };
    let Some(permission) = permission else {
        return denied("client keys cannot have this permission");
    };
    if request.record.is_none() && request.resource.starts_with("key/") {
        return denied("the key does not exist");
    }
    let by = ClientKeyRequest { access_point, id, source: request.request.source };
    if request.resource.starts_with("secret/") {
        return simulate_secret_of_client_key(request, store, by);
    }
    let Some(policy) = allowing_policy(store, by, request.record) else {
        return denied("no policy of the access point allows it");
    };
    let named = names_of(request.action, permission).map(|action| request.policy_request(action));
    let named: Vec<_> = named.collect();
    let account = &request.region_account.account;
    let denial = key_policy.and_then(|policy| decide_client_key(policy, by, account, &named));
    match denial {
        Some(denial) => SimulationResult::of(&denial, KEY_POLICY),
        None => SimulationResult::allowed_by_access_point(&policy),
    }
}

impl SimulatedRequest<'_> {
    fn policy_request<'q>(&'q self, action: &'q str) -> PolicyRequest<'q> {
        let name = self
            .role
            .map_or(ResourceName::Other(self.resource), |role| ResourceName::Role(role.name));
        let of_key = self.record.map(|record| &record.tags);
        let own_tags = of_key.or(self.secret.map(|secret| &secret.tags));
        PolicyRequest {
            action,
            resource: Resource::new(self.resource_region_account, name),
            request: &self.request,
            tags: self.tags.or(own_tags),
            context: Some(self.context),
            trust: None,
        }
    }
}

impl SimulationResult {
    /// A denial without a statement.
    fn denied(reason: &'static str) -> Self {
        Self { allowed: false, reason, policy: None, statement: None, sid: None, effect: None }
    }

    fn allowed_by_access_point(policy: &AccessPolicy) -> Self {
        Self {
            allowed: true,
            policy: Some(policy.name.to_string()),
            ..Self::denied("a policy of the access point allows it")
        }
    }

    /// `of_resource` is what the policy of the resource is called.
    fn of(decision: &Decision<'_>, of_resource: &str) -> Self {
        let (reason, matched) = match decision {
            Decision::Allowed(matched) if matched.policy_type == PolicyType::Root => {
                ("the root may do everything that no policy denies", Some(matched))
            }
            Decision::Allowed(matched) => ("a statement allows it", Some(matched)),
            Decision::Denied(matched) => ("a statement denies it", Some(matched)),
            Decision::ImplicitDeny => ("no statement allows it", None),
            Decision::NotInSessionPolicy => ("the session policy does not allow it", None),
            Decision::OutOfSteps => ("the policies need more steps than a decision has", None),
        };
        let result = Self {
            allowed: decision.is_allowed(),
            policy: matched.and_then(|matched| matched.policy(of_resource)),
            ..Self::denied(reason)
        };
        result.by(matched.and_then(|matched| matched.statement))
    }

    fn of_trust(trust: &Trust<'_>) -> Self {
        let (reason, decided) = match *trust {
            Trust::Allowed(number, statement) => {
                ("a statement allows it", Some((number, statement)))
            }
            Trust::Denied(number, statement) => {
                ("a statement denies it", Some((number, statement)))
            }
            Trust::NotAllowed => ("no statement of the trust policy allows it", None),
            Trust::OutOfSteps => ("the policies need more steps than a decision has", None),
        };
        let policy = decided.map(|_| TRUST_POLICY.to_owned());
        Self { allowed: trust.is_allowed(), policy, ..Self::denied(reason) }.by(decided)
    }

    /// With the statement that decided.
    fn by(self, decided: Option<(usize, &Statement)>) -> Self {
        Self {
            statement: decided.map(|(number, _)| number),
            sid: decided.and_then(|(_, one)| one.sid.as_deref()).map(str::to_owned),
            effect: decided.map(|(_, one)| match one.effect {
                Effect::Allow => "Allow",
                Effect::Deny => "Deny",
            }),
            ..self
        }
    }
}

impl MatchedStatement<'_> {
    fn policy(&self, of_resource: &str) -> Option<String> {
        match self.policy_type {
            PolicyType::Session => Some("session policy".to_owned()),
            PolicyType::Key => Some(of_resource.to_owned()),
            PolicyType::Principal(name) => Some(name.to_owned()),
            PolicyType::Root => None,
        }
    }
}
