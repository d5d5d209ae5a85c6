//! How this token behaves where PKCS#11 leaves a choice, or where tokens differ from it: found out by
//! the self-test at each initialization, and needed by later calls.

use std::fmt;

use parking_lot::Mutex;

use crate::model::IvLength;

/// The measured behavior of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBehavior {
    /// The form of AES-GCM.
    pub(crate) gcm: GcmForm,
    /// Which secret keys can be copied into the session.
    pub(crate) copies: Copies,
    /// Where keys for tests are made.
    pub(crate) test_keys: TestKeys,
    /// Whether all keys are made with MODIFIABLE=true: by configuration, because no probe can find
    /// out what a token does with its keys years later.
    pub(crate) is_modifiable: bool,
}

/// Where the keys of the self-test and of other tests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestKeys {
    /// As session objects, which end with the session.
    SessionObjects,
    /// As token objects with a label that only they have: the token has no session objects.
    TokenObjects,
}

/// The form of AES-GCM: who makes the IV, where it is returned, and which functions are called. The
/// bytes of ciphertext and tag are the same in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcmForm {
    /// Who makes the IV.
    pub(crate) iv: IvSource,
    /// The functions that encrypt.
    pub(crate) encryption: GcmCalls,
    /// The functions that decrypt.
    pub(crate) decryption: GcmCalls,
}

/// Who makes the IV of an encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IvSource {
    /// The caller, 12 bytes.
    Caller,
    /// The token.
    Token(TokenIv),
}

/// An IV that the token makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenIv {
    /// What the IV of the mechanism's parameters is for an encryption.
    pub(crate) input: IvInput,
    /// Where the token returns the IV.
    pub(crate) place: IvPlace,
    pub(crate) length: IvLength,
}

/// The IV in the parameters of an encryption whose IV the token makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IvInput {
    /// 12 zero bytes.
    Zeros,
    /// No byte.
    Nothing,
}

/// Where the token returns an IV that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IvPlace {
    /// In the mechanism's parameters; AWS CloudHSM.
    Parameter,
    /// After the tag; Thales Luna and ProtectServer in FIPS mode.
    AfterTag,
    /// Before the ciphertext. A decryption gets it in the mechanism's parameters.
    BeforeCiphertext,
    /// Before the ciphertext, also of a decryption.
    AlwaysBeforeCiphertext,
}

/// The functions of one encryption or decryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GcmCalls {
    /// C_Encrypt, C_Decrypt.
    SinglePart,
    /// C_EncryptMessage, C_DecryptMessage of PKCS#11 3.0.
    Message,
}

impl GcmForm {
    /// The form of PKCS#11 2.40, which most tokens have.
    pub(crate) const USUAL: Self = Self {
        iv: IvSource::Caller,
        encryption: GcmCalls::SinglePart,
        decryption: GcmCalls::SinglePart,
    };

    /// Whether the token makes the IVs, so that no caller can give one.
    pub const fn token_makes_iv(self) -> bool {
        matches!(self.iv, IvSource::Token(_))
    }

    /// The length of the IVs of encryptions.
    pub const fn iv_length(self) -> IvLength {
        match self.iv {
            IvSource::Caller => IvLength::Bits96,
            IvSource::Token(iv) => iv.length,
        }
    }

    /// The function that encrypts.
    pub const fn encrypts_with(self) -> &'static str {
        match self.encryption {
            GcmCalls::SinglePart => "C_Encrypt",
            GcmCalls::Message => "C_EncryptMessage",
        }
    }

    /// The function that decrypts.
    pub const fn decrypts_with(self) -> &'static str {
        match self.decryption {
            GcmCalls::SinglePart => "C_Decrypt",
            GcmCalls::Message => "C_DecryptMessage",
        }
    }
}

/// Who makes the IV and where it is returned, such as `token (after the tag)`.
impl fmt::Display for GcmForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IvSource::Token(iv) = self.iv else { return f.write_str("gateway") };
        f.write_str(match iv.place {
            IvPlace::Parameter => "token (in the parameters)",
            IvPlace::AfterTag => "token (after the tag)",
            IvPlace::BeforeCiphertext | IvPlace::AlwaysBeforeCiphertext => {
                "token (before the ciphertext)"
            }
        })
    }
}

/// Which secret keys the token copies into the session for the hot path: a copy saves the token two
/// file accesses or a search for each call, a factor of 2 to 150.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    /// None. The keys are generated with COPYABLE=false.
    Never,
    /// Those with MODIFIABLE=false, as all keys should be, or as configured.
    OfClosed,
    /// Only those with MODIFIABLE=true; SoftHSM. That is safe: by the standard SENSITIVE and
    /// EXTRACTABLE can only become stricter, and the keys for which WRAP or DERIVE could be enabled
    /// are non-extractable too. An attacker with the PIN could change labels and ids, but could
    /// destroy the key as well.
    OfModifiable,
}

impl Copies {
    /// Whether copies are used at all.
    pub(crate) const fn are_used(self) -> bool {
        !matches!(self, Self::Never)
    }
}

impl TokenBehavior {
    /// The value of MODIFIABLE for secret keys.
    pub(crate) const fn makes_modifiable_secrets(self) -> bool {
        self.is_modifiable || matches!(self.copies, Copies::OfModifiable)
    }
}

/// How an unwrapped key becomes an object of the token that is closed: sensitive, and not
/// extractable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnwrapForm {
    /// C_UnwrapKey gives the key the attributes of the template: directly.
    Direct,
    /// C_UnwrapKey ignores them, as in openCryptoki: as a session object, which is closed, read
    /// back, and then copied. A token object would be open until it is closed, or for ever if the
    /// process ends in between.
    Copied,
}

/// How the token imports keys, as far as it is known: once after each initialization of the module.
#[derive(Debug, Default)]
pub(crate) struct KnownUnwrapForm(pub(super) Mutex<Option<Result<UnwrapForm, ImportRefused>>>);

/// The token cannot import keys that are closed from the first instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImportRefused;
