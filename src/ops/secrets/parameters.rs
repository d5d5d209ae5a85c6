//! The parameters that several operations on secrets share, and the permissions on the key of a
//! secret.

use crate::authz::{CanDecrypt, CanEncrypt, Permission};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::KeyPolicy;
use crate::model::{
    AccountId, FromParam, InvalidId, MAX_KEY_POLICY_BYTES, MAX_SECRET_BYTES, ParamError, Params,
    SecretData, SecretVersionId, SelectedVersion, VersionStage,
};

/// Permission to decrypt the data key of a value.
pub(super) struct UnwrapDataKey;

impl Permission for UnwrapDataKey {
    const ACTION: &'static str = "kms:Decrypt";
}

impl CanDecrypt for UnwrapDataKey {}

/// Permission to encrypt a new data key, and to compare a value with a stored one.
pub(super) struct WrapDataKey;

impl Permission for WrapDataKey {
    const ACTION: &'static str = "kms:GenerateDataKey";
}

impl CanEncrypt for WrapDataKey {}
impl CanDecrypt for WrapDataKey {}

/// The parameter SecretData, or the bytes of one that is too long.
pub(super) type SentValue = Result<SecretData, usize>;

/// Reads SecretData.
pub(super) fn sent_value(params: &Params<'_>) -> Result<SentValue, ParamError> {
    match params.text("SecretData") {
        Some(text) if text.len() > MAX_SECRET_BYTES => Ok(Err(text.len())),
        _ => params.required("SecretData").map(Ok),
    }
}

/// The value.
///
/// # Errors
/// `InvalidParameter`, with the limit and the length, for one that is too long.
pub(super) fn checked_value(value: SentValue) -> Result<SecretData, ApiError> {
    value.map_err(|bytes| {
        let message = format!(
            "The specified parameter \"SecretData\" is not valid: it has {bytes} bytes, and a secret \
             value has at most {MAX_SECRET_BYTES}."
        );
        ApiError::with_message(ErrorCode::InvalidParameter, message)
    })
}

/// The version that a reader names.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Selection {
    pub(in crate::ops) version: Option<SecretVersionId>,
    pub(in crate::ops) stage: Option<VersionStage>,
}

impl Selection {
    pub(super) fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { version: params.optional("VersionId")?, stage: params.optional("VersionStage")? })
    }

    /// The id wins over the label, and the current version is the default.
    pub(in crate::ops) fn selected(&self) -> SelectedVersion {
        match (&self.version, &self.stage) {
            (Some(id), _) => SelectedVersion::Id(id.clone()),
            (None, Some(stage)) => SelectedVersion::Stage(stage.clone()),
            (None, None) => SelectedVersion::Stage(VersionStage::current()),
        }
    }

    /// The error for a version that does not exist.
    pub(in crate::ops) fn not_found(&self) -> ApiError {
        if self.version.is_some() && self.stage.is_some() {
            ApiError::invalid_parameter("VersionId")
        } else {
            ErrorCode::ResourceNotFound.into()
        }
    }
}

/// The policy of a secret as sent (CreateSecret and SetSecretPolicy, parameter Policy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretPolicyText(String);

impl SecretPolicyText {
    /// Returns the text if it is a valid policy, under which some principal in the account can set
    /// another one.
    ///
    /// # Errors
    /// `InvalidParameter`, with the position of the error.
    pub(super) fn checked(self, account: &AccountId) -> Result<String, ApiError> {
        let checked = KeyPolicy::parse(&self.0).and_then(|policy| {
            policy.check_cost()?;
            policy.check_secret_policy(account)
        });
        checked.map(|()| self.0).map_err(|fault| {
            let message = format!("The specified parameter \"Policy\" is not valid. {fault}.");
            ApiError::with_message(ErrorCode::InvalidParameter, message)
        })
    }
}

impl FromParam for SecretPolicyText {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        if text.len() > MAX_KEY_POLICY_BYTES {
            return Err(InvalidId("policy of a secret"));
        }
        Ok(Self(text.to_owned()))
    }
}
