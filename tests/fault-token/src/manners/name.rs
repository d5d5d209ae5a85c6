//! The manners by name.

use std::fmt;
use std::str::FromStr;

use cryptoki_sys::{CKA_MODIFIABLE, CKA_SIGN_RECOVER, CKA_VERIFY_RECOVER};
use serde::{Deserialize, Serialize};

use super::value::{AttributeType, MechanismType, ReturnCode, Value};

/// The text of a manner: its name, and its values behind an equals sign, separated by colons.
macro_rules! manners {
    ($($(#[$doc:meta])* $variant:ident $(($($value:ident: $kind:ty),+))? = $name:literal,)+) => {
        /// A manner. Its text is its name with its values behind: `random-limit=1024`,
        /// `attribute-refused=CKA_MODIFIABLE:CKR_TEMPLATE_INCONSISTENT`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Manner {
            $($(#[$doc])* $variant $(($($kind),+))?,)+
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),+];

        impl fmt::Display for Manner {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $(($($value),+))? => {
                        let values: &[String] = &[$($($value.text()),+)?];
                        let sign = if values.is_empty() { "" } else { "=" };
                        write!(f, "{}{sign}{}", $name, values.join(":"))
                    })+
                }
            }
        }

        impl FromStr for Manner {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let (name, values) = text.split_once('=').unwrap_or((text, ""));
                let mut values = values.split(':').filter(|value| !value.is_empty());
                let manner = match name {
                    $($name => Self::$variant $(($(<$kind as Value>::next(&mut values)?),+))?,)+
                    _ => return Err(format!("{text} is no manner")),
                };
                match values.next() {
                    Some(more) => Err(format!("{text} has more values than {name}: {more}")),
                    None => Ok(manner),
                }
            }
        }
    };
}

manners! {
    /// The token makes the IV of AES-GCM, 12 bytes, and C_EncryptInit writes it to pIv, where it
    /// expects 12 zero bytes. AWS CloudHSM.
    IvWrittenBack = "iv-written-back",
    /// The same, but written by C_Encrypt. Google Cloud KMS.
    IvWrittenBackByEncrypt = "iv-written-back-by-encrypt",
    /// The token makes an IV of 16 bytes, which follows the tag; a given IV is ignored. Thales Luna in
    /// FIPS mode.
    IvAppended16 = "iv-appended-16",
    /// A given IV is mandatory and is replaced by random bytes of the same length, which follow the
    /// tag. Thales ProtectServer in FIPS mode.
    IvAppended12 = "iv-appended-12",
    /// The token makes an IV of 12 bytes, which precedes the ciphertext; a given IV is ignored.
    /// CKM_CLOUDHSM_AES_GCM.
    IvInFront12 = "iv-in-front-12",
    /// The message calls of PKCS#11 3.0 are there too.
    MessageCalls = "message-calls",
    /// AES-GCM encrypts with the message calls of PKCS#11 3.0 only: C_Encrypt answers the length
    /// without the tag, and then the buffer is too small. NSS.
    MessageCallsOnly = "message-calls-only",
    /// C_CopyObject is not supported.
    NoCopyObject = "no-copy-object",
    /// C_SetAttributeValue is not supported.
    NoSetAttributeValue = "no-set-attribute-value",
    /// C_Initialize wants an argument in pReserved, which SoftHSM2 does not get. NSS.
    ArgumentWanted = "argument-wanted",
    /// The token does not know this attribute, neither in a template nor when it is read.
    AttributeUnknown(attribute: AttributeType) = "attribute-unknown",
    /// No new object may have this attribute in its template, whatever its value; it can be read.
    AttributeRefused(attribute: AttributeType, code: ReturnCode) = "attribute-refused",
    /// An attribute that is a boolean is taken in every template, and the object has the other value.
    AttributeIgnored(attribute: AttributeType) = "attribute-ignored",
    /// An attribute is taken in every template, and cannot be read. NSS: CKA_MODULUS_BITS.
    AttributeNotTold(attribute: AttributeType) = "attribute-not-told",
    /// A key pair is TEMPLATE_INCOMPLETE without this attribute in one of its templates.
    PairRequires(attribute: AttributeType) = "pair-requires",
    /// Each new object has to be a token object.
    NoSessionObjects = "no-session-objects",
    /// No label is longer than so many bytes.
    LabelLimit(bytes: u64) = "label-limit",
    /// The token has no room for more token objects than this. The code is that of each function that
    /// makes one.
    ObjectLimit(objects: u64, code: ReturnCode) = "object-limit",
    /// Other objects are in the token, whose class, key type and attributes are those of a vendor.
    ForeignObjects = "foreign-objects",
    /// An unwrapped key is not SENSITIVE, and EXTRACTABLE, whatever the template asks for.
    /// openCryptoki.
    UnwrapTemplateIgnored = "unwrap-template-ignored",
    /// C_GenerateRandom gives no more bytes in one call.
    RandomLimit(bytes: u64) = "random-limit",
    /// No more sessions are open at once. The code is that of C_OpenSession.
    SessionLimit(sessions: u64, code: ReturnCode) = "session-limit",
    /// A key encrypts and signs so often, and then C_EncryptInit and C_SignInit answer this code.
    KeyLimit(uses: u64, code: ReturnCode) = "key-limit",
    /// The token does not have this mechanism.
    NoMechanism(mechanism: MechanismType) = "no-mechanism",
    /// The token lists this mechanism, and each use of it has this answer.
    MechanismFails(mechanism: MechanismType, code: ReturnCode) = "mechanism-fails",
    /// The token has this mechanism, but it unwraps no key.
    NoUnwrap(mechanism: MechanismType) = "no-unwrap",
    /// A key pair on the curve secp256k1 cannot be made, and has this answer.
    NoSecp256k1(code: ReturnCode) = "no-secp256k1",
    /// RSA key pairs with more bits cannot be made: KEY_SIZE_RANGE.
    RsaLimit(bits: u64) = "rsa-limit",
    /// AES keys of 128 and 192 bits can be made, but their use is KEY_SIZE_RANGE. craton.
    Aes256Only = "aes-256-only",
    /// A ciphertext that is not authentic has this answer of C_Decrypt. nShield: FUNCTION_FAILED.
    DecryptError(code: ReturnCode) = "decrypt-error",
    /// Texts of the token are filled with zero bytes in place of blanks.
    ZeroFilledTexts = "zero-filled-texts",
    /// Every token has this serial number. NSS has one number for two slots.
    SerialNumber(number: u64) = "serial-number",
}

/// The manners that AWS CloudHSM has at once. `cloud-hsm` in a list names them all.
pub const CLOUD_HSM: [Manner; 6] = [
    Manner::IvWrittenBack,
    Manner::NoCopyObject,
    Manner::NoSetAttributeValue,
    Manner::AttributeUnknown(AttributeType(CKA_MODIFIABLE)),
    Manner::AttributeUnknown(AttributeType(CKA_SIGN_RECOVER)),
    Manner::AttributeUnknown(AttributeType(CKA_VERIFY_RECOVER)),
];

const CLOUD_HSM_NAME: &str = "cloud-hsm";

impl Manner {
    /// The manners of a list with commas.
    ///
    /// # Panics
    /// When a name is none.
    pub fn list(text: &str) -> Vec<Self> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.flat_map(Self::named).collect()
    }

    fn named(name: &str) -> Vec<Self> {
        if name == CLOUD_HSM_NAME {
            return CLOUD_HSM.to_vec();
        }
        vec![name.parse().unwrap_or_else(|error| panic!("{error}"))]
    }
}

impl TryFrom<String> for Manner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Manner> for String {
    fn from(manner: Manner) -> Self {
        manner.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_manners_with_their_values_and_groups() {
        let text = "random-limit=1024, attribute-refused=CKA_MODIFIABLE:CKR_TEMPLATE_INCONSISTENT, \
                    no-mechanism=CKM_AES_ECB, key-limit=5:CKR_KEY_EXHAUSTED, foreign-objects";
        let manners = Manner::list(text);
        assert_eq!(manners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), text);
        assert_eq!(Manner::list("cloud-hsm"), CLOUD_HSM);
        assert_eq!(Manner::list(""), []);
        for text in ["iv", "random-limit", "random-limit=a", "random-limit=1:2", "no-copy-object=1"]
        {
            assert!(text.parse::<Manner>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_page_tells_every_manner() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/develop/fault-token.md");
        let page = std::fs::read_to_string(page).unwrap();
        let is_named = |name: &&str| {
            page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}="))
        };
        let missing: Vec<_> = NAMES.iter().filter(|name| !is_named(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
