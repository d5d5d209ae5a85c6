//! Client keys: certificates with which applications authenticate. The private key is returned once
//! and not stored.

use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::AccessName;
use crate::model::text_form::{InvalidId, text_forms, uuid_type};
use crate::model::{Base64Bytes, Time};

uuid_type! {
    /// The id of a client key: `KAAP.` and a lowercase UUID.
    ClientKeyId, "client key id", "KAAP."
}

/// The stored record of a client key (CreateClientKey). All of it is public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKeyRecord {
    /// The client key id.
    pub id: ClientKeyId,
    /// The access point that it belongs to.
    pub access_point: AccessName,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The public key, DER SubjectPublicKeyInfo.
    pub public_key: Base64Bytes,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Creation time.
    pub created: Time,
    /// Whether requests signed with it are accepted.
    pub is_active: bool,
    /// The start of the hour of the last use, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Time>,
}

impl ClientKeyRecord {
    /// Whether requests signed with it are accepted at this time.
    pub fn is_valid_at(&self, now: Time) -> bool {
        self.is_active && self.not_before <= now && now < self.not_after
    }
}

/// The password of a client key's PKCS#12 (CreateClientKey, parameter Password): 8 to 64 ASCII
/// letters, digits and `~!@#$%^&*?_-`, of at least two of these three classes.
#[derive(Debug)]
pub struct ClientKeyPassword(SecretString);

text_forms!(ClientKeyPassword: FromParam);

impl ClientKeyPassword {
    /// The text. The only access to the secret.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for ClientKeyPassword {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_sign = |byte: u8| b"~!@#$%^&*?_-".contains(&byte);
        let classes = [
            text.bytes().any(|byte| byte.is_ascii_alphabetic()),
            text.bytes().any(|byte| byte.is_ascii_digit()),
            text.bytes().any(is_sign),
        ];
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || is_sign(byte);
        if (8..=64).contains(&text.len())
            && text.bytes().all(allowed)
            && classes.iter().filter(|is_there| **is_there).count() >= 2
        {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("client key password"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_two_of_the_allowed_character_classes() {
        for text in ["abcdefg1", "12345678-", "password_", &"a1".repeat(32)] {
            assert!(text.parse::<ClientKeyPassword>().is_ok(), "{text}");
        }
        let too_long = format!("{}-", "a1".repeat(32));
        for text in
            ["", "abcde-1", "abcdefgh", "12345678", "~!@#$%^&", "abcdefg 1", "abcdefg1ä", &too_long]
        {
            assert!(text.parse::<ClientKeyPassword>().is_err(), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let password: ClientKeyPassword = "abcdefg1".parse().unwrap();
        assert!(!format!("{password:?}").contains("abc"));
    }

    #[test]
    fn a_client_key_id_keeps_its_prefix() {
        let text = "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
        assert_eq!(text.parse::<ClientKeyId>().unwrap().to_string(), text);
        for text in ["", "KAAP.", "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf", "KAAP.46A9EFD9"] {
            assert!(text.parse::<ClientKeyId>().is_err(), "{text}");
        }
    }
}
