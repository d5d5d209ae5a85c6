//! The system policies: built-in RAM policies.

use std::sync::LazyLock;

use super::Policy;

/// The system policy that allows everything.
pub const FULL_ACCESS: &str = "AliyunKMSFullAccess";

/// A built-in policy.
#[derive(Debug)]
pub struct SystemPolicy {
    /// The policy name.
    pub name: &'static str,
    /// Its purpose, in one sentence.
    pub purpose: &'static str,
    /// Its document.
    pub text: &'static str,
    /// The parsed document.
    pub policy: Policy,
}

impl SystemPolicy {
    /// The system policy with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SYSTEM_POLICIES.iter().find(|policy| policy.name == name)
    }
}

/// Every system policy. All but AliyunKMSAuditorAccess, an extension of this gateway, have the names
/// of the real service.
pub static SYSTEM_POLICIES: LazyLock<Vec<SystemPolicy>> = LazyLock::new(|| {
    let read = |(name, purpose, text)| {
        // An invalid document is skipped; a test parses all of them.
        Policy::parse(text).ok().map(|policy| SystemPolicy { name, purpose, text, policy })
    };
    DOCUMENTS.into_iter().filter_map(read).collect()
});

const DOCUMENTS: [(&str, &str, &str); 8] = [
    (
        FULL_ACCESS,
        "Everything.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSReadOnlyAccess",
        "Reads all keys, versions, aliases, tags, policies and client keys; uses and changes none.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:GetPublicKey",
                           "kms:GetClientKey"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSCryptoUserAccess",
        "Uses all keys and reads what clients need for it; changes none.",
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
         uses none, and creates no client keys. A principal that may set key policies can grant \
         itself any use.",
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
        "AliyunKMSSecretUserAccess",
        "Reads the values of all secrets.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:GetSecretValue", "kms:DescribeSecret", "kms:ListSecretVersionIds"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSSecretAdminAccess",
        "Creates, changes and deletes all secrets, and reads no value. A principal that may set the \
         policies of secrets can grant itself the values.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:CreateSecret", "kms:DescribeSecret", "kms:ListSecrets",
                           "kms:ListSecretVersionIds", "kms:PutSecretValue", "kms:UpdateSecret*",
                           "kms:DeleteSecret", "kms:RestoreSecret", "kms:RotateSecret",
                           "kms:GetSecretPolicy", "kms:SetSecretPolicy", "kms:GetRandomPassword",
                           "kms:TagResource", "kms:UntagResource", "kms:TagResources",
                           "kms:UntagResources", "kms:ListTagResources"],
                "Resource": "acs:kms:*:*:secret*"},
               {"Effect": "Allow", "Action": "kms:GetRandomPassword", "Resource": "*"}]}"#,
    ),
    (
        "AliyunKMSAuditorAccess",
        "Reads all keys, versions, aliases, tags, policies and client keys, and secrets without their \
         values, and denies everything else, even if other policies allow it.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow",
                "Action": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:GetSecretPolicy",
                           "kms:GetClientKey"],
                "Resource": "*"},
               {"Effect": "Deny",
                "NotAction": ["kms:Describe*", "kms:List*", "kms:GetKeyPolicy",
                              "kms:GetSecretPolicy", "kms:GetClientKey"],
                "Resource": "*"}]}"#,
    ),
    (
        "AliyunSTSAssumeRoleAccess",
        "Assumes every role whose trust policy allows the caller.",
        r#"{"Version": "1",
 "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_policy_is_valid_and_found_by_its_name() {
        assert_eq!(SYSTEM_POLICIES.len(), DOCUMENTS.len());
        for (name, ..) in DOCUMENTS {
            assert_eq!(SystemPolicy::find(name).unwrap().name, name);
        }
        assert!(SystemPolicy::find("AliyunKMSfullaccess").is_none());
    }
}
