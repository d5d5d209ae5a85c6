//! The names of the gateway's objects in the token: `CKA_LABEL`, readable without a database.

use std::fmt;
use std::str::FromStr;

use crate::model::text_form::{InvalidId, api_enum};
use crate::model::{IvLength, KeyId, KeySpec, KeyVersionId};

const PREFIX: &str = "hsmgate";
/// The maximum length of a name as a label, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 92;
/// The last part of the label of a version with IVs of 16 bytes.
const LONG_IV: &str = "iv16";

/// The owner, number and id of a key version. As a label: `hsmgate/<owner>/<number>/<version>`, at
/// most 92 bytes. A version with IVs of 16 bytes adds `/iv16`, which makes the label longer than
/// that from version 100,000 on.
///
/// ```
/// use hsmgate::token::ObjectName;
/// let label = "hsmgate/access-key-seal/1/46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
/// assert_eq!(label.parse::<ObjectName>()?.to_string(), label);
/// assert!("another/access-key-seal/1/46a9efd9".parse::<ObjectName>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The owner of the key.
    pub owner: ObjectOwner,
    /// The number of the version, from 1.
    pub number: u32,
    /// The id of the version; its 16 raw bytes are the object's `CKA_ID`.
    pub version: KeyVersionId,
    /// The length of the IVs of its ciphertexts, if it encrypts with AES-GCM.
    pub iv_length: IvLength,
}

/// The identity of a key: its owner, version and class. A caller gives all three, and the token's
/// objects must match: with the id alone, a changed database could name any object of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyIdentity {
    /// The required `CKA_LABEL` of the objects. The version in it is their `CKA_ID`.
    pub name: ObjectName,
    /// The objects that form the key.
    pub class: KeyClass,
}

/// The objects that form a key (`CKA_CLASS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyClass {
    /// A secret key.
    Secret,
    /// A private key with its public key.
    Pair,
}

impl KeyIdentity {
    /// The key version of an API key with this number and id.
    pub fn of_key(key: KeyId, spec: KeySpec, number: u32, version: KeyVersionId) -> Self {
        let owner = ObjectOwner::Key(key);
        let name = ObjectName { owner, number, version, iv_length: IvLength::Bits96 };
        Self { name, class: KeyClass::of(spec) }
    }

    /// The key with IVs of this length.
    #[must_use]
    pub const fn with_iv_length(self, iv_length: IvLength) -> Self {
        Self { name: ObjectName { iv_length, ..self.name }, ..self }
    }

    /// A key of the service itself, by its id.
    pub const fn of_service(service: ServiceKey, version: KeyVersionId) -> Self {
        let class = match service {
            ServiceKey::AccessKeyEncryption => KeyClass::Secret,
            ServiceKey::ImportWrapping | ServiceKey::AuditCheckpoint => KeyClass::Pair,
        };
        let owner = ObjectOwner::Service(service);
        let name = ObjectName { owner, number: 1, version, iv_length: IvLength::Bits96 };
        Self { name, class }
    }

    /// Whether a label belongs to this key. The number is not compared, because `hsmgate recover`
    /// gives a version another number if its own is taken; the id identifies the version of the
    /// key.
    pub(crate) fn matches_label(&self, label: &[u8]) -> bool {
        let name = std::str::from_utf8(label).ok().and_then(|label| label.parse().ok());
        name.is_some_and(|name: ObjectName| {
            (name.owner, name.version) == (self.name.owner, self.name.version)
        })
    }

    /// The id of the version.
    pub const fn id(&self) -> KeyVersionId {
        self.name.version
    }
}

impl KeyClass {
    /// The class of keys of this spec.
    pub const fn of(spec: KeySpec) -> Self {
        if spec.is_asymmetric() { Self::Pair } else { Self::Secret }
    }
}

/// The owner of a token object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectOwner {
    /// A key of the API.
    Key(KeyId),
    /// The service itself.
    Service(ServiceKey),
}

api_enum! {
    /// The keys of the service itself.
    ServiceKey, "service key" {
        /// Encrypts the AccessKey secrets at rest.
        AccessKeyEncryption = "access-key-seal",
        /// Unwraps imported key material, one pair for each import token.
        ImportWrapping = "import-wrapping",
        /// Signs the checkpoints of the audit log.
        AuditCheckpoint = "audit-checkpoint",
    }
}

impl ServiceKey {
    /// The store metadata that names the version of [`ServiceKey::AccessKeyEncryption`] in use.
    pub const ENCRYPTION_KEY: &'static str = "access-key-seal";
    /// The store metadata that names the version of [`ServiceKey::AuditCheckpoint`] in use.
    pub const CHECKPOINT_KEY: &'static str = "audit-checkpoint-key";

    /// The store metadata that names the version in use, for a key with only one version in use.
    pub const fn metadata_name(self) -> Option<&'static str> {
        match self {
            Self::AccessKeyEncryption => Some(Self::ENCRYPTION_KEY),
            Self::AuditCheckpoint => Some(Self::CHECKPOINT_KEY),
            Self::ImportWrapping => None,
        }
    }
}

impl fmt::Display for ObjectOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Service(key) => key.fmt(f),
        }
    }
}

impl FromStr for ObjectOwner {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self::Service).or_else(|_other| text.parse().map(Self::Key))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}/{}/{}/{}", self.owner, self.number, self.version)?;
        match self.iv_length {
            IvLength::Bits96 => Ok(()),
            IvLength::Bits128 => write!(f, "/{LONG_IV}"),
        }
    }
}

impl FromStr for ObjectName {
    type Err = InvalidId;

    fn from_str(label: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("object name");
        let mut parts = label.split('/');
        let mut part = || parts.next().ok_or(invalid);
        if part()? != PREFIX {
            return Err(invalid);
        }
        let owner = part()?.parse()?;
        let number = part()?.parse().map_err(|_source: std::num::ParseIntError| invalid)?;
        let version = part()?.parse()?;
        let iv_length = match parts.next() {
            None => IvLength::Bits96,
            Some(LONG_IV) => IvLength::Bits128,
            Some(_) => return Err(invalid),
        };
        let name = Self { owner, number, version, iv_length };
        // Only one spelling for each name: no sign, no leading zero, nothing after it.
        if name.to_string() == label { Ok(name) } else { Err(invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_back_as_the_name_that_it_is() {
        let name = ObjectName {
            owner: ObjectOwner::Key(KeyId::random()),
            number: 7,
            version: KeyVersionId::random(),
            iv_length: IvLength::Bits96,
        };
        assert_eq!(name.to_string().parse(), Ok(name));
        let longest = ObjectName { number: u32::MAX, ..name };
        assert!(longest.to_string().len() <= MAX_NAME_BYTES);
        let long = ObjectName { iv_length: IvLength::Bits128, ..name };
        assert_eq!(long.to_string(), format!("{name}/iv16"));
        assert_eq!(long.to_string().parse(), Ok(long));
        let longest = ObjectName { number: 99_999, ..long };
        assert!(longest.to_string().len() <= MAX_NAME_BYTES);
    }

    #[test]
    fn a_label_names_one_owner_and_one_version() {
        let (key, version) = (KeyId::random(), KeyVersionId::random());
        let wanted = KeyIdentity::of_key(key, KeySpec::Aes256, 2, version);
        let attributes = |owner, number, version| {
            let name = ObjectName { owner, number, version, iv_length: IvLength::Bits96 };
            wanted.matches_label(name.to_string().as_bytes())
        };
        let owner = ObjectOwner::Key(key);
        assert!(attributes(owner, 2, version) && attributes(owner, 3, version));
        assert!(!attributes(owner, 2, KeyVersionId::random()));
        assert!(!attributes(ObjectOwner::Key(KeyId::random()), 2, version));
        for service in ServiceKey::ALL {
            assert!(!attributes(ObjectOwner::Service(*service), 1, version));
        }
        assert!(!wanted.matches_label(b"") && !wanted.matches_label(&[0xff]));
    }

    #[test]
    fn a_foreign_label_is_not_an_object_name() {
        let id = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
        for label in [
            String::new(),
            "my key".into(),
            format!("hsmgate/access-key-seal/01/{id}"),
            format!("hsmgate/access-key-seal/+1/{id}"),
            format!("hsmgate/access-key-seal/1/{id}/more"),
            format!("hsmgate/access-key-seal/1/{id}/iv16/more"),
            format!("hsmgate/access-key-seal/1/{id}/iv12"),
            format!("hsmgate/nobody/1/{id}"),
        ] {
            assert!(label.parse::<ObjectName>().is_err(), "{label}");
        }
    }
}
