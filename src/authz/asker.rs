//! Who asks, and what is known of the request beside its resource.

use super::evaluate::Rights;
use crate::authn::Caller;
use crate::model::policy::{Question, Resource};
use crate::model::{EncryptionContext, KeyRecord, RequestContext};

/// A caller with a request.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// The request.
    pub request: &'a RequestContext,
    /// Its encryption context, where the operation has one.
    pub context: Option<&'a EncryptionContext>,
}

impl<'a> Asker<'a> {
    /// What says what the caller may do, but for the key policy.
    pub(super) fn rights(&self) -> Rights<'a> {
        let Caller { account, identity, session, .. } = self.caller;
        Rights {
            account,
            principal: &identity.name,
            policies: &identity.policies,
            session: session.as_ref().and_then(|session| session.policy.as_ref()),
            key_policy: None,
        }
    }

    /// What the policies are asked. The record is that of the key, where one is asked for.
    pub(super) fn question<'q>(
        &self,
        action: &'q str,
        resource: Resource<'q>,
        record: Option<&'q KeyRecord>,
    ) -> Question<'q>
    where
        'a: 'q,
    {
        Question {
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
