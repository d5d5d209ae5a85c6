//! The errors of the API: KMS code, HTTP status and message, in one table.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::model::{ParamError, TagFault};

/// Declares the enum of codes and their table together, so that no code lacks a row.
macro_rules! error_codes {
    ($($variant:ident = $status:literal $code:literal $message:literal,)+) => {
        /// An error code of the KMS API. The documentation of each is its message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code that the client receives.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The default message.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }
        }
    };
}

error_codes! {
    // Authentication
    InvalidAccessKeyIdNotFound = 404 "InvalidAccessKeyId.NotFound" "The Access Key ID provided does not exist in our records.",
    InvalidAccessKeyIdInactive = 400 "InvalidAccessKeyId.Inactive" "Specified access key is disabled.",
    SignatureDoesNotMatch = 400 "SignatureDoesNotMatch" "Specified signature is not matched with our calculation.",
    IncompleteSignature = 400 "IncompleteSignature" "The request signature does not conform to Aliyun standards.",
    InvalidSignatureMethod = 400 "InvalidSignatureMethod" "Specified signature method is not valid.",
    SignatureNonceUsed = 400 "SignatureNonceUsed" "Specified signature nonce was used already.",
    InvalidTimeStampFormat = 400 "InvalidTimeStamp.Format" "Specified time stamp or date value is not well formatted.",
    InvalidTimeStampExpired = 400 "InvalidTimeStamp.Expired" "Specified time stamp or date value is expired.",
    MissingSecurityToken = 400 "MissingSecurityToken" "SecurityToken is mandatory for this action.",
    InvalidSecurityTokenExpired = 400 "InvalidSecurityToken.Expired" "Specified SecurityToken is expired.",
    InvalidSecurityTokenMalformed = 400 "InvalidSecurityToken.Malformed" "Specified SecurityToken is malformed.",
    InvalidSecurityTokenMismatch = 400 "InvalidSecurityToken.MismatchWithAccessKey" "Specified SecurityToken mismatch with the AccessKey.",
    MissingAccessKeyId = 400 "MissingAccessKeyId" "AccessKeyId is mandatory for this action.",
    MissingSignature = 400 "MissingSignature" "Signature is mandatory for this action.",
    MissingSignatureNonce = 400 "MissingSignatureNonce" "SignatureNonce is mandatory for this action.",
    MissingTimestamp = 400 "MissingTimestamp" "Timestamp is mandatory for this action.",
    MissingAction = 400 "MissingAction" "Action is mandatory for this action.",
    MissingVersion = 400 "MissingVersion" "Version is mandatory for this action.",

    // Request format
    InvalidActionNotFound = 404 "InvalidAction.NotFound" "Specified api is not found, please check your url and method.",
    InvalidVersion = 400 "InvalidVersion" "Specified parameter Version is not valid.",
    InvalidParameterFormat = 400 "InvalidParameter.Format" "Specified parameter Format is not valid.",
    UnsupportedHttpMethod = 403 "UnsupportedHTTPMethod" "This http method is not supported.",
    ParseRequestParameter = 400 "ParseRequestParameterException" "The request parameters could not be parsed.",
    RequestTooLarge = 413 "RequestEntityTooLarge" "The request is too large.",
    InvalidParameter = 400 "InvalidParameter" "The specified parameter is not valid.",
    MissingParameter = 400 "MissingParameter" "A parameter is needed but not provided.",
    InvalidTagKey = 400 "InvalidParameter.TagKey" "The specified parameter is not valid.",
    InvalidTagValue = 400 "InvalidParameter.TagValue" "The specified parameter is not valid.",
    DuplicateTagKey = 400 "Duplicate.TagKey" "The specified tagKey is duplicate.",
    UnsupportedOperation = 400 "UnsupportedOperation" "This action is not supported.",
    DryRunOperation = 400 "DryRunOperationError" "The request would have succeeded, but the DryRun parameter is set.",
    DryRunValidation = 400 "ValidationError" "The request would have failed, and the DryRun parameter is set.",
    DryRunAccessDenied = 403 "AccessDeniedError" "The request would have been denied, and the DryRun parameter is set.",

    // Permission and rate
    NoPermission = 403 "Forbidden.NoPermission" "This operation is forbidden by permission system.",
    Throttling = 429 "Rejected.Throttling" "QPS Limit Exceeded",

    // Account, keys, versions, aliases
    ServiceOpened = 400 "Forbidden.Opened" "Your kms service has been opened.",
    InstanceNotFound = 403 "Forbidden.DKMSInstanceNotFound" "The specified DKMS Instance is not found.",
    KeyNotFound = 404 "Forbidden.KeyNotFound" "The specified Key is not found.",
    KeyVersionNotFound = 404 "Forbidden.KeyVersionNotFound" "The specified Key version is not found.",
    AliasNotFound = 404 "Forbidden.AliasNotFound" "The specified Alias is not found.",
    ResourceNotFound = 404 "Forbidden.ResourceNotFound" "Resource not found.",
    ResourceIdNotFound = 404 "InvalidResourceId.NotFound" "The specified ResourceId is not found.",
    AliasAlreadyExists = 400 "AliasAlreadyExists" "AliasName Already Exists.",
    ResourceExist = 409 "Rejected.ResourceExist" "The request was rejected because the resource already exists.",
    ResourceInDeleteWindow = 409 "Rejected.ResourceInDeleteWindow" "The secret is planned to be deleted.",
    RejectedUnsupportedOperation = 400 "Rejected.UnsupportedOperation" "Unsupported operation.",
    LimitExceeded = 400 "Rejected.LimitExceeded" "The request was rejected because user create resource limit was exceeded",
    UnsupportedOrigin = 400 "Unsupported.Origin" "This key origin is not valid for this api",
    InvalidKeyMaterial = 400 "InvalidKeyMaterial" "key material is invalid",
    InvalidImportToken = 400 "InvalidImportToken" "import token is invalid",
    ExpiredImportToken = 400 "ExpiredImportToken" "import token is expired",
    KeyDisabled = 409 "Rejected.Disabled" "The request was rejected because the key state is Disabled.",
    KeyPendingDeletion = 409 "Rejected.PendingDeletion" "The request was rejected because the key state is PendingDeletion.",
    KeyPendingImport = 409 "Rejected.PendingImport" "The request was rejected because the key state is PendingImport.",
    KeyUnavailable = 409 "Rejected.Unavailable" "The request was rejected because the key state is Unavailable.",
    StateModifiedFailed = 409 "Rejected.StateModifiedFailed" "Keystate modified failed.",

    // Only in the KMS instance protocol
    InvalidContentType = 415 "InvalidContentType" "The Content-Type is unsupported.",
    InvalidApiVersion = 400 "InvalidApiVersion" "The ApiVersion is invalid.",
    InvalidApiName = 400 "InvalidApiName" "The ApiName is invalid.",
    InvalidParam = 400 "InvalidParam" "A header is invalid.",
    RequestTimeTooSkewed = 400 "RequestTimeTooSkewed" "Request time exceeds server time more than 15 minutes.",
    Unauthorized = 404 "Unauthorized" "The AccessKey ID does not exist in our records.",
    SignatureNotMatch = 401 "SignatureNotMatch" "Signature is not matched.",
    OnlySymmetricKeySupported = 404 "Forbidden.OnlySymmetricKeySupported" "The key is not a symmetric key. The API only supports symmetric keys.",

    // Only in the STS API
    MissingRoleArn = 400 "MissingRoleArn" "RoleArn is mandatory for this action.",
    MissingRoleSessionName = 400 "MissingRoleSessionName" "RoleSessionName is mandatory for this action.",
    InvalidRoleArn = 400 "InvalidParameter.RoleArn" "The parameter RoleArn is wrongly formed.",
    InvalidRoleSessionName = 400 "InvalidParameter.RoleSessionName" "The parameter RoleSessionName is wrongly formed.",
    InvalidExternalId = 400 "InvalidParameter.ExternalId" "The parameter ExternalId is wrongly formed.",
    InvalidDurationSeconds = 400 "InvalidParameter.DurationSeconds" "The parameter DurationSeconds is out of its range.",
    InvalidPolicyGrammar = 400 "InvalidParameter.PolicyGrammar" "The parameter Policy has not passed grammar check.",
    InvalidPolicySize = 400 "InvalidParameter.PolicySize" "The size of Policy must be smaller than 2048 bytes.",
    AssumeRoleDenied = 403 "NoPermission" "You are not authorized to do this action. You should be authorized by RAM.",
    MissingProviderArn = 400 "MissingOIDCProviderArn" "OIDCProviderArn is mandatory for this action.",
    TokenNoPermission = 401 "AuthenticationFail.NoPermission" "There is no permission",
    TokenInvalid = 401 "AuthenticationFail.OIDCToken.Invalid" "The Jwt content is invalid that cannot be recognized.",
    TokenSignature = 401 "AuthenticationFail.OIDCToken.InvalidSignature" "OIDC token validate failed: invalid signature.",
    TokenExpired = 401 "AuthenticationFail.OIDCToken.Expired" "This JsonWebToken is expired.",
    TokenAudience = 401 "AuthenticationFail.OIDCToken.AudienceNotMatch" "Invalid audience.",
    TokenIssuer = 401 "AuthenticationFail.OIDCToken.IssuerNotMatch" "The issuer in the OIDC Token doesn't match the OIDC Provider registered.",
    ProviderKeys = 401 "AuthenticationFail.OIDCToken.IssuerConfigurationBroken" "Get public keys from OIDC Provider failed.",
    RoleNotFound = 404 "EntityNotExist.Role" "The role not exists.",

    // Failures of the gateway
    InternalFailure = 500 "InternalFailure" "Internal Failure",
    Unavailable = 503 "ServiceUnavailableTemporary" "Service Unavailable Temporary",
}

/// A refusal or failure as the caller sees it, with its cause for the log only.
#[derive(Debug)]
pub struct ApiError {
    code: ErrorCode,
    message: Cow<'static, str>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// An error with a message that replaces the one of the table.
    pub fn with_message(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), cause: None }
    }

    /// The error for an invalid parameter, by name.
    pub fn invalid_parameter(name: &str) -> Self {
        let message = format!("The specified parameter \"{name}\" is not valid.");
        Self::with_message(ErrorCode::InvalidParameter, message)
    }

    /// The error for an API action that is not supported.
    pub fn unsupported_action(action: &str) -> Self {
        let code = ErrorCode::UnsupportedOperation;
        let message = format!("{} This gateway does not serve {action}.", code.message());
        Self::with_message(code, message)
    }

    /// The error for a parameter, by name, whose value is not supported. `reason` explains why.
    pub fn unsupported_parameter(name: &str, reason: &str) -> Self {
        let message = format!("The specified parameter \"{name}\" is not supported: {reason}.");
        Self::with_message(ErrorCode::UnsupportedOperation, message)
    }

    /// The error for an operation that the key's usage, spec or origin does not allow. `reason`
    /// explains why.
    pub fn not_for_key(reason: &str) -> Self {
        let code = ErrorCode::RejectedUnsupportedOperation;
        Self::with_message(code, format!("{} {reason}.", code.message()))
    }

    /// The error for a secret whose stored rows are not what was written. Not an internal failure: the
    /// clients repeat those for a minute, and this one is permanent.
    pub fn damaged_secret() -> Self {
        let message = "The stored secret is damaged and was not used. The command `hsmgate doctor` \
                       of the operator names what is wrong.";
        Self::with_message(ErrorCode::KeyUnavailable, message)
    }

    /// Keeps `cause` for the log. It is never sent to the caller.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The error code.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How many seconds the caller should wait before a retry, for temporary failures.
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        match self.code {
            ErrorCode::Throttling | ErrorCode::Unavailable => Some(1),
            _ => None,
        }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: Cow::Borrowed(code.message()), cause: None }
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        match error {
            ParamError::Missing(name) => Self::with_message(
                ErrorCode::MissingParameter,
                format!("The parameter \"{name}\" is needed but not provided."),
            ),
            ParamError::Invalid(name) => Self::invalid_parameter(&name),
        }
    }
}

impl From<TagFault> for ApiError {
    fn from(fault: TagFault) -> Self {
        let code = match fault {
            TagFault::Key => ErrorCode::InvalidTagKey,
            TagFault::Value => ErrorCode::InvalidTagValue,
            TagFault::Duplicate => ErrorCode::DuplicateTagKey,
        };
        Self::with_message(code, format!("{} {fault}", code.message()))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_every_sdk_treats_them_as_errors() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{} is repeated", code.as_str());
            assert!((400..=503).contains(&code.status()), "{}", code.as_str());
            assert!(!matches!(code.as_str(), "200" | "OK" | "Success"));
        }
    }
}
