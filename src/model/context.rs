//! The encryption context: authenticated with a ciphertext but not stored in it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::params::{ParamError, Params, RequestField};
use aws_lc_rs::digest;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Maximum number of characters of all names and values of a context together.
pub const MAX_CONTEXT_CHARS: usize = 8192;

/// Why a text is not an encryption context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContext {
    /// Not a JSON object of strings, or a name is repeated.
    #[error("not a JSON object of distinct names and string values")]
    NotAMapOfStrings,
    /// More than [`MAX_CONTEXT_CHARS`] characters.
    #[error("more than 8192 characters")]
    TooLong,
}

/// A map of strings. Decryption requires the same pairs again. A missing context and `{}` are
/// equal.
///
/// ```
/// use hsmgate::model::EncryptionContext;
/// let one: EncryptionContext = r#"{"b":"2","a":"1"}"#.parse()?;
/// let two: EncryptionContext = r#"{ "a": "\u0031", "b": "2" }"#.parse()?;
/// assert_eq!(one.aad(), two.aad());
/// assert_eq!("{}".parse::<EncryptionContext>()?.aad(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// A context of these pairs.
    ///
    /// # Errors
    /// When the pairs exceed [`MAX_CONTEXT_CHARS`] characters.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, InvalidContext> {
        let chars: usize =
            pairs.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if chars > MAX_CONTEXT_CHARS {
            return Err(InvalidContext::TooLong);
        }
        Ok(Self(pairs))
    }

    /// Reads the context of a request: a JSON object in the parameter `name`, or one parameter
    /// `name.<pair's name>` for each pair, as an older Node SDK sends it.
    ///
    /// # Errors
    /// When the text is not a context, or both forms are present.
    pub fn from_params(params: &Params<'_>, name: &'static str) -> Result<Self, ParamError> {
        let flattened: BTreeMap<String, String> = params
            .iter()
            .filter_map(|(key, value)| {
                let pair = key.strip_prefix(name)?.strip_prefix('.')?;
                Some((pair.to_owned(), value.to_owned()))
            })
            .collect();
        let invalid = |_source| ParamError::invalid(name);
        match params.text(name) {
            None | Some("") => Self::new(flattened).map_err(invalid),
            Some(json) if flattened.is_empty() => json.parse().map_err(invalid),
            Some(_) => Err(ParamError::invalid(name)),
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The pairs, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// [`EncryptionContext::aad`] as bytes. Empty for an empty context.
    pub fn aad_bytes(&self) -> Vec<u8> {
        self.aad().map(Vec::from).unwrap_or_default()
    }

    /// The additional authenticated data of AES-GCM, 32 bytes. `None` for an empty context.
    ///
    /// SHA-256 of the pairs `name=value`, sorted by name and joined by `&`, as in the vendor's
    /// transfer SDKs. A map for which this form is ambiguous (`=` or `&` in a name, `&` in a value)
    /// is hashed as a zero byte, the number of pairs, and each name and value after its length (all
    /// numbers 64 bits, big-endian). A joined form begins with a zero byte only if a name does, and
    /// such a name uses the second form too.
    pub fn aad(&self) -> Option<[u8; 32]> {
        if self.0.is_empty() {
            return None;
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        if self.0.iter().any(|(name, value)| is_ambiguous(name, value)) {
            hash.update(&[0]);
            hash.update(&length(self.0.len()));
            for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
                hash.update(&length(text.len()));
                hash.update(text.as_bytes());
            }
        } else {
            let mut separator: &[u8] = b"";
            for (name, value) in &self.0 {
                for part in [separator, name.as_bytes(), b"=", value.as_bytes()] {
                    hash.update(part);
                }
                separator = b"&";
            }
        }
        hash.finish().as_ref().try_into().ok()
    }
}

fn is_ambiguous(name: &str, value: &str) -> bool {
    name.contains(['=', '&', '\0']) || value.contains('&')
}

fn length(count: usize) -> [u8; 8] {
    u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes()
}

impl FromStr for EncryptionContext {
    type Err = InvalidContext;

    fn from_str(json: &str) -> Result<Self, InvalidContext> {
        // A character takes at most 12 bytes of JSON (an escaped surrogate pair). The rest is room
        // for quotes and white space.
        if json.len() > 16 * MAX_CONTEXT_CHARS {
            return Err(InvalidContext::TooLong);
        }
        let DistinctPairs(pairs) =
            serde_json::from_str(json).map_err(|_source| InvalidContext::NotAMapOfStrings)?;
        Self::new(pairs)
    }
}

/// A JSON object of strings without repeated names.
struct DistinctPairs(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for DistinctPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = DistinctPairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctPairs, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if pairs.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name is repeated"));
                    }
                }
                Ok(DistinctPairs(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// An empty context is the same as none.
impl RequestField for EncryptionContext {
    fn read(params: &Params<'_>, name: &'static str) -> Result<Self, ParamError> {
        Self::from_params(params, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aad(json: &str) -> Option<[u8; 32]> {
        json.parse::<EncryptionContext>().unwrap().aad()
    }

    #[test]
    fn the_aad_is_the_one_of_the_transfer_sdks() {
        let vector = "8e85be58c1c372ac29fe7bfa80d8ddcbd04a4032c7b51c1c026d67c55b1ab23f";
        assert_eq!(aad(r#"{"b":"2","a":"1"}"#).map(hex::encode).as_deref(), Some(vector));
    }

    #[test]
    fn maps_with_the_same_joined_form_have_different_aads() {
        let maps = [
            r#"{"a":"1","b":"2"}"#,
            r#"{"a":"1&b=2"}"#,
            r#"{"a=1&b":"2"}"#,
            r#"{"a=1":"","b":"2"}"#,
            r#"{"a":"=1","b":"2"}"#,
        ];
        let aads: std::collections::HashSet<_> = maps.iter().map(|map| aad(map)).collect();
        assert_eq!(aads.len(), maps.len());
    }

    #[test]
    fn only_an_object_of_distinct_names_and_strings_is_a_context() {
        for json in ["", "null", "[]", "{'a': 'b'}", r#"{"a":1}"#, r#"{"a":{}}"#, "[object Object]"]
        {
            assert!(json.parse::<EncryptionContext>().is_err(), "{json}");
        }
        assert!(r#"{"a":"1","\u0061":"1"}"#.parse::<EncryptionContext>().is_err());
    }

    #[test]
    fn the_limit_counts_characters_and_not_bytes() {
        let of = |count: usize| format!(r#"{{"a":"{}"}}"#, "字".repeat(count));
        assert!(of(MAX_CONTEXT_CHARS - 1).parse::<EncryptionContext>().is_ok());
        assert_eq!(
            of(MAX_CONTEXT_CHARS).parse::<EncryptionContext>(),
            Err(InvalidContext::TooLong)
        );
    }
}
