//! Operations of a caller that a token of an identity provider has proven, and their context.

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::Services;
use crate::audit::{Action, UsedResources};
use crate::authn::{Credentials, FederatedIdentity};
use crate::authz::{AssumableRole, AssumedSession};
use crate::error::ApiError;
use crate::model::{AccessKeyId, ParamError, Params, RequestContext, RoleArn};

/// An operation whose caller has no key: a token proves who it is. It cannot use keys.
pub trait FederatedOperation: Send + Sized + 'static {
    /// The response.
    type Output: Serialize + Send + Sync + 'static;
    /// The action, as recorded in the audit log.
    const RECORD: Action;

    /// Reads the request.
    ///
    /// # Errors
    /// Names the parameter that is missing or invalid.
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError>;

    /// The error for a parameter that is missing or invalid.
    fn parameter_error(error: ParamError) -> ApiError;

    /// Executes the operation.
    ///
    /// # Errors
    /// Every error as the caller gets it.
    fn run(self, cx: &FederatedContext) -> Result<Self::Output, ApiError>;
}

/// The context of one request that a token has proven.
pub struct FederatedContext {
    services: Arc<Services>,
    identity: Arc<FederatedIdentity>,
    request: Arc<RequestContext>,
    new_access_key: OnceLock<AccessKeyId>,
}

impl FederatedContext {
    /// Creates the context of a request.
    pub(crate) fn new(
        services: Arc<Services>,
        identity: Arc<FederatedIdentity>,
        request: Arc<RequestContext>,
    ) -> Self {
        Self { services, identity, request, new_access_key: OnceLock::new() }
    }

    /// Who calls.
    pub fn identity(&self) -> &FederatedIdentity {
        &self.identity
    }

    /// Authorizes the caller to assume a role.
    ///
    /// # Errors
    /// As [`Authorizer::federated_role`](crate::authz::Authorizer::federated_role).
    pub fn role(&self, role: &RoleArn) -> Result<AssumableRole, ApiError> {
        let Services { authorizer, credentials, .. } = &*self.services;
        authorizer.federated_role(&self.identity, &self.request, credentials, role)
    }

    /// Makes a session of a role.
    ///
    /// # Errors
    /// As [`AssumableRole::session`].
    pub fn session_of(
        &self,
        role: AssumableRole,
        session: AssumedSession,
    ) -> Result<Credentials, ApiError> {
        let Services { authorizer, credentials, .. } = &*self.services;
        let made = role.session(authorizer, credentials, session, self.request.time)?;
        let _ = self.new_access_key.set(made.access_key_id.clone());
        Ok(made)
    }

    /// The resources of the request, for the audit.
    pub(crate) fn used_resources(&self) -> UsedResources {
        UsedResources {
            new_access_key: self.new_access_key.get().cloned(),
            ..UsedResources::default()
        }
    }
}
