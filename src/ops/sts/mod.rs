//! The STS API (2015-04-01): who a caller is, and temporary credentials of a role.

pub mod assume_role_with_oidc;
mod parameter_error;
mod session_parameters;

use serde::Serialize;

use crate::authn::Credentials;
use crate::model::{RoleArn, Secret, SessionName, Time};
use crate::ops::registry::operations;
use crate::store::Principal;

operations! {
    PublicVisitor:
    assume_role::AssumeRole,
    get_caller_identity::GetCallerIdentity,
}

/// The role of a session, as responses name it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssumedRoleUser {
    assumed_role_id: String,
    arn: String,
}

impl AssumedRoleUser {
    fn of(arn: &RoleArn, role: &Principal, session: &SessionName) -> Self {
        let RoleArn { account, role: name } = arn;
        Self {
            assumed_role_id: principal_id(role, session.as_str()),
            arn: format!("acs:ram::{account}:{name}/{session}"),
        }
    }
}

/// New credentials. Every value is a text: clients read them into a map of texts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionCredentials {
    security_token: Secret,
    expiration: Time,
    access_key_secret: Secret,
    access_key_id: String,
}

impl From<Credentials> for SessionCredentials {
    fn from(credentials: Credentials) -> Self {
        Self {
            security_token: Secret(credentials.security_token),
            expiration: credentials.expires,
            access_key_secret: Secret(credentials.secret),
            access_key_id: credentials.access_key_id.to_string(),
        }
    }
}

/// The id of a role with the name of its session.
fn principal_id(role: &Principal, session: &str) -> String {
    format!("{}:{session}", role.details.id)
}
