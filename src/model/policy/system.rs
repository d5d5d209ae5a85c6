//! The system policies: RAM policies that are there under a name, without being written.

use std::sync::LazyLock;

use super::Policy;

/// The system policy that allows everything.
pub const FULL_ACCESS: &str = "AliyunKMSFullAccess";

/// A policy that is there under a name.
#[derive(Debug)]
pub struct SystemPolicy {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub purpose: &'static str,
    /// Its document.
    pub text: &'static str,
    /// Its document, read.
    pub policy: Policy,
}

impl SystemPolicy {
    /// The system policy of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SYSTEM_POLICIES.iter().find(|policy| policy.name == name)
    }
}

/// Every system policy. The first four have the names of the real service, the last is this
/// gateway's own.
pub static SYSTEM_POLICIES: LazyLock<Vec<SystemPolicy>> = LazyLock::new(|| {
    let read = |(name, purpose, text)| {
        // A document that cannot be read would be left out; a test reads them all.
        Policy::parse(text).ok().map(|policy| SystemPolicy { name, purpose, text, policy })
    };
    DOCUMENTS.into_iter().filter_map(read).collect()
});

const DOCUMENTS: [(&str, &str, &str); 5] = [
    (
        FULL_ACCESS,
        "Everything.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSReadOnlyAccess",
        "Sees every key, version, alias, tag, policy and client key; uses and changes none.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:GetPublicKey",
                           "kms:GetClientKey"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSCryptoUserAccess",
        "Uses every key and sees what that takes; changes none.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                           "kms:GenerateAndExportDataKey", "kms:ExportDataKey", "kms:Asymmetric*",
                           "kms:GetPublicKey", "kms:GenerateMac", "kms:VerifyMac",
                           "kms:DescribeKey", "kms:DescribeKeyVersion", "kms:ListKeys",
                           "kms:ListKeyVersions", "kms:ListAliases", "kms:ListAliasesByKeyId",
                           "kms:ListResourceTags", "kms:ListTagResources"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSCryptoAdminAccess",
        "Manages keys, versions, aliases, tags, rotation, imported material and key policies; \
         uses none, and makes no client keys. Who may set key policies can allow himself any use.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:SetKeyPolicy",
                           "kms:GetPublicKey", "kms:GetParametersForImport",
                           "kms:ImportKeyMaterial", "kms:DeleteKeyMaterial", "kms:CreateKey",
                           "kms:CreateKeyVersion", "kms:CreateAlias", "kms:UpdateAlias",
                           "kms:DeleteAlias", "kms:UpdateKeyDescription",
                           "kms:UpdateRotationPolicy", "kms:EnableKey", "kms:DisableKey",
                           "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion",
                           "kms:SetDeletionProtection", "kms:TagResource", "kms:UntagResource",
                           "kms:TagResources", "kms:UntagResources", "kms:OpenKmsService"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSAuditorAccess",
        "Sees every key, version, alias, tag, policy and client key, and denies everything else, \
         whatever other policies allow.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:GetClientKey"],
                "Resource": "*"},
               {"Effect": "Deny",
                "NotAction": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy",
                              "kms:GetClientKey"],
                "Resource": "*"}]}"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_policy_can_be_read_and_is_found_by_its_name() {
        assert_eq!(SYSTEM_POLICIES.len(), DOCUMENTS.len());
        for (name, ..) in DOCUMENTS {
            assert_eq!(SystemPolicy::find(name).unwrap().name, name);
        }
        assert!(SystemPolicy::find("AliyunKMSfullaccess").is_none());
    }
}
