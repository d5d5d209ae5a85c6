//! The known actions that this gateway answers with `UnsupportedOperation`.

use crate::audit::{Action, ActionEffect};
use crate::model::Api;

/// Those of the public API: certificates, the purchase of instances, and features that are
/// not implemented yet. Sorted by name.
pub static PUBLIC: &[Action] = &[
    read("CertificatePrivateKeyDecrypt"),
    read("CertificatePrivateKeySign"),
    read("CertificatePublicKeyEncrypt"),
    read("CertificatePublicKeyVerify"),
    change("ConnectKmsInstance"),
    change("CreateCertificate"),
    change("DeleteCertificate"),
    read("DescribeCertificate"),
    read("GetCertificate"),
    read("GetChallenge"),
    read("GetManagedDataKey"),
    read("ListManagedDataKeyVersions"),
    change("ReleaseKmsInstance"),
    change("UpdateCertificateStatus"),
    change("UpdateKmsInstanceBindVpc"),
    change("UploadCertificate"),
];

/// Those in the SDKs of the KMS instance protocol.
pub static INSTANCE: &[Action] = &[];

const fn read(name: &'static str) -> Action {
    Action { api: Api::Kms, name, effect: ActionEffect::Reads }
}

const fn change(name: &'static str) -> Action {
    Action { api: Api::Kms, name, effect: ActionEffect::Changes }
}
