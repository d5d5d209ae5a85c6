//! The names of secrets and of their versions.

use std::str::FromStr;

use crate::model::arn::RegionAccount;
use crate::model::text_form::{InvalidId, is_ascii_name, text_forms, text_type, uuid_type};

/// The characters of names beside letters and digits (CreateSecret, parameter SecretName).
pub(super) const MARKS: &[u8] = b"_/+=.@-";

text_type! {
    /// The name of a secret: 1 to 192 letters, digits and `_ / + = . @ -`, case-sensitive
    /// (CreateSecret, parameter SecretName). Names that begin with `acs/` are those of managed
    /// secrets.
    ///
    /// Clients store cached values under the name as a path, so empty segments, `.` and `..` are
    /// refused.
    ///
    /// ```
    /// use hsmgate::model::SecretName;
    /// assert!("db/orders@1".parse::<SecretName>().is_ok());
    /// for text in ["", "acs/rds", "a//b", "/a", "a/../b", "a b"] {
    ///     assert!(text.parse::<SecretName>().is_err(), "{text}");
    /// }
    /// ```
    SecretName, "secret name", |text| {
        is_ascii_name(text, 192, MARKS)
            && !text.starts_with("acs/")
            && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
    }
}

text_type! {
    /// The id of a version, which the caller chooses: 1 to 64 of the characters of a name, unique in
    /// its secret (CreateSecret, parameter VersionId).
    SecretVersionId, "version id", |text| is_ascii_name(text, 64, MARKS)
}

uuid_type! {
    /// The random id of a secret's row: a secret that was deleted and created again under its name is
    /// another one.
    SecretRowId, "row id of a secret", ""
}

/// A secret named by its name or by its ARN.
///
/// ```
/// use hsmgate::model::SecretRef;
/// let by_arn: SecretRef = "acs:kms:cn-hangzhou:1234567890123456:secret/db".parse()?;
/// assert_eq!(by_arn.name.as_str(), "db");
/// assert!(by_arn.region_account.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// Region and account, if an ARN was given.
    pub region_account: Option<RegionAccount>,
    /// The name.
    pub name: SecretName,
}

text_forms!(SecretRef: Deserialize, FromParam);

impl FromStr for SecretRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match arn(text) {
            Some((region_account, name)) => {
                Ok(Self { region_account: Some(region_account), name: name.parse()? })
            }
            None => Ok(Self { region_account: None, name: text.parse()? }),
        }
    }
}

/// Region, account and name of the ARN of a secret. `None` for any other text.
fn arn(text: &str) -> Option<(RegionAccount, &str)> {
    let mut parts = text.strip_prefix("acs:kms:")?.splitn(3, ':');
    let region = parts.next()?.parse().ok()?;
    let account = parts.next()?.parse().ok()?;
    let name = parts.next()?.strip_prefix("secret/")?;
    Some((RegionAccount { region, account }, name))
}

impl From<SecretName> for SecretRef {
    fn from(name: SecretName) -> Self {
        Self { region_account: None, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_192_of_the_documented_characters() {
        for (length, is_valid) in [(0, false), (1, true), (192, true), (193, false)] {
            assert_eq!("s".repeat(length).parse::<SecretName>().is_ok(), is_valid, "{length}");
        }
        for text in ["Ab9_/+=.@-", "a/b/c", "...", ".a", "acs", "ACS/a"] {
            assert!(text.parse::<SecretName>().is_ok(), "{text}");
        }
        for text in ["a:b", "a\n", "ä", "a/", "./a", "a/.", "a/..", "acs/", "*", "a\0"] {
            assert!(text.parse::<SecretName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_version_id_has_1_to_64_characters() {
        for (length, is_valid) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!("v".repeat(length).parse::<SecretVersionId>().is_ok(), is_valid, "{length}");
        }
        assert!("46a9efd9-3d16-4894-bd4f-1fc43f3f2abf".parse::<SecretVersionId>().is_ok());
        assert!("v 1".parse::<SecretVersionId>().is_err());
    }

    #[test]
    fn a_secret_is_named_by_name_or_arn() {
        let arn = "acs:kms:cn-hangzhou:1234567890123456:secret/a/b";
        let by_arn: SecretRef = arn.parse().unwrap();
        let region_account = by_arn.region_account.unwrap();
        assert_eq!(region_account.arn("secret/a/b"), arn);
        for text in [
            "acs:kms:cn-hangzhou:1234567890123456:key/a",
            "acs:kms:cn-hangzhou:1:secret/a",
            "acs:kms:cn-hangzhou:1234567890123456:secret/",
            "acs:kms:cn-hangzhou:1234567890123456:secret/a//b",
            "acs:oss:cn-hangzhou:1234567890123456:secret/a",
        ] {
            assert!(text.parse::<SecretRef>().is_err(), "{text}");
        }
    }
}
