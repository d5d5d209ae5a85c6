//! What the actions of the API do, as their records tell it.

use serde::Serialize;

/// `eventRW`: whether an action reads or writes, by the official metadata, in which every use of
/// a key is a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Access {
    Read,
    Write,
}

/// How an action is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) access: Access,
    /// Whether it changes what the gateway keeps, so that its intent is recorded first.
    pub(super) is_change: bool,
    /// `DescribeRegions` alone leaves no record, as in ActionTrail.
    pub(super) is_recorded: bool,
}

/// The class of an action. One that nobody has classified is taken for a change.
pub(super) fn class(action: &str) -> Class {
    let is_reading = READINGS.binary_search(&action).is_ok();
    // It makes an import token, which the official metadata calls a reading.
    let makes_token = action == "GetParametersForImport";
    Class {
        access: if is_reading || makes_token { Access::Read } else { Access::Write },
        is_change: !is_reading,
        is_recorded: action != "DescribeRegions",
    }
}

/// Whether somebody has classified the action; a test asks for every operation that is served.
pub fn is_known(action: &str) -> bool {
    action == "GetParametersForImport"
        || READINGS.binary_search(&action).is_ok()
        || CHANGES.binary_search(&action).is_ok()
}

static READINGS: &[&str] = &[
    "AdvanceDecrypt",
    "AdvanceEncrypt",
    "AdvanceGenerateDataKey",
    "AdvanceGenerateDataKeyPair",
    "AdvanceGenerateDataKeyPairWithoutPlaintext",
    "AsymmetricDecrypt",
    "AsymmetricEncrypt",
    "AsymmetricSign",
    "AsymmetricVerify",
    "BatchGetSecretValue",
    "CertificatePrivateKeyDecrypt",
    "CertificatePrivateKeySign",
    "CertificatePublicKeyEncrypt",
    "CertificatePublicKeyVerify",
    "Decrypt",
    "DescribeAccountKmsStatus",
    "DescribeApplicationAccessPoint",
    "DescribeCertificate",
    "DescribeKey",
    "DescribeKeyVersion",
    "DescribeNetworkRule",
    "DescribePolicy",
    "DescribeRegions",
    "DescribeSecret",
    "Encrypt",
    "ExportDataKey",
    "GenerateAndExportDataKey",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetCertificate",
    "GetChallenge",
    "GetClientKey",
    "GetDefaultKmsInstance",
    "GetKeyPolicy",
    "GetKmsInstance",
    "GetKmsInstanceQuotaInfos",
    "GetManagedDataKey",
    "GetPublicKey",
    "GetRandomPassword",
    "GetSecretPolicy",
    "GetSecretValue",
    "ListAliases",
    "ListAliasesByKeyId",
    "ListApplicationAccessPoints",
    "ListClientKeys",
    "ListKeyVersions",
    "ListKeys",
    "ListKmsInstances",
    "ListManagedDataKeyVersions",
    "ListNetworkRules",
    "ListPolicies",
    "ListResourceTags",
    "ListSecretVersionIds",
    "ListSecrets",
    "ListTagResources",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

static CHANGES: &[&str] = &[
    "CancelKeyDeletion",
    "ConnectKmsInstance",
    "CreateAlias",
    "CreateApplicationAccessPoint",
    "CreateCertificate",
    "CreateClientKey",
    "CreateKey",
    "CreateKeyVersion",
    "CreateNetworkRule",
    "CreatePolicy",
    "CreateSecret",
    "DeleteAlias",
    "DeleteApplicationAccessPoint",
    "DeleteCertificate",
    "DeleteClientKey",
    "DeleteKeyMaterial",
    "DeleteNetworkRule",
    "DeletePolicy",
    "DeleteSecret",
    "DisableKey",
    "EnableKey",
    "ImportKeyMaterial",
    "OpenKmsService",
    "PutSecretValue",
    "ReleaseKmsInstance",
    "RestoreSecret",
    "RotateSecret",
    "ScheduleKeyDeletion",
    "SetDeletionProtection",
    "SetKeyPolicy",
    "SetSecretPolicy",
    "TagResource",
    "TagResources",
    "UntagResource",
    "UntagResources",
    "UpdateAlias",
    "UpdateApplicationAccessPoint",
    "UpdateCertificateStatus",
    "UpdateKeyDescription",
    "UpdateKmsInstanceBindVpc",
    "UpdateNetworkRule",
    "UpdatePolicy",
    "UpdateRotationPolicy",
    "UpdateSecret",
    "UpdateSecretRotationPolicy",
    "UpdateSecretVersionStage",
    "UploadCertificate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_have_nothing_in_common() {
        assert!(READINGS.is_sorted());
        assert!(CHANGES.is_sorted());
        assert!(READINGS.iter().all(|action| !CHANGES.contains(action)));
    }

    #[test]
    fn what_nobody_has_classified_is_taken_for_a_change() {
        assert!(class("Encrypt") == class("Decrypt") && !class("Encrypt").is_change);
        assert!(class("NewAction").is_change);
        assert!(!is_known("NewAction"));
        assert!(class("GetParametersForImport").is_change);
        assert_eq!(class("GetParametersForImport").access, Access::Read);
    }
}
