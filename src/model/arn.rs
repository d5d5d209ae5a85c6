//! Region, account, and the names that resources have in them (ARN).

use std::fmt;

use super::text_form::text_type;

text_type! {
    /// A region id such as `cn-hangzhou`: 1 to 64 lower-case letters, digits and dashes.
    Region, "region", |text| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=64).contains(&text.len()) && text.bytes().all(allowed)
    }
}

text_type! {
    /// An account id: 16 decimal digits.
    AccountId, "account id", |text| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The region and account that this gateway serves: the prefix of its ARNs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionAccount {
    /// The region of every key.
    pub region: Region,
    /// The account that owns every key.
    pub account: AccountId,
}

impl RegionAccount {
    /// The ARN of `resource`, for instance `key/<key id>` or `alias/<name>`.
    ///
    /// ```
    /// use hsmgate::model::RegionAccount;
    /// let region_account = RegionAccount { region: "cn-hangzhou".parse()?, account: "1234567890123456".parse()? };
    /// assert_eq!(region_account.arn("alias/a"), "acs:kms:cn-hangzhou:1234567890123456:alias/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arn(&self, resource: impl fmt::Display) -> String {
        format!("acs:kms:{}:{}:{resource}", self.region, self.account)
    }
}
