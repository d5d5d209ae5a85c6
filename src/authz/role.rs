//! Authorization to assume a role: the only constructor of [`AssumableRole`].

use std::sync::Arc;

use super::authorization_request::AuthorizationRequest;
use super::evaluate::decide;
use super::{Authorizer, Permission};
use crate::authn::{
    AssumedBy, CredentialStore, Credentials, FederatedBy, FederatedIdentity, NewSession, Principal,
    SessionOrigin, decide_trust,
};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::{Resource, ResourceName, TrustCaller, TrustValues};
use crate::model::{ExternalId, PrincipalKind, RequestContext, RoleArn, SessionName, Time};

/// A role that a caller may assume.
#[derive(Debug)]
pub struct AssumableRole {
    role: Arc<Principal>,
    origin: SessionOrigin,
}

impl AssumableRole {
    /// The role.
    pub fn principal(&self) -> &Principal {
        &self.role
    }

    /// Makes a session of the role, with a validity in seconds that the role allows.
    ///
    /// # Errors
    /// `InvalidParameter.DurationSeconds`.
    pub fn session(
        self,
        authorizer: &Authorizer,
        credentials: &CredentialStore,
        session: AssumedSession,
        now: Time,
    ) -> Result<Credentials, ApiError> {
        let longest = self.role.details.max_session();
        if session.seconds > longest {
            return Err(wrong_duration(longest));
        }
        let new = NewSession {
            name: session.name.to_string(),
            seconds: session.seconds,
            policy: session.policy,
            origin: self.origin,
        };
        credentials.make_session(&authorizer.region_account.account, &self.role, new, now)
    }
}

impl Authorizer {
    /// Decides whether a subject that a token has proven may assume a role. Only holders of a valid
    /// token learn which roles exist.
    ///
    /// # Errors
    /// `EntityNotExist.Role`, `AuthenticationFail.NoPermission`.
    pub fn federated_role(
        &self,
        identity: &FederatedIdentity,
        request: &RequestContext,
        credentials: &CredentialStore,
        arn: &RoleArn,
    ) -> Result<AssumableRole, ApiError> {
        let role = credentials.principal(&arn.role);
        let role = role.filter(|_role| arn.account == self.region_account.account);
        let role = role.ok_or_else(|| no_role(arn))?;
        let by = TrustCaller::Federated(&identity.provider);
        let trust = decide_trust(&self.region_account, &role, by, &identity.values, request);
        if !trust.is_allowed() {
            return Err(ErrorCode::TokenNoPermission.into());
        }
        let origin = SessionOrigin::Federated(Box::new(FederatedBy {
            provider: identity.provider.clone(),
            provider_id: identity.provider_id.clone(),
            values: identity.values.clone(),
        }));
        Ok(AssumableRole { role, origin })
    }
}

/// The properties of a session that the caller chooses.
#[derive(Debug)]
pub struct AssumedSession {
    /// Its name.
    pub name: SessionName,
    /// Its validity in seconds.
    pub seconds: i64,
    /// A policy document that limits it.
    pub policy: Option<String>,
}

/// The error for a validity that is not allowed. `longest` is in seconds.
pub fn wrong_duration(longest: i64) -> ApiError {
    let message = format!(
        "The Min/Max value of DurationSeconds is {}min/{}min.",
        crate::model::MIN_SESSION_SECONDS / 60,
        longest / 60
    );
    ApiError::with_message(ErrorCode::InvalidDurationSeconds, message)
}

/// The error for a role that does not exist.
fn no_role(arn: &RoleArn) -> ApiError {
    let code = ErrorCode::RoleNotFound;
    ApiError::with_message(code, format!("The role not exists: {arn} ."))
}

impl Authorizer {
    /// Decides whether the caller of `request` may assume a role: its own policies must allow `P` on
    /// the role, and the trust policy of the role must allow the caller.
    ///
    /// # Errors
    /// `NoPermission`; `EntityNotExist.Role`, if the policies of the caller allow it.
    pub fn role<P: Permission>(
        &self,
        request: &AuthorizationRequest<'_>,
        credentials: &CredentialStore,
        arn: &RoleArn,
        external_id: Option<&ExternalId>,
    ) -> Result<AssumableRole, ApiError> {
        let denied = || ApiError::from(ErrorCode::AssumeRoleDenied);
        let caller = request.caller;
        if caller.client_key.is_some() {
            return Err(denied());
        }
        if caller.principal.name.kind() == PrincipalKind::Root {
            let message = "Roles may not be assumed by root accounts.";
            return Err(ApiError::with_message(ErrorCode::AssumeRoleDenied, message));
        }
        let resource = Resource::new(&self.region_account, ResourceName::Role(&arn.role));
        let policies = request.applicable_policies();
        let policy_request = request.policy_request(P::ACTION, resource, None);
        let decision = decide(&policies, &policy_request);
        if !self.is_allowed(&policies, &policy_request, decision) {
            return Err(denied());
        }
        let role = credentials.principal(&arn.role);
        let role = role.filter(|_role| arn.account == self.region_account.account);
        let role = role.ok_or_else(|| no_role(arn))?;
        let values = TrustValues {
            external_id: external_id.map(|id| id.as_str().into()),
            ..TrustValues::default()
        };
        let by = TrustCaller::Principal(&caller.principal.name);
        let trusted =
            decide_trust(&self.region_account, &role, by, &values, request.request).is_allowed();
        let session = caller
            .session
            .as_ref()
            .and_then(|session| session.began.map(|began| (began, session.origin.clone())));
        if !trusted || session.as_ref().is_some_and(|(_, origin)| !origin.may_continue()) {
            return Err(denied());
        }
        let origin = SessionOrigin::Principal(Box::new(AssumedBy {
            principal: caller.principal.name.clone(),
            principal_id: caller.principal.details.id.clone(),
            access_key_id: caller.access_key_id.clone(),
            values,
            session,
        }));
        Ok(AssumableRole { role, origin })
    }
}
