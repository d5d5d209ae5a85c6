//! Who asks, and what is known of the request beside its resource.

use super::evaluate::ApplicablePolicies;
use crate::authn::Caller;
use crate::model::policy::{PolicyRequest, Resource};
use crate::model::{EncryptionContext, KeyRecord, RequestContext};

/// A caller with a request.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// The request.
    pub request: &'a RequestContext,
    /// Its encryption context, where the operation has one.
    pub context: Option<&'a EncryptionContext>,
}

impl<'a> Requester<'a> {
    /// What says what the caller may do, but for the key policy.
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

    /// What the policies are asked. The record is that of the key, where one is asked for.
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
