//! The exit codes of commands, and the code of each failure.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::client::CallError;
use crate::app::StartError;
use crate::authn::AccessKeyError;
use crate::config::ownership::InsecurePermissions;
use crate::config::{ConfigError, SecretError};
use crate::store::StoreError;
use crate::telemetry::TelemetryError;
use crate::token::{ErrorClass, TokenError};

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub(super) enum Exit {
    /// The command succeeded.
    Done = 0,
    /// A failure without a code of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The requested object does not exist.
    NotFound = 3,
    /// The gateway refused the caller: signature, permission, or too many calls.
    Refused = 4,
    /// The state of the key does not allow the operation, or the object exists already.
    WrongState = 5,
    /// The gateway does not respond, or cannot serve at present.
    Unreachable = 6,
    /// A check of the doctor failed.
    DoctorFailed = 7,
    /// A plan has changes.
    Differs = 8,
}

/// A failure that the command line detects.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments or the configuration cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The requested object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The state of the key does not allow the operation.
    #[error("{0}")]
    WrongState(String),
    /// A check of the doctor failed.
    #[error("at least one check failed")]
    DoctorFailed,
    /// A plan has changes.
    #[error("the gateway differs from the file")]
    Differs,
    /// A simulated request is denied.
    #[error("the simulated request is denied")]
    Denied,
    /// The operator may not run the command.
    #[error("{0}")]
    Refused(String),
    /// The running gateway does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// A command failed in the running gateway.
    #[error("{message}")]
    OfGateway {
        /// The exit code of the command.
        exit: Exit,
        /// What the gateway reports.
        message: String,
    },
}

impl CliError {
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }
}

impl Exit {
    /// The code of the first cause in the chain that has one.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| {
                if let Some(call) = cause.downcast_ref::<CallError>() {
                    return Some(Self::of_call(call));
                }
                if let Some(error) = cause.downcast_ref::<CliError>() {
                    return Some(match error {
                        CliError::Usage(_) => Self::Usage,
                        CliError::NotFound(_) => Self::NotFound,
                        CliError::WrongState(_) => Self::WrongState,
                        CliError::Denied | CliError::Refused(_) => Self::Refused,
                        CliError::Unreachable(_) => Self::Unreachable,
                        CliError::OfGateway { exit, .. } => *exit,
                        CliError::DoctorFailed => Self::DoctorFailed,
                        CliError::Differs => Self::Differs,
                    });
                }
                if cause.downcast_ref().is_some_and(is_wrong_state) {
                    return Some(Self::WrongState);
                }
                if let Some(exit) = cause.downcast_ref().and_then(of_principal) {
                    return Some(exit);
                }
                let is_configuration = cause.downcast_ref().is_some_and(is_set_up_wrongly)
                    || cause.downcast_ref().is_some_and(is_wrong_way_to_database)
                    || cause.downcast_ref().is_some_and(is_wrong_module)
                    || cause.is::<ConfigError>()
                    || cause.is::<SecretError>()
                    || cause.is::<InsecurePermissions>()
                    || cause.is::<TelemetryError>();
                is_configuration.then_some(Self::Usage)
            })
            .unwrap_or(Self::Failed)
    }

    fn of_call(error: &CallError) -> Self {
        match error {
            CallError::Refused { code, .. } => Self::of_code(code),
            CallError::Unreachable(_) => Self::Unreachable,
            CallError::Malformed => Self::Failed,
        }
    }

    /// The code of an error of the API.
    pub(super) fn of_code(code: &str) -> Self {
        let is_of = |families: &[&str]| families.iter().any(|family| code.starts_with(family));
        let is_not_found = code.starts_with("Forbidden.") && code.ends_with("NotFound");
        if is_not_found || code.starts_with("EntityNotExist.") {
            Self::NotFound
        } else if is_of(WRONG_STATE) {
            Self::WrongState
        } else if is_of(REFUSED) {
            Self::Refused
        } else if is_of(UNAVAILABLE) {
            Self::Unreachable
        } else {
            Self::Failed
        }
    }
}

/// Whether an object exists already, or a database is not in the state that a command needs.
fn is_wrong_state(error: &StoreError) -> bool {
    use StoreError::{Exists, NotEmpty, OtherCopy, UnfinishedCopy};
    matches!(error, Exists | NotEmpty(_) | OtherCopy(_) | UnfinishedCopy(_))
}

/// The code of a user, role or AccessKey that exists already or does not exist.
const fn of_principal(error: &AccessKeyError) -> Option<Exit> {
    match error {
        AccessKeyError::PrincipalExists(_) => Some(Exit::WrongState),
        AccessKeyError::PrincipalNotFound(_) | AccessKeyError::NotFound(_) => Some(Exit::NotFound),
        _ => None,
    }
}

/// Whether only another configuration can make the start succeed. After a refused PIN, a supervisor
/// must not restart the gateway: each attempt may lock the token permanently.
fn is_set_up_wrongly(error: &StartError) -> bool {
    matches!(error, StartError::Tls(_)) || is_refused_pin(error)
}

/// Whether a pooler or a wrong URL is between the store and its database.
const fn is_wrong_way_to_database(error: &StoreError) -> bool {
    use StoreError::{NoSession, OtherDatabase, StartupParameter};
    matches!(error, NoSession { .. } | OtherDatabase { .. } | StartupParameter { .. })
}

/// Whether the configuration names no PKCS#11 module, or one that needs another argument.
fn is_wrong_module(error: &TokenError) -> bool {
    matches!(error, TokenError::Module { .. } | TokenError::InitArguments)
}

/// Whether a start failed because the token refused the PIN, or the PIN was not tried.
pub(super) fn is_pin_refused(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(is_refused_pin)
}

fn is_refused_pin(error: &StartError) -> bool {
    matches!(error, StartError::Token(error) if error.class() == ErrorClass::Pin)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prefixes of the error codes for a wrong key state, and for what exists already.
const WRONG_STATE: &[&str] = &[
    "Rejected.Disabled",
    "Rejected.Pending",
    "Rejected.StateModified",
    "Rejected.Unavailable",
    "Rejected.ResourceExist",
    "AliasAlreadyExists",
];

/// Prefixes of the error codes for a refused caller: permission, limits, AccessKey, signature.
const REFUSED: &[&str] = &[
    "AuthenticationFail.",
    "NoPermission",
    "Forbidden.",
    "AccessDenied",
    "Rejected.Throttling",
    "InvalidAccessKeyId",
    "MissingAccessKeyId",
    "SignatureDoesNotMatch",
    "SignatureNonceUsed",
    "IncompleteSignature",
    "InvalidSignature",
    "MissingSignature",
    "InvalidTimeStamp",
    "MissingTimestamp",
    "InvalidSecurityToken",
    "MissingSecurityToken",
];

/// Prefixes of the error codes of a gateway that cannot serve at present.
const UNAVAILABLE: &[&str] = &["ServiceUnavailable"];

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::config::Config;
    use crate::error::ErrorCode;

    #[test]
    fn the_codes_of_the_api_end_as_they_should() {
        let expected = |code: ErrorCode| match code {
            ErrorCode::KeyNotFound
            | ErrorCode::RoleNotFound
            | ErrorCode::KeyVersionNotFound
            | ErrorCode::AliasNotFound
            | ErrorCode::ResourceNotFound => Exit::NotFound,
            ErrorCode::KeyDisabled
            | ErrorCode::KeyPendingDeletion
            | ErrorCode::KeyPendingImport
            | ErrorCode::KeyUnavailable
            | ErrorCode::AliasAlreadyExists
            | ErrorCode::ResourceExist
            | ErrorCode::StateModifiedFailed => Exit::WrongState,
            ErrorCode::Unavailable => Exit::Unreachable,
            ErrorCode::NoPermission
            | ErrorCode::AssumeRoleDenied
            | ErrorCode::TokenNoPermission
            | ErrorCode::TokenInvalid
            | ErrorCode::TokenSignature
            | ErrorCode::TokenExpired
            | ErrorCode::TokenAudience
            | ErrorCode::TokenIssuer
            | ErrorCode::ProviderKeys
            | ErrorCode::Throttling
            | ErrorCode::OnlySymmetricKeySupported
            | ErrorCode::ServiceOpened
            | ErrorCode::DryRunAccessDenied
            | ErrorCode::InvalidAccessKeyIdNotFound
            | ErrorCode::InvalidAccessKeyIdInactive
            | ErrorCode::SignatureDoesNotMatch
            | ErrorCode::IncompleteSignature
            | ErrorCode::InvalidSignatureMethod
            | ErrorCode::SignatureNonceUsed
            | ErrorCode::InvalidTimeStampFormat
            | ErrorCode::InvalidTimeStampExpired
            | ErrorCode::MissingSecurityToken
            | ErrorCode::InvalidSecurityTokenExpired
            | ErrorCode::InvalidSecurityTokenMalformed
            | ErrorCode::InvalidSecurityTokenMismatch
            | ErrorCode::MissingAccessKeyId
            | ErrorCode::MissingSignature
            | ErrorCode::MissingSignatureNonce
            | ErrorCode::MissingTimestamp => Exit::Refused,
            other if other.as_str() == "Forbidden.DKMSInstanceNotFound" => Exit::NotFound,
            _ => Exit::Failed,
        };
        for code in ErrorCode::ALL {
            assert_eq!(Exit::of_code(code.as_str()), expected(*code), "{}", code.as_str());
        }
    }

    #[test]
    fn a_failure_keeps_its_code_under_any_context() {
        let refused = CallError::Refused {
            status: 409,
            code: "Rejected.Disabled".to_owned(),
            message: String::new(),
            request_id: String::new(),
        };
        let error = Err::<(), _>(refused).context("outer").context("outermost").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::WrongState);
        let faults = ConfigError::from(Config::parse("").unwrap_err());
        assert_eq!(Exit::of(&faults.into()), Exit::Usage);
        assert_eq!(Exit::of(&CliError::usage("x").into()), Exit::Usage);
        assert_eq!(Exit::of(&CliError::NotFound("x".to_owned()).into()), Exit::NotFound);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
