//! The request for authorization, as the authorizer gets it from an operation.

use std::collections::BTreeMap;

use super::evaluate::ApplicablePolicies;
use crate::authn::Caller;
use crate::model::policy::{PolicyRequest, Resource};
use crate::model::{EncryptionContext, RequestContext, TagKey, TagValue};

/// A request of a caller, borrowed from the context of the operation. The action and the resource
/// are added for each decision.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// The caller.
    pub caller: &'a Caller,
    /// The request.
    pub request: &'a RequestContext,
    /// The encryption context, if the operation has one.
    pub context: Option<&'a EncryptionContext>,
}

impl<'a> AuthorizationRequest<'a> {
    /// The policies that apply to the caller, without the key policy.
    pub(super) fn applicable_policies(&self) -> ApplicablePolicies<'a> {
        let Caller { account, principal, session, .. } = self.caller;
        ApplicablePolicies {
            account,
            principal: &principal.name,
            policies: &principal.policies,
            session: session.as_ref().and_then(|session| session.policy.as_ref()),
            key_policy: None,
        }
    }

    /// The request that the policies are evaluated for. `tags` are those of the key or the secret, if
    /// the resource is one.
    pub(super) fn policy_request<'q>(
        &self,
        action: &'q str,
        resource: Resource<'q>,
        tags: Option<&'q BTreeMap<TagKey, TagValue>>,
    ) -> PolicyRequest<'q>
    where
        'a: 'q,
    {
        PolicyRequest {
            action,
            resource,
            request: self.request,
            tags,
            context: self.context,
            trust: None,
        }
    }
}
