//! Operations of the API for operators, whom the socket of the gateway has identified.
//!
//! The command of the operator is recorded, and not the operations that it runs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::audit::Recorder;
use crate::authn::{Caller, PendingNonce, Principal};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::{AttachedPolicy, FULL_ACCESS};
use crate::model::{FromParams, KeyId, Params, PrincipalName, RequestContext, clock};
use crate::ops::{Context, Operation, Services};
use crate::token::Budget;

/// The AccessKey id of a caller that has none.
const ACCESS_KEY_ID: &str = "operator";

/// Runs operations of the API for operators.
#[derive(Clone)]
pub struct OperatorCalls {
    services: Arc<Services>,
    audit: Recorder,
    is_for_development: bool,
}

impl OperatorCalls {
    pub(super) fn new(services: Arc<Services>, audit: Recorder, is_for_development: bool) -> Self {
        Self { services, audit, is_for_development }
    }

    /// Whether operators may choose the ids and the material of keys, and write secrets into files.
    pub fn is_for_development(&self) -> bool {
        self.is_for_development
    }

    /// Runs an operation, with the permissions of `AliyunKMSFullAccess`. Key policies and approvals apply
    /// as for a user with the name of the operator.
    ///
    /// # Errors
    /// As the operation.
    pub async fn call<O: Operation + FromParams>(
        &self,
        operator: &PrincipalName,
        parameters: &[(&str, &str)],
    ) -> Result<O::Output, ApiError> {
        let operation = self.parsed::<O>(parameters)?;
        self.run(operator, operation).await.map(|(output, _key)| output)
    }

    /// The operation with these parameters.
    ///
    /// # Errors
    /// Names the parameter that is missing or invalid.
    pub fn parsed<O: Operation + FromParams>(
        &self,
        parameters: &[(&str, &str)],
    ) -> Result<O, ApiError> {
        let mut params = Params::default();
        for (name, value) in parameters {
            params.insert(*name, *value)?;
        }
        O::from_params(&params).map_err(O::parameter_error)
    }

    /// As [`OperatorCalls::call`], for an operation that is parsed. Also returns the key that it used or
    /// made.
    ///
    /// # Errors
    /// As the operation.
    pub async fn run<O: Operation>(
        &self,
        operator: &PrincipalName,
        operation: O,
    ) -> Result<(O::Output, Option<KeyId>), ApiError> {
        let caller = Arc::new(self.caller(operator)?);
        // The socket is on this host.
        let request = Arc::new(RequestContext {
            is_secure: true,
            ..RequestContext::now(IpAddr::V4(Ipv4Addr::LOCALHOST))
        });
        let services = Arc::clone(&self.services);
        let budget = Budget::new(services.keyring.timeouts().generate);
        let audit = self.audit.clone();
        let cx = Context::new(services, caller, request, budget, None, false, audit);
        let output = operation.run(&cx).await?;
        Ok((output, cx.used_resources().0))
    }

    fn caller(&self, operator: &PrincipalName) -> Result<Caller, ApiError> {
        let internal = || ApiError::from(ErrorCode::InternalFailure);
        let policy = AttachedPolicy::system(FULL_ACCESS).map_err(|_absent| internal())?;
        Ok(Caller {
            account: self.services.region_account.account.clone(),
            user: operator.shared_name(),
            access_key_id: ACCESS_KEY_ID.parse().map_err(|_malformed| internal())?,
            principal: Arc::new(Principal::new(operator.clone(), vec![policy], clock::now())),
            session: None,
            client_key: None,
            pending_nonce: PendingNonce::default(),
        })
    }
}
