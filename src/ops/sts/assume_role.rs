//! AssumeRole: temporary credentials of a role, for a principal that its trust policy allows.

use super::parameter_error::parameter_error;
use super::session_parameters::session;
use super::{AssumedRoleUser, SessionCredentials};
use crate::model::{ExternalId, RoleArn, SessionName};
use crate::ops::prelude::*;

operation! {
    permission: "sts:AssumeRole";
    pub struct AssumeRole -> AssumedRole {
        role_arn: RoleArn = "RoleArn",
        session_name: SessionName = "RoleSessionName",
        seconds: Option<u32> = "DurationSeconds",
        policy: Option<String> = "Policy",
        external_id: Option<ExternalId> = "ExternalId",
        source_identity: Option<String> = "SourceIdentity",
    }

    /// The response.
    pub struct AssumedRole {
        assumed_role_user: AssumedRoleUser,
        credentials: SessionCredentials,
    }
}

impl Operation for AssumeRole {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    fn parameter_error(error: ParamError) -> ApiError {
        parameter_error(error)
    }

    async fn run(self, cx: &Context) -> Result<AssumedRole, ApiError> {
        if self.source_identity.is_some() {
            let reason = "sessions of this gateway have no source identity";
            return Err(ApiError::unsupported_parameter("SourceIdentity", reason));
        }
        let session = session(self.session_name.clone(), self.seconds, self.policy)?;
        let role = cx.role::<Self>(&self.role_arn, self.external_id.as_ref())?;
        let assumed_role_user =
            AssumedRoleUser::of(&self.role_arn, role.principal(), &self.session_name);
        let credentials = cx.session_of(role, session)?.into();
        Ok(AssumedRole { assumed_role_user, credentials })
    }
}
