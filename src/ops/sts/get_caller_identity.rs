//! GetCallerIdentity: who the caller is. It needs no permission.

use super::principal_id;
use crate::model::PrincipalKind;
use crate::ops::prelude::*;

operation! {
    permission: "sts:GetCallerIdentity";
    pub struct GetCallerIdentity -> CallerIdentity {}

    /// The response.
    pub struct CallerIdentity {
        account_id: String,
        arn: String,
        identity_type: &'static str,
        principal_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        role_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<String>,
    }
}

impl Operation for GetCallerIdentity {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<CallerIdentity, ApiError> {
        let caller = cx.caller();
        let (account, principal) = (&caller.account, &caller.principal);
        let account_id = account.to_string();
        let id = principal.details.id.to_string();
        Ok(match (principal.name.kind(), &caller.session) {
            (PrincipalKind::Role, Some(session)) => CallerIdentity {
                arn: format!(
                    "acs:ram::{account}:assumed-role/{}/{}",
                    principal.name.name(),
                    session.name
                ),
                account_id,
                identity_type: "AssumedRoleUser",
                principal_id: principal_id(principal, &session.name),
                role_id: Some(id),
                user_id: None,
            },
            (PrincipalKind::Root, _) => CallerIdentity {
                arn: principal.name.arn(account),
                identity_type: "Account",
                principal_id: account_id.clone(),
                role_id: None,
                user_id: Some(account_id.clone()),
                account_id,
            },
            _ => CallerIdentity {
                arn: principal.name.arn(account),
                account_id,
                identity_type: "RAMUser",
                principal_id: id.clone(),
                role_id: None,
                user_id: Some(id),
            },
        })
    }
}
