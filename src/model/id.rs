//! Identifiers: key, key version, request, AccessKey.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use super::text_form::{
    InvalidId, is_ascii_name, is_lower_alphanumeric, lower_uuid, text_forms, text_type, uuid_type,
};
use crate::model::random;

/// Letters after `key-`, where the real service has its region and zone.
const KEY_ID_ZONE: &str = "hsm";
const KEY_ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstuvwxy";
const KEY_ID_BYTES: usize = 25;
const UUID_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

/// The id of a key: `key-` and 21 lowercase letters or digits (25 bytes in total), or the older
/// form, a lowercase UUID of 36 bytes.
///
/// ```
/// use hsmgate::model::KeyId;
/// assert!("key-hzz630494463ejqjx1234".parse::<KeyId>().is_ok());
/// assert!("86a9efd9-3d16-4894-bd4f-1fc43f3f2abf".parse::<KeyId>().is_ok());
/// assert!("key-HZZ630494463ejqjx1234".parse::<KeyId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    bytes: [u8; UUID_BYTES],
    len: u8,
}

impl KeyId {
    /// A new id of 25 bytes with 90 random bits.
    pub fn random() -> Self {
        Self::of_number(random::uuid().as_u128())
    }

    /// The id that follows from a text. Another text has another id.
    pub fn derived(text: &str) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let number = hash.as_ref().iter().take(16);
        Self::of_number(number.fold(0, |sum, byte| (sum << 8) | u128::from(*byte)))
    }

    fn of_number(random: u128) -> Self {
        let mut text = String::with_capacity(KEY_ID_BYTES);
        text.push_str("key-");
        text.push_str(KEY_ID_ZONE);
        // The low 62 and the high 48 bits of a version 4 UUID are random (RFC 9562, section 5.4).
        for step in 0..18_u32 {
            let shift = if step < 9 { step * 5 } else { step * 5 + 35 };
            let index = usize::try_from((random >> shift) & 31).unwrap_or_default();
            text.push(char::from(KEY_ID_ALPHABET.get(index).copied().unwrap_or(b'0')));
        }
        Self::copied(&text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        let used = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(used).unwrap_or_default()
    }

    fn copied(text: &str) -> Self {
        let mut bytes = [0; UUID_BYTES];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self { bytes, len: u8::try_from(text.len().min(UUID_BYTES)).unwrap_or_default() }
    }
}

impl FromStr for KeyId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_new_form = text.len() == KEY_ID_BYTES
            && text.strip_prefix("key-").is_some_and(is_lower_alphanumeric);
        if is_new_form || lower_uuid(text).is_some() {
            Ok(Self::copied(text))
        } else {
            Err(InvalidId("key id"))
        }
    }
}

text_forms!(KeyId: Serialize, Deserialize, FromParam);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.as_str())
    }
}

uuid_type! {
    /// The id of a key version: a lowercase UUID, 36 ASCII bytes in a ciphertext blob.
    ///
    /// Its 16 raw bytes are the `CKA_ID` of the token object.
    KeyVersionId, "key version id", ""
}

impl KeyVersionId {
    /// The 16 raw bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The version id with these 16 raw bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 36 ASCII bytes at the start of a ciphertext blob.
    pub fn to_ascii(self) -> [u8; UUID_BYTES] {
        let mut ascii = [0; UUID_BYTES];
        self.0.hyphenated().encode_lower(&mut ascii);
        ascii
    }
}

/// A key version as named by a caller.
///
/// ```
/// use hsmgate::model::VersionRef;
/// let here: VersionRef = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf".parse()?;
/// assert!(here.id().is_some());
/// let elsewhere: VersionRef = "key-hzz630494463ejqjx1234-0123456789".parse()?;
/// assert!(elsewhere.id().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    /// An id in the format of this gateway.
    Local(KeyVersionId),
    /// An id in the current format of the real service: the id of a new key, `-`, and 10 lowercase
    /// letters or digits, 36 bytes in total. No version of this gateway has one.
    Foreign(Arc<str>),
}

impl VersionRef {
    /// The id, if it can be a version of this gateway.
    pub const fn id(&self) -> Option<KeyVersionId> {
        match self {
            Self::Local(id) => Some(*id),
            Self::Foreign(_) => None,
        }
    }
}

text_forms!(VersionRef: FromParam);

impl FromStr for VersionRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Local(id));
        }
        let (key, rest) = text.split_at_checked(KEY_ID_BYTES).unwrap_or_default();
        let rest = rest.strip_prefix('-').filter(|rest| rest.len() == 10);
        match rest {
            Some(rest) if key.parse::<KeyId>().is_ok() && is_lower_alphanumeric(rest) => {
                Ok(Self::Foreign(text.into()))
            }
            _ => Err(InvalidId("key version id")),
        }
    }
}

uuid_type! {
    /// The id of a request, a UUID. It is in the response body, the `x-acs-request-id` header, the
    /// log and the audit record.
    RequestId, "request id", ""
}

text_type! {
    /// The id of an AccessKey (its public half): 1 to 64 ASCII letters, digits, dots, dashes or
    /// underscores.
    AccessKeyId, "AccessKey id", |text| is_ascii_name(text, 64, b".-_")
}

/// Whether a text can be the name of a key or an alias, in any format.
pub(crate) fn is_name(text: &str) -> bool {
    is_ascii_name(text, 255, b"_-/.:@+=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_the_real_service_is_foreign() {
        let elsewhere = "key-hzz630494463ejqjx1234-0a1b2c3d4e";
        assert_eq!(elsewhere.parse(), Ok(VersionRef::Foreign(elsewhere.into())));
        let id = KeyVersionId::random();
        assert_eq!(id.to_string().parse(), Ok(VersionRef::Local(id)));
        for text in [
            "",
            "1",
            "key-hzz630494463ejqjx1234",
            "key-hzz630494463ejqjx1234-0a1b2c3d4",
            "key-hzz630494463ejqjx1234-0a1b2c3d4e5",
            "key-hzz630494463ejqjx1234-0A1B2C3D4E",
            "key-hzz630494463ejqjx1234_0a1b2c3d4e",
            "46A9EFD9-3D16-4894-BD4F-1FC43F3F2ABF",
            "ä",
        ] {
            assert!(text.parse::<VersionRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_random_key_id_parses_as_itself() {
        let id = KeyId::random();
        assert_eq!(id.as_str().len(), 25);
        assert_eq!(id.as_str().parse(), Ok(id));
        assert_ne!(KeyId::random(), KeyId::random());
    }

    #[test]
    fn a_key_id_of_another_shape_is_refused() {
        for text in ["", "key-", "key-hzz", "alias/x", "86A9EFD9-3d16-4894-bd4f-1fc43f3f2abf"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_id_keeps_its_bytes_and_its_text() {
        let text = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
        let id: KeyVersionId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.to_ascii(), text.as_bytes());
        assert_eq!(KeyVersionId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn an_access_key_id_holds_no_separator_of_any_header() {
        assert!("STS.NexampleTempKeyId".parse::<AccessKeyId>().is_ok());
        for text in ["", "a,b", "a b", "a/b", "a=b", "ä"] {
            assert!(text.parse::<AccessKeyId>().is_err(), "{text}");
        }
    }
}
