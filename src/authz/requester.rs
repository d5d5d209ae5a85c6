//! The requester: the caller, and the condition values of the request.

use super::evaluate::ApplicablePolicies;
use crate::authn::Caller;
use crate::model::policy::{PolicyRequest, Resource};
use crate::model::{EncryptionContext, KeyRecord, RequestContext};

/// A caller with a request.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// The caller.
    pub caller: &'a Caller,
    /// The request.
    pub request: &'a RequestContext,
    /// The encryption context, if the operation has one.
    pub context: Option<&'a EncryptionContext>,
}

impl<'a> Requester<'a> {
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

    /// The request that the policies are evaluated for. `record` is that of the key, if the
    /// resource is one.
    pub(super) fn policy_request<'q>(
        &self,
        action: &'q str,
        resource: Resource<'q>,
        record: Option<&'q KeyRecord>,
    ) -> PolicyRequest<'q>
    where
        'a: 'q,
    {
        PolicyRequest {
            action,
            resource,
            source: self.request.source,
            is_secure: self.request.is_secure,
            now: self.request.time,
            tags: record.map(|record| &record.tags),
            context: self.context,
        }
    }
}
