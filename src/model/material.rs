//! Key material that its owner brings along (BYOK): what is remembered of it, and of the
//! parameters under which it may come in. The material itself is in the token alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::id::{InvalidId, lower_uuid};
use super::spec::api_enum;
use super::{Base64Bytes, KeyId, KeyVersionId, Time};

/// What is remembered of the imported material of a key of origin EXTERNAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMaterial {
    /// What the same material gives again, and tells nothing of it. It stays when the material is
    /// deleted, so that only the same material can come back.
    pub check_value: Vec<u8>,
    /// When the material is to be deleted; never if there is no date.
    pub expires: Option<Time>,
    /// Whether the token has the material now.
    pub is_present: bool,
}

impl ImportedMaterial {
    /// Whether the material is there and its date has come.
    pub fn is_due(&self, now: Time) -> bool {
        self.is_present && self.expires.is_some_and(|expires| expires <= now)
    }
}

api_enum! {
    /// How material is wrapped for its way in (GetParametersForImport, parameter
    /// WrappingAlgorithm).
    WrappingAlgorithm, "wrapping algorithm" {
        /// RSAES-PKCS1-v1_5 (RFC 8017, section 7.2).
        RsaesPkcs1 = "RSAES_PKCS1_V1_5",
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1 (RFC 8017, section 7.1).
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
    }
}

/// The id of one answer to GetParametersForImport, a UUID: what its import token carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImportId(Uuid);

impl ImportId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for ImportId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        lower_uuid(text).map(Self).ok_or(InvalidId("import id"))
    }
}

impl fmt::Display for ImportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Serialize for ImportId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an import token says: which answer to GetParametersForImport it came with, and until when
/// it is good. It is written `<import id>.<seconds since 1970>` in Base64.
///
/// It is no secret and proves nothing; what it allows is written in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportToken {
    /// The id of the answer.
    pub id: ImportId,
    /// When it becomes void.
    pub expires: Time,
}

impl FromStr for ImportToken {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("import token");
        let Base64Bytes(token) = text.parse().map_err(|_source| invalid)?;
        let token = std::str::from_utf8(&token).map_err(|_source| invalid)?;
        let (id, expires) = token.split_once('.').ok_or(invalid)?;
        let seconds = expires.parse().map_err(|_source| invalid)?;
        Ok(Self { id: id.parse().map_err(|_source| invalid)?, expires: Time::from_unix(seconds) })
    }
}

impl Serialize for ImportToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}.{}", self.id, self.expires.unix());
        Base64Bytes(text.into_bytes()).serialize(serializer)
    }
}

/// What one answer to GetParametersForImport allows: material for this key, wrapped with this
/// pair, in this way, until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportParameters {
    /// What the import token names.
    pub id: ImportId,
    /// The key whose material may come in.
    pub key: KeyId,
    /// The token object of the RSA pair that wraps.
    pub wrapping: KeyVersionId,
    /// How it wraps.
    pub algorithm: WrappingAlgorithm,
    /// When the token is void and the pair may be destroyed.
    pub expires: Time,
    /// How often material was refused under them.
    #[serde(default)]
    pub refusals: u32,
}

impl ImportParameters {
    /// The import token that goes with them.
    pub const fn token(&self) -> ImportToken {
        ImportToken { id: self.id, expires: self.expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_due_at_its_date_while_it_is_there() {
        let date = Time::from_unix(1_700_000_000);
        let material =
            |expires, is_present| ImportedMaterial { check_value: Vec::new(), expires, is_present };
        assert!(material(Some(date), true).is_due(date));
        assert!(!material(Some(date), true).is_due(date.plus_seconds(-1)));
        assert!(!material(Some(date), false).is_due(date));
        assert!(!material(None, true).is_due(date));
    }

    #[test]
    fn import_parameters_come_back_from_json_as_they_were() {
        let parameters = ImportParameters {
            id: ImportId::random(),
            key: KeyId::random(),
            wrapping: KeyVersionId::random(),
            algorithm: WrappingAlgorithm::RsaesOaepSha256,
            expires: Time::from_unix(1_700_000_000),
            refusals: 3,
        };
        let json = serde_json::to_string(&parameters).unwrap();
        assert!(json.contains("RSAES_OAEP_SHA_256"), "{json}");
        assert_eq!(serde_json::from_str::<ImportParameters>(&json).unwrap(), parameters);
    }

    #[test]
    fn an_import_token_says_what_it_was_made_of_and_nothing_else_is_one() {
        let token = ImportToken { id: ImportId::random(), expires: Time::from_unix(1_700_000_000) };
        let text = serde_json::to_value(token).unwrap();
        assert_eq!(text.as_str().unwrap().parse(), Ok(token));
        for other in ["", "AAAA", "not Base64", "e30=", "LjE3MDAwMDAwMDA="] {
            assert!(other.parse::<ImportToken>().is_err(), "{other}");
        }
    }
}
