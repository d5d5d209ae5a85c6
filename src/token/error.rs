//! The errors of the token, and the table of recovery actions for them.

use std::path::PathBuf;

use cryptoki::context::Function;
use cryptoki::error::{Error as Pkcs11Error, RvError};

use super::objects::name::ObjectName;
use crate::error::{ApiError, ErrorCode};

/// An error of the token module. No message has a secret.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The ciphertext cannot be decrypted: a wrong tag, other associated data, a bad padding, a bad
    /// length. The cause is not revealed.
    #[error("the ciphertext cannot be decrypted with this key")]
    BadCiphertext,
    /// The token repeatedly made ciphertexts that do not decrypt to their plaintext. None was
    /// returned.
    #[error("the token makes ciphertexts that cannot be decrypted")]
    Unverified,
    /// Wrapped key material cannot be unwrapped, or has another length than the key spec's.
    #[error("the wrapped key material is not a key of this spec")]
    BadKeyMaterial,
    /// An invalid argument of the call; the text names it.
    #[error("{0}")]
    BadInput(&'static str),
    /// The token has no object with the key version's id, although the session is logged in.
    #[error("the key is not in the token")]
    NotFound,
    /// The objects with the key version's id belong to another key, by their label or class. They
    /// are not used.
    #[error(
        "the token's objects with the id of {wanted} belong to another key: their label is {label:?}"
    )]
    KeyMismatch {
        /// The expected name.
        wanted: ObjectName,
        /// The label found.
        label: String,
    },
    /// The key with the key version's id gives another answer than the database knows of this version. It is
    /// not used.
    #[error(
        "the key with the id of {wanted} is another one: it gives another answer than the database knows"
    )]
    OtherKey {
        /// The expected name.
        wanted: ObjectName,
    },
    /// The token has more than one object of a class with the key version's id. None is used.
    #[error("the token has more than one key with this id")]
    Duplicate,
    /// The token, or this build, does not support the request; the text names what.
    #[error("the token does not support {0}")]
    Unsupported(&'static str),
    /// The token has no room for another object. Its keys stay usable.
    #[error("the token has no room for another object")]
    Full,
    /// The key was found again while a job used it, and was not compared with that of the other tokens
    /// of the group yet.
    #[error("the key was not compared with that of the other tokens yet")]
    NotCompared,
    /// The queue of the token threads is full, or too long to be served in time.
    #[error("too many calls are waiting for the token")]
    Busy,
    /// The call's time ran out, before or while the token worked on it.
    #[error("the token did not respond in time")]
    Deadline,
    /// The token is known to be unavailable; it was not called.
    #[error("the token is unavailable: {0}")]
    Unavailable(UnavailableReason),
    /// The token responds, but incorrectly; the text names the failed check.
    #[error("the token cannot be trusted: {0}")]
    Untrusted(&'static str),
    /// The token created an object with other attributes than requested. It was destroyed.
    #[error("the token created an object with other attributes than requested: {0}")]
    WrongAttributes(String),
    /// The token refuses a template because of an attribute without which no key is used; the text
    /// names it.
    #[error("the token does not accept {0} in the template of a key")]
    AttributeRefused(String),
    /// A call into the module panicked.
    #[error("a call into the PKCS#11 module panicked")]
    Panicked,
    /// No slot, or more than one, has the configured token.
    #[error(
        "{found} slots have a token with {selector}; exactly one must. The module shows: {shown}"
    )]
    Selection {
        /// Slots that match.
        found: usize,
        /// The configured selector.
        selector: String,
        /// Labels and serial numbers of the initialized tokens.
        shown: String,
    },
    /// The module cannot be loaded.
    #[error("cannot load the PKCS#11 module {path}")]
    Module {
        /// Its path.
        path: PathBuf,
        /// The error of the loader.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// C_Initialize refused its argument, or the lack of one.
    #[error(
        "C_Initialize returned CKR_ARGUMENTS_BAD: the module requires another argument \
         (token.init_arguments), or none"
    )]
    InitArguments,
    /// A PKCS#11 function returned an error code.
    #[error("C_{function:?} returned {}{}", ckr_name(*.code), advice(*.function, *.code))]
    Call {
        /// The function.
        function: Function,
        /// Its return code.
        code: RvError,
    },
    /// The PIN was not tried, because the token may lock permanently; the text says why.
    #[error("the PIN was not tried: {0}")]
    PinNotTried(String),
    /// The system could not start a thread.
    #[error("could not start a thread for the token")]
    Thread(#[source] std::io::Error),
    /// The kernel returned no random bytes.
    #[error("could not read random bytes from the system")]
    SystemRandom(#[source] std::io::Error),
    /// The PKCS#11 binding rejected a call or a response.
    #[error("the PKCS#11 binding failed")]
    Binding(#[source] Pkcs11Error),
}

/// Why the token is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnavailableReason {
    /// It was lost and is being recovered.
    #[error("it was lost and is being recovered")]
    Recovering,
    /// It refused the PIN. No further login until an operator has acted: every further try may lock
    /// the token permanently.
    #[error("it refused the PIN, and an operator must act")]
    PinRefused,
    /// Its module has blocked every thread for long.
    #[error("its module does not respond")]
    Hanging,
    /// It was closed in an orderly way.
    #[error("it is closed")]
    Closed,
    /// It could not be opened yet.
    #[error("it was not opened yet")]
    NotOpened,
    /// It has another key than the database or the other tokens of its group know, under the same id.
    #[error("it has another key under the id of one that the database or the other tokens know")]
    Disagrees,
    /// Another token of its group, which is required, is away.
    #[error("a required token of the group is away")]
    RequiredAway,
    /// A required token of its group did not show a new key in time.
    #[error("a required token of the group does not show the new key")]
    NotReplicated,
    /// A required token of its group still shows a destroyed key.
    #[error("a required token of the group still shows the destroyed key")]
    NotDestroyed,
}

/// The recovery action for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller's data is at fault, or a normal result. The session is usable.
    BadInput,
    /// Unknown cause: open a new session, check the login, find the handle, then retry.
    Ambiguous,
    /// The session is lost or unusable: open a new one, then retry.
    SessionGone,
    /// The session is not logged in: log in, then retry.
    LoginGone,
    /// The handle is invalid: find the key again, then retry.
    HandleGone,
    /// The module must be initialized again; calls fail at once until then.
    DeviceGone,
    /// Sessions, memory or time are exhausted: back-pressure.
    OutOfResources,
    /// The PIN was refused. Never retried automatically: each try may lock the token permanently.
    Pin,
    /// It cannot work with this configuration. No retry.
    Configuration,
}

impl TokenError {
    /// The recovery action for this error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BadCiphertext
            | Self::BadKeyMaterial
            | Self::BadInput(_)
            | Self::NotFound
            | Self::KeyMismatch { .. }
            | Self::OtherKey { .. } => ErrorClass::BadInput,
            Self::Busy | Self::Deadline | Self::NotCompared => ErrorClass::OutOfResources,
            Self::PinNotTried(_) => ErrorClass::Pin,
            Self::Unavailable(_) | Self::Untrusted(_) => ErrorClass::DeviceGone,
            Self::Panicked | Self::Unverified => ErrorClass::SessionGone,
            Self::Duplicate
            | Self::Full
            | Self::Unsupported(_)
            | Self::WrongAttributes(_)
            | Self::AttributeRefused(_)
            | Self::Selection { .. }
            | Self::Module { .. }
            | Self::InitArguments
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

    /// Whether a key is missing, incomplete or another one, while the token itself works.
    pub fn is_key_fault(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::KeyMismatch { .. }
                | Self::OtherKey { .. }
                | Self::Duplicate
                | Self::Call {
                    code: RvError::KeyTypeInconsistent
                        | RvError::KeyFunctionNotPermitted
                        | RvError::KeySizeRange,
                    ..
                }
        ) || self.class() == ErrorClass::HandleGone
    }

    /// Whether the same call may succeed a little later: the response is 503 with Retry-After.
    pub fn is_unavailable(&self) -> bool {
        !matches!(self.class(), ErrorClass::BadInput | ErrorClass::Configuration)
    }

    /// Whether the same call may succeed at once: with a new session, login or handle. A device may
    /// fail once; a lost one fails again.
    pub(super) fn is_transient(&self) -> bool {
        if self.may_mean_a_removed_key() {
            return true;
        }
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

    /// Whether this is what SoftHSM2 returns for a key that a logout removed after its handle was found
    /// valid: its usage, its type or its allowed mechanisms cannot be read. The key is found again at the
    /// first retry; if the error stays, it is a fault of the key.
    const fn may_mean_a_removed_key(&self) -> bool {
        matches!(
            self,
            Self::Call {
                function: Function::EncryptInit
                    | Function::DecryptInit
                    | Function::SignInit
                    | Function::VerifyInit
                    | Function::UnwrapKey,
                code: RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent,
            } | Self::Call { function: Function::DecryptInit, code: RvError::MechanismInvalid }
        )
    }

    /// Whether the token grants no further session.
    pub(super) fn is_session_refused(&self) -> bool {
        matches!(self, Self::Call { function: Function::OpenSession, .. })
            && self.class() == ErrorClass::OutOfResources
    }

    /// Whether module or token report that they have no memory: temporarily, or because the token
    /// is full.
    pub(super) const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Call { code: RvError::HostMemory | RvError::DeviceMemory, .. })
    }

    /// Whether the token has no room for the object that it was asked to create.
    pub(super) const fn is_no_room(&self) -> bool {
        let creates = matches!(
            self,
            Self::Call {
                function: Function::GenerateKey
                    | Function::GenerateKeyPair
                    | Function::UnwrapKey
                    | Function::CopyObject,
                ..
            }
        );
        creates && self.is_out_of_memory()
    }

    /// Whether the token reports that the key was used as often as it allows.
    pub const fn is_key_exhausted(&self) -> bool {
        matches!(self, Self::Call { code: RvError::UnknownErrorCode(CKR_KEY_EXHAUSTED), .. })
    }

    /// Whether an encryption failed without a clear cause. If the token itself works, the key may be
    /// at fault: craton returns GENERAL_ERROR for a key that was used up.
    pub fn is_ambiguous_encryption(&self) -> bool {
        matches!(self, Self::Call { function: Function::EncryptInit | Function::Encrypt, .. })
            && self.class() == ErrorClass::Ambiguous
    }

    /// Whether the token refuses a mechanism or its parameters, before it sees any data.
    pub(super) const fn is_refused_mechanism(&self) -> bool {
        matches!(
            self,
            Self::Call {
                function: Function::EncryptInit
                    | Function::DecryptInit
                    | Function::SignInit
                    | Function::VerifyInit
                    | Function::UnwrapKey,
                code: RvError::MechanismInvalid
                    | RvError::MechanismParamInvalid
                    | RvError::FunctionNotSupported
                    | RvError::ArgumentsBad
            }
        )
    }

    /// Whether the token does not know an attribute by which it is asked to find an object.
    pub const fn is_refused_search(&self) -> bool {
        matches!(
            self,
            Self::Call {
                function: Function::FindObjectsInit,
                code: RvError::AttributeTypeInvalid
                    | RvError::AttributeValueInvalid
                    | RvError::TemplateInconsistent
                    | RvError::FunctionNotSupported
                    | RvError::ArgumentsBad,
            }
        )
    }

    /// Whether the token refuses to create such a key, or to use the key that it has just created:
    /// its mechanism list seemed to promise a size, a curve or a kind of key that it does not have.
    pub(super) const fn is_refused_kind(&self) -> bool {
        let creates_or_uses = matches!(
            self,
            Self::Call {
                function: Function::GenerateKey
                    | Function::GenerateKeyPair
                    | Function::EncryptInit
                    | Function::Encrypt
                    | Function::DecryptInit
                    | Function::Decrypt
                    | Function::SignInit
                    | Function::Sign
                    | Function::VerifyInit
                    | Function::Verify,
                ..
            }
        );
        creates_or_uses
            && matches!(
                self,
                Self::Call {
                    code: RvError::MechanismInvalid
                        | RvError::MechanismParamInvalid
                        | RvError::KeySizeRange
                        | RvError::DomainParamsInvalid
                        | RvError::CurveNotSupported
                        | RvError::AttributeTypeInvalid
                        | RvError::AttributeValueInvalid
                        | RvError::TemplateIncomplete
                        | RvError::TemplateInconsistent
                        | RvError::FunctionNotSupported
                        | RvError::ArgumentsBad,
                    ..
                }
            )
    }

    /// Whether C_GenerateKeyPair failed in a way that leaves open if the token does not have such
    /// pairs or fails: kryoptic returns GENERAL_ERROR for a curve that it does not have.
    pub(super) fn is_ambiguous_generation(&self) -> bool {
        matches!(self, Self::Call { function: Function::GenerateKeyPair, .. })
            && self.class() == ErrorClass::Ambiguous
    }

    /// Whether the token rejects the mechanism, which it may do for a key of unsuitable length.
    pub(super) const fn is_mechanism_refused(&self) -> bool {
        matches!(self, Self::Call { code: RvError::MechanismInvalid, .. })
    }

    /// Whether the token refuses the template of a new object: for an attribute, its value, the
    /// combination, or because one is missing.
    pub(super) const fn is_template_refused(&self) -> bool {
        let Self::Call { function, code } = self else { return false };
        match code {
            RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::AttributeReadOnly
            | RvError::TemplateInconsistent
            | RvError::TemplateIncomplete => true,
            // In the other calls, a parameter of the mechanism may be meant.
            RvError::ArgumentsBad => {
                matches!(function, Function::GenerateKey | Function::GenerateKeyPair)
            }
            _ => false,
        }
    }

    /// Whether the token misses an attribute in the template of a new object.
    pub(super) const fn is_template_incomplete(&self) -> bool {
        matches!(self, Self::Call { code: RvError::TemplateIncomplete, .. })
    }

    /// Whether a device reports a failure, which may be transient.
    pub(super) const fn is_device_error(&self) -> bool {
        matches!(self, Self::Call { code: RvError::DeviceError, .. })
    }

    /// Whether the call itself, after its Init, failed in a way that leaves open if the data or the
    /// token is at fault. SoftHSM returns GENERAL_ERROR for a wrong tag, kryoptic DEVICE_ERROR for
    /// a bad padding, NSS 3.87 ARGUMENTS_BAD; codes of a vendor may mean anything.
    pub(super) fn is_ambiguous(&self) -> bool {
        let leaves_it_open = matches!(
            self,
            Self::Call {
                function: Function::Decrypt | Function::Verify | Function::UnwrapKey,
                code: RvError::GeneralError
                    | RvError::FunctionFailed
                    | RvError::DeviceError
                    | RvError::ArgumentsBad
                    | RvError::VendorDefined(_)
                    | RvError::UnknownErrorCode(_)
            }
        );
        // One of the codes without a name clearly means the data.
        leaves_it_open && self.class() != ErrorClass::BadInput
    }
}

impl From<Pkcs11Error> for TokenError {
    fn from(error: Pkcs11Error) -> Self {
        match error {
            Pkcs11Error::Pkcs11(code, function) => {
                Self::Call { function: single_part(function), code }
            }
            other => Self::Binding(other),
        }
    }
}

/// The single-part function that does what a message function of PKCS#11 3.0 does: their codes mean
/// the same.
const fn single_part(function: Function) -> Function {
    match function {
        Function::MessageEncryptInit => Function::EncryptInit,
        Function::EncryptMessage => Function::Encrypt,
        Function::MessageDecryptInit => Function::DecryptInit,
        Function::DecryptMessage => Function::Decrypt,
        other => other,
    }
}

/// AEAD_DECRYPT_FAILED of PKCS#11 3.0, which the binding does not define.
const CKR_AEAD_DECRYPT_FAILED: u64 = 0x42;
/// KEY_EXHAUSTED of PKCS#11 3.0, which the binding does not define: the key has been used as often
/// as its token allows.
const CKR_KEY_EXHAUSTED: u64 = 0x203;

/// The table (decision D7): first the function, then the code.
fn class_of(function: Function, code: RvError) -> ErrorClass {
    match (function, code) {
        // AWS CloudHSM's code for "no more sessions".
        (Function::OpenSession, RvError::ArgumentsBad) => ErrorClass::OutOfResources,
        // openCryptoki's code for "the daemon is not running".
        (Function::Initialize, RvError::HostMemory) => ErrorClass::DeviceGone,
        // Rejected data, or a broken device; a control call decides.
        (Function::Decrypt | Function::Verify | Function::UnwrapKey, RvError::DeviceError) => {
            ErrorClass::Ambiguous
        }
        // SoftHSM2's code for a key that a logout removed: its allowed mechanisms cannot be read.
        // The self-test at the start has shown that the token can encrypt.
        (Function::EncryptInit, RvError::MechanismInvalid) => ErrorClass::HandleGone,
        // Unwrapped material of a length that no key of this type has.
        (Function::UnwrapKey, RvError::KeySizeRange) => ErrorClass::BadInput,
        // It may be a vendor's code for a refused PIN, which must not be tried again.
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
        // Another version of the key is necessary, which a rotation creates.
        RvError::UnknownErrorCode(CKR_KEY_EXHAUSTED) => ErrorClass::OutOfResources,
        // Real tokens use these for "busy" and "the link was reset", and vendor codes too.
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

/// What a person has to look at, if the module says nothing.
fn advice(function: Function, code: RvError) -> &'static str {
    match (function, code) {
        (Function::Initialize, RvError::GeneralError) => {
            ": can this account read the configuration and the files of the module?"
        }
        _ => "",
    }
}

/// The code's name as PKCS#11 spells it: `CKR_KEY_HANDLE_INVALID`.
fn ckr_name(code: RvError) -> String {
    if code == RvError::UnknownErrorCode(CKR_KEY_EXHAUSTED) {
        return "CKR_KEY_EXHAUSTED".to_owned();
    }
    if let RvError::UnknownErrorCode(value) | RvError::VendorDefined(value) = code {
        return format!("code {value:#x}");
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
                let message = format!("{text} The token of this gateway does not support {what}.");
                return Self::with_message(code, message).because(error);
            }
            TokenError::Full => {
                let message = "The request was rejected because the token of this gateway has no \
                               room for another key.";
                return Self::with_message(ErrorCode::LimitExceeded, message).because(error);
            }
            // The code that makes clients wait; the token itself works.
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
        assert!(call(Function::UnwrapKey, RvError::ArgumentsBad).is_ambiguous());
        assert!(call(Function::DecryptMessage, RvError::GeneralError).is_ambiguous());
        assert!(!call(Function::MessageDecryptInit, RvError::GeneralError).is_ambiguous());
    }

    #[test]
    fn a_message_names_function_and_code_as_the_specification_does() {
        let error = call(Function::EncryptInit, RvError::KeyHandleInvalid);
        assert_eq!(error.to_string(), "C_EncryptInit returned CKR_KEY_HANDLE_INVALID");
        let unknown = call(Function::Decrypt, RvError::UnknownErrorCode(0x42));
        assert_eq!(unknown.to_string(), "C_Decrypt returned code 0x42");
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
    fn faults_of_a_key_are_distinguished_from_faults_of_the_token() {
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
    fn a_key_that_a_logout_removed_is_found_again() {
        use Function::{DecryptInit, EncryptInit, SignInit, UnwrapKey, VerifyInit};
        for function in [EncryptInit, DecryptInit, SignInit, VerifyInit, UnwrapKey] {
            for code in [RvError::KeyFunctionNotPermitted, RvError::KeyTypeInconsistent] {
                let error = call(function, code);
                assert!(error.is_transient() && !error.is_unavailable(), "{error}");
            }
        }
        assert!(call(DecryptInit, RvError::MechanismInvalid).is_transient());
        assert!(!call(SignInit, RvError::MechanismInvalid).is_transient());
    }

    #[test]
    fn transient_errors_are_distinguished_from_permanent_ones() {
        assert!(TokenError::Busy.is_unavailable());
        assert!(call(Function::Encrypt, RvError::DeviceRemoved).is_unavailable());
        assert!(!TokenError::BadCiphertext.is_unavailable());
        assert!(call(Function::EncryptInit, RvError::MechanismInvalid).is_unavailable());
        assert!(!call(Function::SignInit, RvError::MechanismInvalid).is_unavailable());
    }
}
