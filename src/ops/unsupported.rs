//! The known actions that this gateway answers with `UnsupportedOperation`.

use crate::audit::{Action, ActionEffect};
use crate::model::Api;

/// Those of the public API: secrets, certificates, the purchase of instances, and features that are
/// not implemented yet. Sorted by name.
pub static PUBLIC: &[Action] = &[
    read("BatchGetSecretValue"),
    read("CertificatePrivateKeyDecrypt"),
    read("CertificatePrivateKeySign"),
    read("CertificatePublicKeyEncrypt"),
    read("CertificatePublicKeyVerify"),
    change("ConnectKmsInstance"),
    change("CreateCertificate"),
    change("CreateSecret"),
    change("DeleteCertificate"),
    change("DeleteSecret"),
    read("DescribeCertificate"),
    read("DescribeSecret"),
    read("GetCertificate"),
    read("GetChallenge"),
    read("GetManagedDataKey"),
    read("GetRandomPassword"),
    read("GetSecretPolicy"),
    read("GetSecretValue"),
    read("ListManagedDataKeyVersions"),
    read("ListSecretVersionIds"),
    read("ListSecrets"),
    change("PutSecretValue"),
    change("ReleaseKmsInstance"),
    change("RestoreSecret"),
    change("RotateSecret"),
    change("SetSecretPolicy"),
    change("UpdateCertificateStatus"),
    change("UpdateKmsInstanceBindVpc"),
    change("UpdateSecret"),
    change("UpdateSecretRotationPolicy"),
    change("UpdateSecretVersionStage"),
    change("UploadCertificate"),
];

/// Those in the SDKs of the KMS instance protocol.
pub static INSTANCE: &[Action] = &[read("GetSecretValue")];

const fn read(name: &'static str) -> Action {
    Action { api: Api::Kms, name, effect: ActionEffect::Reads }
}

const fn change(name: &'static str) -> Action {
    Action { api: Api::Kms, name, effect: ActionEffect::Changes }
}
