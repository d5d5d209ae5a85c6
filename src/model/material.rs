//! Imported key material (BYOK): stored metadata of the material, and the parameters of an import.
//! The material itself is only on the token.

use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::text_form::{InvalidId, api_enum, uuid_type};
use super::{Base64Bytes, KeyId, KeyVersionId, Time};

/// Metadata of the imported material of a key of origin EXTERNAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMaterial {
    /// A value that the same material reproduces and that reveals nothing about it. Kept when the
    /// material is deleted, so that only the same material can be imported again.
    pub check_value: Vec<u8>,
    /// When the material will be deleted. `None` means never.
    pub expires: Option<Time>,
    /// Whether the token has the material now.
    pub is_present: bool,
}

impl ImportedMaterial {
    /// Whether the material is present and has expired.
    pub fn is_due(&self, now: Time) -> bool {
        self.is_present && self.expires.is_some_and(|expires| expires <= now)
    }
}

api_enum! {
    /// How material is wrapped for import (GetParametersForImport, parameter WrappingAlgorithm).
    WrappingAlgorithm, "wrapping algorithm" {
        /// RSAES-PKCS1-v1_5 (RFC 8017, section 7.2).
        RsaesPkcs1 = "RSAES_PKCS1_V1_5",
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1 (RFC 8017, section 7.1).
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
    }
}

uuid_type! {
    /// The id of a response of GetParametersForImport, a UUID. The import token contains it.
    ImportId, "import id", ""
}

/// The content of an import token: the id of the GetParametersForImport response, and the expiry
/// time. Encoded as `<import id>.<seconds since 1970>` in Base64.
///
/// It is neither secret nor a proof; the store holds what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportToken {
    /// The id of the response.
    pub id: ImportId,
    /// Expiry time.
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

/// What one response of GetParametersForImport allows: material for this key, wrapped with this key
/// pair and algorithm, until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportParameters {
    /// The id in the import token.
    pub id: ImportId,
    /// The key to import material into.
    pub key: KeyId,
    /// The token object of the RSA wrapping key pair.
    pub wrapping: KeyVersionId,
    /// The wrapping algorithm.
    pub algorithm: WrappingAlgorithm,
    /// When the import token expires and the key pair may be destroyed.
    pub expires: Time,
    /// The number of refused imports.
    #[serde(default)]
    pub refusals: u32,
}

impl ImportParameters {
    /// The matching import token.
    pub const fn token(&self) -> ImportToken {
        ImportToken { id: self.id, expires: self.expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn present_material_is_due_at_its_expiry() {
        let date = Time::from_unix(1_700_000_000);
        let material =
            |expires, is_present| ImportedMaterial { check_value: Vec::new(), expires, is_present };
        assert!(material(Some(date), true).is_due(date));
        assert!(!material(Some(date), true).is_due(date.plus_seconds(-1)));
        assert!(!material(Some(date), false).is_due(date));
        assert!(!material(None, true).is_due(date));
    }

    #[test]
    fn import_parameters_survive_a_json_round_trip() {
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
    fn an_import_token_parses_to_its_parts_and_other_texts_are_refused() {
        let token = ImportToken { id: ImportId::random(), expires: Time::from_unix(1_700_000_000) };
        let text = serde_json::to_value(token).unwrap();
        assert_eq!(text.as_str().unwrap().parse(), Ok(token));
        for other in ["", "AAAA", "not Base64", "e30=", "LjE3MDAwMDAwMDA="] {
            assert!(other.parse::<ImportToken>().is_err(), "{other}");
        }
    }
}
