//! What can go wrong with the token, and the one table of what may be done about it.

use std::fmt;
use std::path::PathBuf;

use cryptoki::context::Function;
use cryptoki::error::{Error as Pkcs11Error, RvError};

use super::objects::name::ObjectName;
use crate::error::{ApiError, ErrorCode};

/// A failure of the token room. No message carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The ciphertext does not open: a wrong tag, other associated data, a bad padding, a bad
    /// length. Which of them is never told.
    #[error("the ciphertext does not open with this key")]
    BadCiphertext,
    /// The token made a ciphertext that does not open to what was encrypted in it, several times.
    /// Nobody got one.
    #[error("the token makes ciphertexts that do not open")]
    Unverified,
    /// Wrapped key material does not unwrap, or is of another length than the key spec's.
    #[error("the wrapped key material is not a key of this kind")]
    BadKeyMaterial,
    /// An argument that this call can not take; the text names it.
    #[error("{0}")]
    BadInput(&'static str),
    /// No object with the key version's id, though the session is logged in.
    #[error("the token holds no such key")]
    NotFound,
    /// The objects with the key version's id are not this key's, as their label or class says. They
    /// are not used.
    #[error(
        "the token's objects with the id of {wanted} are another key's: their label is {label:?}"
    )]
    KeyMismatch {
        /// Whose they should be.
        wanted: ObjectName,
        /// What they say.
        label: String,
    },
    /// More than one object of one class has the key version's id. None is chosen.
    #[error("the token holds more than one key with this id")]
    Duplicate,
    /// The token, or this build, can not do what was asked for; the text names it.
    #[error("the token can not do {0}")]
    Unsupported(&'static str),
    /// As many calls wait for the token threads as may, or as they can serve in time.
    #[error("too many calls wait for the token")]
    Busy,
    /// The call's time ran out, before or while the token worked on it.
    #[error("the token did not answer in time")]
    Deadline,
    /// The token is known to be away; nothing was tried.
    #[error("the token is away: {0}")]
    Unavailable(UnavailableReason),
    /// The token answers, but not as a token may; the text names the failed check.
    #[error("the token can not be trusted: {0}")]
    Untrusted(&'static str),
    /// The token made an object with other attributes than asked for. It was destroyed again.
    #[error("the token made an object with other attributes than asked for: {0}")]
    WrongAttributes(String),
    /// A call into the module panicked.
    #[error("a call into the PKCS#11 module panicked")]
    Panicked,
    /// No slot, or more than one, holds the configured token.
    #[error("{found} of {slots} slots hold a token with {selector}")]
    Selection {
        /// Slots that match.
        found: usize,
        /// Slots with a token.
        slots: usize,
        /// What was looked for.
        selector: String,
    },
    /// The module can not be loaded.
    #[error("the PKCS#11 module {path} can not be loaded")]
    Module {
        /// Its path.
        path: PathBuf,
        /// What the loader says.
        #[source]
        source: Pkcs11Error,
    },
    /// A PKCS#11 function answered with an error code.
    #[error("C_{function:?} answered {}", ckr_name(*.code))]
    Call {
        /// The function.
        function: Function,
        /// Its answer.
        code: RvError,
    },
    /// The PIN is not even tried, because the token may lock for good; the text says why.
    #[error("the PIN is not tried: {0}")]
    PinNotTried(String),
    /// The system gave no thread.
    #[error("no thread could be started for the token")]
    Thread(#[source] std::io::Error),
    /// The kernel gives no random bytes.
    #[error("the system gives no random bytes")]
    SystemRandom(#[source] std::io::Error),
    /// The binding refused a call or an answer by itself.
    #[error("the PKCS#11 binding failed")]
    Binding(#[source] Pkcs11Error),
}

/// Why the token is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnavailableReason {
    /// It was lost and is being brought back.
    Recovering,
    /// It refused the PIN. Nobody logs in again until an operator has acted: every further try
    /// may lock the token for good.
    PinRefused,
    /// Its module has not let go of a thread for long, and no thread is left.
    Hanging,
    /// It was closed in an orderly way.
    Closed,
}

impl fmt::Display for UnavailableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovering => "it was lost and is being brought back",
            Self::PinRefused => "it refused the PIN, and an operator must act",
            Self::Hanging => "its module does not answer",
            Self::Closed => "it is closed",
        })
    }
}

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller's data is at fault, or a plain fact was found. The session is good.
    BadInput,
    /// Anything may have happened: a new session, login state, the handle, then one retry.
    Ambiguous,
    /// The session is lost or jammed: a new one, then one retry.
    SessionGone,
    /// Nobody is logged in: log in once, then one retry.
    LoginGone,
    /// The handle names nothing: find the key again, then one retry.
    HandleGone,
    /// The module must be initialised anew; calls fail at once until it is.
    DeviceGone,
    /// Sessions, memory or time ran short: back-pressure.
    OutOfResources,
    /// The PIN was refused. Never tried again by itself: each try may lock the token for good.
    Pin,
    /// It can not work as things are set up. No retry.
    Configuration,
}

impl TokenError {
    /// What may be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BadCiphertext
            | Self::BadKeyMaterial
            | Self::BadInput(_)
            | Self::NotFound
            | Self::KeyMismatch { .. } => ErrorClass::BadInput,
            Self::Busy | Self::Deadline => ErrorClass::OutOfResources,
            Self::PinNotTried(_) => ErrorClass::Pin,
            Self::Unavailable(_) | Self::Untrusted(_) => ErrorClass::DeviceGone,
            Self::Panicked | Self::Unverified => ErrorClass::SessionGone,
            Self::Duplicate
            | Self::Unsupported(_)
            | Self::WrongAttributes(_)
            | Self::Selection { .. }
            | Self::Module { .. }
            | Self::Thread(_)
            | Self::SystemRandom(_)
            | Self::Binding(_) => ErrorClass::Configuration,
            Self::Call { function, code } => class_of(*function, *code),
        }
    }

    /// Whether the caller's ciphertext is at fault.
    pub const fn is_bad_ciphertext(&self) -> bool {
        matches!(self, Self::BadCiphertext)
    }

    /// Whether the key is not in the token.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }

    /// Whether it says that a key is not there, not whole, or not the one that was meant, and not that
    /// the token fails.
    pub fn is_key_fault(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::KeyMismatch { .. }
                | Self::Duplicate
                | Self::Call {
                    code: RvError::KeyTypeInconsistent
                        | RvError::KeyFunctionNotPermitted
                        | RvError::KeySizeRange,
                    ..
                }
        ) || self.class() == ErrorClass::HandleGone
    }

    /// Whether the same call may work a little later: answer 503 with Retry-After.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.class(),
            ErrorClass::Ambiguous
                | ErrorClass::SessionGone
                | ErrorClass::LoginGone
                | ErrorClass::HandleGone
                | ErrorClass::DeviceGone
                | ErrorClass::OutOfResources
                | ErrorClass::Pin
        )
    }

    /// Whether the same call may work at once: with a new session, login or handle. A device may
    /// fail once; one that is gone fails again.
    pub(super) fn is_transient(&self) -> bool {
        match self.class() {
            ErrorClass::Ambiguous
            | ErrorClass::SessionGone
            | ErrorClass::LoginGone
            | ErrorClass::HandleGone => true,
            ErrorClass::DeviceGone => matches!(self, Self::Call { .. }),
            ErrorClass::OutOfResources => self.is_out_of_memory(),
            ErrorClass::BadInput | ErrorClass::Pin | ErrorClass::Configuration => false,
        }
    }

    /// Whether module or token say that they have no memory: of a moment, or because the token is
    /// full.
    pub(super) const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Call { code: RvError::HostMemory | RvError::DeviceMemory, .. })
    }

    /// Whether the token refuses the mechanism, which it may say of a key that has no fit length.
    pub(super) const fn is_mechanism_refused(&self) -> bool {
        matches!(self, Self::Call { code: RvError::MechanismInvalid, .. })
    }

    /// Whether a device says that it failed, which it may do once.
    pub(super) const fn is_device_error(&self) -> bool {
        matches!(self, Self::Call { code: RvError::DeviceError, .. })
    }

    /// Whether the call itself, past its Init, left open if the data or the token is at fault.
    /// SoftHSM says GENERAL_ERROR for a wrong tag, kryoptic DEVICE_ERROR for a bad padding; codes of
    /// a vendor may say anything.
    pub(super) fn is_ambiguous(&self) -> bool {
        let leaves_it_open = matches!(
            self,
            Self::Call {
                function: Function::Decrypt | Function::Verify | Function::UnwrapKey,
                code: RvError::GeneralError
                    | RvError::FunctionFailed
                    | RvError::DeviceError
                    | RvError::VendorDefined(_)
                    | RvError::UnknownErrorCode(_)
            }
        );
        // One of the codes without a name says plainly that it is the data.
        leaves_it_open && self.class() != ErrorClass::BadInput
    }
}

impl From<Pkcs11Error> for TokenError {
    fn from(error: Pkcs11Error) -> Self {
        match error {
            Pkcs11Error::Pkcs11(code, function) => Self::Call { function, code },
            other => Self::Binding(other),
        }
    }
}

/// AEAD_DECRYPT_FAILED of PKCS#11 3.0, which the binding has no name for.
const CKR_AEAD_DECRYPT_FAILED: u64 = 0x42;

/// The table (decision D7): first the function, then the code.
fn class_of(function: Function, code: RvError) -> ErrorClass {
    match (function, code) {
        // AWS CloudHSM's word for "no more sessions".
        (Function::OpenSession, RvError::ArgumentsBad) => ErrorClass::OutOfResources,
        // openCryptoki's word for "the daemon is not running".
        (Function::Initialize, RvError::HostMemory) => ErrorClass::DeviceGone,
        // A refused damage of data, or a broken device; a control call tells.
        (Function::Decrypt | Function::Verify | Function::UnwrapKey, RvError::DeviceError) => {
            ErrorClass::Ambiguous
        }
        // SoftHSM2's word for a key that a logout took: its allowed mechanisms cannot be read. Whether
        // the token can encrypt at all was tried at the start.
        (Function::EncryptInit, RvError::MechanismInvalid) => ErrorClass::HandleGone,
        // Unwrapped material of a length that no key of this type has.
        (Function::UnwrapKey, RvError::KeySizeRange) => ErrorClass::BadInput,
        // It may be a vendor's word for a refused PIN, which must not be tried again.
        (Function::Login, RvError::VendorDefined(_) | RvError::UnknownErrorCode(_)) => {
            ErrorClass::Configuration
        }
        (_, code) => class_of_code(code),
    }
}

fn class_of_code(code: RvError) -> ErrorClass {
    match code {
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::SignatureInvalid
        | RvError::SignatureLenRange
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange
        | RvError::UnknownErrorCode(CKR_AEAD_DECRYPT_FAILED) => ErrorClass::BadInput,
        // Where real tokens put "busy" and "the link was reset": codes of their own, too.
        RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::CantLock
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => ErrorClass::Ambiguous,
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::BufferTooSmall => ErrorClass::SessionGone,
        RvError::UserNotLoggedIn => ErrorClass::LoginGone,
        RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::KeyChanged => ErrorClass::HandleGone,
        RvError::CryptokiNotInitialized
        | RvError::DeviceError
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid => ErrorClass::DeviceGone,
        RvError::SessionCount | RvError::DeviceMemory | RvError::HostMemory => {
            ErrorClass::OutOfResources
        }
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized => ErrorClass::Pin,
        _ => ErrorClass::Configuration,
    }
}

/// The code's name as PKCS#11 spells it: `CKR_KEY_HANDLE_INVALID`.
fn ckr_name(code: RvError) -> String {
    if let RvError::UnknownErrorCode(value) | RvError::VendorDefined(value) = code {
        return format!("return code {value:#x}");
    }
    let mut name = String::from("CKR");
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Unsupported(what) => {
                let code = ErrorCode::UnsupportedOperation;
                let text = code.message();
                let message = format!("{text} The token of this gateway can not do {what}.");
                return Self::with_message(code, message).because(error);
            }
            // The code that makes clients wait; the token itself is well.
            TokenError::Busy => ErrorCode::Throttling,
            _ if error.is_unavailable() => ErrorCode::Unavailable,
            _ => ErrorCode::InternalFailure,
        };
        Self::from(code).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: Function, code: RvError) -> TokenError {
        Pkcs11Error::Pkcs11(code, function).into()
    }

    #[test]
    fn the_same_code_means_another_thing_from_another_function() {
        let device_error = |function| call(function, RvError::DeviceError).class();
        assert_eq!(device_error(Function::Encrypt), ErrorClass::DeviceGone);
        assert_eq!(device_error(Function::Decrypt), ErrorClass::Ambiguous);
        let bad = |function| call(function, RvError::ArgumentsBad).class();
        assert_eq!(bad(Function::OpenSession), ErrorClass::OutOfResources);
        assert_eq!(bad(Function::DecryptInit), ErrorClass::Configuration);
    }

    #[test]
    fn only_the_call_itself_is_ambiguous_never_its_init() {
        assert!(call(Function::Decrypt, RvError::GeneralError).is_ambiguous());
        assert!(!call(Function::DecryptInit, RvError::GeneralError).is_ambiguous());
    }

    #[test]
    fn a_message_names_function_and_code_as_the_specification_does() {
        let error = call(Function::EncryptInit, RvError::KeyHandleInvalid);
        assert_eq!(error.to_string(), "C_EncryptInit answered CKR_KEY_HANDLE_INVALID");
        let unknown = call(Function::Decrypt, RvError::UnknownErrorCode(0x42));
        assert_eq!(unknown.to_string(), "C_Decrypt answered return code 0x42");
    }

    #[test]
    fn transient_codes_are_tried_again_and_a_login_is_not() {
        let vendor = RvError::VendorDefined(0x8000_0001);
        for code in [
            RvError::HostMemory,
            RvError::DeviceMemory,
            RvError::FunctionCanceled,
            RvError::CantLock,
            vendor,
        ] {
            assert!(call(Function::Encrypt, code).is_transient(), "{code:?}");
        }
        assert!(call(Function::Decrypt, vendor).is_ambiguous());
        assert!(!call(Function::Decrypt, RvError::HostMemory).is_ambiguous());
        assert!(!call(Function::Login, vendor).is_transient());
        assert!(!call(Function::OpenSession, RvError::SessionCount).is_transient());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told_from_what_is_wrong_with_the_token() {
        for error in [
            TokenError::NotFound,
            TokenError::Duplicate,
            call(Function::EncryptInit, RvError::MechanismInvalid),
            call(Function::EncryptInit, RvError::KeyTypeInconsistent),
            call(Function::Encrypt, RvError::KeyHandleInvalid),
        ] {
            assert!(error.is_key_fault(), "{error}");
        }
        for error in [
            TokenError::BadCiphertext,
            TokenError::Deadline,
            TokenError::Untrusted("it is empty"),
            call(Function::Encrypt, RvError::DeviceRemoved),
            call(Function::Encrypt, RvError::GeneralError),
        ] {
            assert!(!error.is_key_fault(), "{error}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        assert!(TokenError::Busy.is_unavailable());
        assert!(call(Function::Encrypt, RvError::DeviceRemoved).is_unavailable());
        assert!(!TokenError::BadCiphertext.is_unavailable());
        assert!(call(Function::EncryptInit, RvError::MechanismInvalid).is_unavailable());
        assert!(!call(Function::SignInit, RvError::MechanismInvalid).is_unavailable());
    }
}
