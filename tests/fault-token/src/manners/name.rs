//! The manners by name.

use std::fmt;
use std::str::FromStr;

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_RV, CKA_MODIFIABLE, CKA_SIGN_RECOVER, CKA_VERIFY_RECOVER,
};
use serde::{Deserialize, Serialize};

use crate::attribute_types;
use crate::return_codes;

/// A manner. Its text is its name in kebab case, with its values behind: `random-limit=1024`,
/// `attribute-refused=CKA_MODIFIABLE:CKR_TEMPLATE_INCONSISTENT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Manner {
    /// `iv-written-back`: the token makes the IV of AES-GCM, 12 bytes, and C_EncryptInit writes it to
    /// pIv, where it expects 12 zero bytes. AWS CloudHSM.
    IvWrittenBack,
    /// `iv-written-back-by-encrypt`: the same, but written by C_Encrypt. Google Cloud KMS.
    IvWrittenBackByEncrypt,
    /// `iv-appended-16`: the token makes an IV of 16 bytes, which follows the tag; a given IV is
    /// ignored. Thales Luna in FIPS mode.
    IvAppended16,
    /// `iv-appended-12`: a given IV is mandatory and is replaced by random bytes of the same length,
    /// which follow the tag. Thales ProtectServer in FIPS mode.
    IvAppended12,
    /// `iv-in-front-12`: the token makes an IV of 12 bytes, which precedes the ciphertext; a given IV
    /// is ignored. CKM_CLOUDHSM_AES_GCM.
    IvInFront12,
    /// `no-copy-object`: C_CopyObject is not supported.
    NoCopyObject,
    /// `no-set-attribute-value`: C_SetAttributeValue is not supported.
    NoSetAttributeValue,
    /// `attribute-unknown=CKA_…`: the token does not know this attribute, neither in a template nor
    /// when it is read.
    AttributeUnknown(CK_ATTRIBUTE_TYPE),
    /// `attribute-refused=CKA_…:CKR_…`: no new object may have this attribute in its template, whatever
    /// its value; it can be read.
    AttributeRefused(CK_ATTRIBUTE_TYPE, CK_RV),
    /// `attribute-ignored=CKA_…`: an attribute that is a boolean is taken in every template, and the
    /// object has the other value.
    AttributeIgnored(CK_ATTRIBUTE_TYPE),
    /// `no-session-objects`: each new object has to be a token object.
    NoSessionObjects,
    /// `label-limit=BYTES`: no label is longer.
    LabelLimit(u64),
    /// `random-limit=BYTES`: C_GenerateRandom gives no more in one call.
    RandomLimit(u64),
    /// `unwrap-template-ignored`: an unwrapped key is not SENSITIVE, and EXTRACTABLE, whatever the
    /// template asks for. openCryptoki.
    UnwrapTemplateIgnored,
}

/// The manners that AWS CloudHSM has at once. `cloud-hsm` in a list names them all.
pub const CLOUD_HSM: [Manner; 6] = [
    Manner::IvWrittenBack,
    Manner::NoCopyObject,
    Manner::NoSetAttributeValue,
    Manner::AttributeUnknown(CKA_MODIFIABLE),
    Manner::AttributeUnknown(CKA_SIGN_RECOVER),
    Manner::AttributeUnknown(CKA_VERIFY_RECOVER),
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

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribute = attribute_types::name;
        match self {
            Self::IvWrittenBack => f.write_str("iv-written-back"),
            Self::IvWrittenBackByEncrypt => f.write_str("iv-written-back-by-encrypt"),
            Self::IvAppended16 => f.write_str("iv-appended-16"),
            Self::IvAppended12 => f.write_str("iv-appended-12"),
            Self::IvInFront12 => f.write_str("iv-in-front-12"),
            Self::NoCopyObject => f.write_str("no-copy-object"),
            Self::NoSetAttributeValue => f.write_str("no-set-attribute-value"),
            Self::AttributeUnknown(kind) => write!(f, "attribute-unknown={}", attribute(*kind)),
            Self::AttributeRefused(kind, code) => {
                write!(f, "attribute-refused={}:{}", attribute(*kind), return_codes::name(*code))
            }
            Self::AttributeIgnored(kind) => write!(f, "attribute-ignored={}", attribute(*kind)),
            Self::NoSessionObjects => f.write_str("no-session-objects"),
            Self::LabelLimit(bytes) => write!(f, "label-limit={bytes}"),
            Self::RandomLimit(bytes) => write!(f, "random-limit={bytes}"),
            Self::UnwrapTemplateIgnored => f.write_str("unwrap-template-ignored"),
        }
    }
}

impl FromStr for Manner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        let (first, second) = values.split_once(':').unwrap_or((values, ""));
        let number = || first.parse().map_err(|_error| format!("{text} has no number"));
        let attribute = || attribute_types::number(first);
        Ok(match name {
            "iv-written-back" => Self::IvWrittenBack,
            "iv-written-back-by-encrypt" => Self::IvWrittenBackByEncrypt,
            "iv-appended-16" => Self::IvAppended16,
            "iv-appended-12" => Self::IvAppended12,
            "iv-in-front-12" => Self::IvInFront12,
            "no-copy-object" => Self::NoCopyObject,
            "no-set-attribute-value" => Self::NoSetAttributeValue,
            "attribute-unknown" => Self::AttributeUnknown(attribute()),
            "attribute-refused" => Self::AttributeRefused(attribute(), return_codes::code(second)),
            "attribute-ignored" => Self::AttributeIgnored(attribute()),
            "no-session-objects" => Self::NoSessionObjects,
            "label-limit" => Self::LabelLimit(number()?),
            "random-limit" => Self::RandomLimit(number()?),
            "unwrap-template-ignored" => Self::UnwrapTemplateIgnored,
            _ => return Err(format!("{text} is no manner")),
        })
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
        let text = "random-limit=1024, attribute-refused=CKA_MODIFIABLE:CKR_TEMPLATE_INCONSISTENT";
        let manners = Manner::list(text);
        assert_eq!(manners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), text);
        assert_eq!(Manner::list("cloud-hsm"), CLOUD_HSM);
        assert_eq!(Manner::list(""), []);
        assert!("iv".parse::<Manner>().is_err());
    }
}
