//! AssumeRoleWithOIDC: temporary credentials of a role, for a subject that a token of an identity
//! provider proves.

use serde::Serialize;

use super::parameter_error::parameter_error;
use super::session_parameters::session;
use super::{AssumedRoleUser, SessionCredentials};
use crate::audit::{Action, ActionEffect};
use crate::authn::FederatedIdentity;
use crate::error::ApiError;
use crate::model::{Api, ParamError, Params, RoleArn, SessionName, Time};
use crate::ops::operation::response;
use crate::ops::{FederatedContext, FederatedOperation};

/// The request of AssumeRoleWithOIDC, without its token.
#[derive(Debug)]
pub struct AssumeRoleWithOidc {
    role_arn: RoleArn,
    session_name: SessionName,
    seconds: Option<u32>,
    policy: Option<String>,
}

response! {
    /// The response.
    pub struct TokenExchange {
        #[serde(rename = "OIDCTokenInfo")]
        token_info: TokenInfo,
        assumed_role_user: AssumedRoleUser,
        credentials: SessionCredentials,
    }
}

/// What the token has proven.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TokenInfo {
    subject: String,
    issuer: String,
    client_ids: String,
    expiration_time: Time,
    issuance_time: Time,
    verification_info: &'static str,
}

impl TokenInfo {
    fn of(identity: &FederatedIdentity) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
        Self {
            subject: text(&identity.values.subject),
            issuer: text(&identity.values.issuer),
            client_ids: identity.values.audiences.join(","),
            expiration_time: identity.expires,
            issuance_time: identity.issued,
            verification_info: "Success",
        }
    }
}

impl FederatedOperation for AssumeRoleWithOidc {
    type Output = TokenExchange;

    const RECORD: Action =
        Action { api: Api::Sts, name: "AssumeRoleWithOIDC", effect: ActionEffect::Reads };

    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            role_arn: params.required("RoleArn")?,
            session_name: params.required("RoleSessionName")?,
            seconds: params.optional("DurationSeconds")?,
            policy: params.optional("Policy")?,
        })
    }

    fn parameter_error(error: ParamError) -> ApiError {
        parameter_error(error)
    }

    fn run(self, cx: &FederatedContext) -> Result<TokenExchange, ApiError> {
        let session = session(self.session_name.clone(), self.seconds, self.policy)?;
        let role = cx.role(&self.role_arn)?;
        let assumed_role_user =
            AssumedRoleUser::of(&self.role_arn, role.principal(), &self.session_name);
        let credentials = cx.session_of(role, session)?.into();
        let token_info = TokenInfo::of(cx.identity());
        Ok(TokenExchange { token_info, assumed_role_user, credentials })
    }
}
