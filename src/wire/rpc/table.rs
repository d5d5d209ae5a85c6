//! The contents page of the product: every action of the public API and what becomes of it.

use std::pin::Pin;

use axum::response::Response;
use serde::Serialize;

use super::format::{self, Format};
use crate::audit::Recorded;
use crate::authn::Caller;
use crate::error::ApiError;
use crate::gate::{Arrival, Gate};
use crate::model::{FromParams, Params};
use crate::ops::Operation;
use crate::ops::account::describe_regions::DescribeRegions;
use crate::ops::aliases::create_alias::CreateAlias;
use crate::ops::aliases::delete_alias::DeleteAlias;
use crate::ops::aliases::list_aliases::ListAliases;
use crate::ops::aliases::list_aliases_by_key_id::ListAliasesByKeyId;
use crate::ops::aliases::update_alias::UpdateAlias;
use crate::ops::crypto::decrypt::Decrypt;
use crate::ops::crypto::encrypt::Encrypt;
use crate::ops::crypto::generate_data_key::GenerateDataKey;
use crate::ops::crypto::generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintext;
use crate::ops::crypto::re_encrypt::ReEncrypt;
use crate::ops::keys::cancel_key_deletion::CancelKeyDeletion;
use crate::ops::keys::create_key::CreateKey;
use crate::ops::keys::describe_key::DescribeKey;
use crate::ops::keys::disable_key::DisableKey;
use crate::ops::keys::enable_key::EnableKey;
use crate::ops::keys::list_keys::ListKeys;
use crate::ops::keys::schedule_key_deletion::ScheduleKeyDeletion;
use crate::ops::keys::update_key_description::UpdateKeyDescription;
use crate::ops::versions::create_key_version::CreateKeyVersion;
use crate::ops::versions::describe_key_version::DescribeKeyVersion;
use crate::ops::versions::list_key_versions::ListKeyVersions;

/// Every operation that is served.
pub static TABLE: &[Entry] = &[
    entry::<Encrypt>(),
    entry::<Decrypt>(),
    entry::<ReEncrypt>(),
    entry::<GenerateDataKey>(),
    entry::<GenerateDataKeyWithoutPlaintext>(),
    entry::<CreateKey>(),
    entry::<DescribeKey>(),
    entry::<ListKeys>(),
    entry::<EnableKey>(),
    entry::<DisableKey>(),
    entry::<UpdateKeyDescription>(),
    entry::<ScheduleKeyDeletion>(),
    entry::<CancelKeyDeletion>(),
    entry::<CreateKeyVersion>(),
    entry::<DescribeKeyVersion>(),
    entry::<ListKeyVersions>(),
    entry::<CreateAlias>(),
    entry::<UpdateAlias>(),
    entry::<DeleteAlias>(),
    entry::<ListAliases>(),
    entry::<ListAliasesByKeyId>(),
    entry::<DescribeRegions>(),
];

/// Actions of the API that answer `UnsupportedOperation`: secrets, certificates, the purchase of
/// instances, and what is not built yet.
pub static UNSUPPORTED: &[&str] = &[
    "AsymmetricDecrypt",
    "AsymmetricEncrypt",
    "AsymmetricSign",
    "AsymmetricVerify",
    "BatchGetSecretValue",
    "CertificatePrivateKeyDecrypt",
    "CertificatePrivateKeySign",
    "CertificatePublicKeyEncrypt",
    "CertificatePublicKeyVerify",
    "ConnectKmsInstance",
    "CreateApplicationAccessPoint",
    "CreateCertificate",
    "CreateClientKey",
    "CreateNetworkRule",
    "CreatePolicy",
    "CreateSecret",
    "DeleteApplicationAccessPoint",
    "DeleteCertificate",
    "DeleteClientKey",
    "DeleteKeyMaterial",
    "DeleteNetworkRule",
    "DeletePolicy",
    "DeleteSecret",
    "DescribeAccountKmsStatus",
    "DescribeApplicationAccessPoint",
    "DescribeCertificate",
    "DescribeNetworkRule",
    "DescribePolicy",
    "DescribeSecret",
    "ExportDataKey",
    "GenerateAndExportDataKey",
    "GenerateMac",
    "GetCertificate",
    "GetChallenge",
    "GetClientKey",
    "GetDefaultKmsInstance",
    "GetKeyPolicy",
    "GetKmsInstance",
    "GetKmsInstanceQuotaInfos",
    "GetManagedDataKey",
    "GetParametersForImport",
    "GetPublicKey",
    "GetRandomPassword",
    "GetSecretPolicy",
    "GetSecretValue",
    "ImportKeyMaterial",
    "ListApplicationAccessPoints",
    "ListClientKeys",
    "ListKmsInstances",
    "ListManagedDataKeyVersions",
    "ListNetworkRules",
    "ListPolicies",
    "ListResourceTags",
    "ListSecretVersionIds",
    "ListSecrets",
    "ListTagResources",
    "OpenKmsService",
    "PutSecretValue",
    "ReleaseKmsInstance",
    "RestoreSecret",
    "RotateSecret",
    "SetDeletionProtection",
    "SetKeyPolicy",
    "SetSecretPolicy",
    "TagResource",
    "TagResources",
    "UntagResource",
    "UntagResources",
    "UpdateApplicationAccessPoint",
    "UpdateCertificateStatus",
    "UpdateKmsInstanceBindVpc",
    "UpdateNetworkRule",
    "UpdatePolicy",
    "UpdateRotationPolicy",
    "UpdateSecret",
    "UpdateSecretRotationPolicy",
    "UpdateSecretVersionStage",
    "UploadCertificate",
    "VerifyMac",
];

/// What becomes of an action.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// It is served.
    Served(&'static Entry),
    /// The API knows it, this gateway does not serve it.
    Unsupported(&'static str),
}

impl Found {
    /// The action.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served(entry) => entry.name,
            Self::Unsupported(name) => name,
        }
    }
}

/// One operation of the public API.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The action.
    pub name: &'static str,
    /// The permission that it needs first.
    pub permission: &'static str,
    serve: Serve,
}

type Serve = for<'a> fn(&'a Gate, &'a Arrival, Caller, &'a Params<'a>, Format) -> Served<'a>;
type Served<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// Looks an action up.
pub fn find(action: &str) -> Option<Found> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == action) {
        return Some(Found::Served(entry));
    }
    let index = UNSUPPORTED.binary_search(&action).ok()?;
    UNSUPPORTED.get(index).copied().map(Found::Unsupported)
}

impl Entry {
    /// Reads the request from its parameters, lets it pass the gate, and writes the answer. A
    /// refusal is left to be written, as the caller is to see it.
    pub fn serve<'a>(
        &self,
        gate: &'a Gate,
        arrival: &'a Arrival,
        caller: Caller,
        params: &'a Params<'a>,
        format: Format,
    ) -> Served<'a> {
        (self.serve)(gate, arrival, caller, params, format)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn entry<O>() -> Entry
where
    O: Operation + FromParams,
    O::Output: Serialize + Sync,
{
    Entry {
        name: O::NAME,
        permission: O::ACTION,
        serve: |gate, arrival, caller, params, format| {
            Box::pin(serve::<O>(gate, arrival, caller, params, format))
        },
    }
}

async fn serve<O>(
    gate: &Gate,
    arrival: &Arrival,
    caller: Caller,
    params: &Params<'_>,
    format: Format,
) -> Recorded<Response>
where
    O: Operation + FromParams,
    O::Output: Serialize + Sync,
{
    let request = O::from_params(params).map_err(ApiError::from);
    let outcome = gate.pass(arrival, caller, request).await;
    outcome.map(|output| format::success(format, O::NAME, arrival.request_id, &output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unsupported_actions_are_sorted_and_not_served() {
        assert!(UNSUPPORTED.is_sorted());
        for entry in TABLE {
            assert!(!UNSUPPORTED.contains(&entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn the_audit_knows_what_every_action_does() {
        for action in TABLE.iter().map(|entry| entry.name).chain(UNSUPPORTED.iter().copied()) {
            assert!(crate::audit::is_known(action), "{action} has no class in src/audit/action.rs");
        }
    }

    #[test]
    fn no_action_stands_twice() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn every_action_of_the_api_is_known_and_others_are_not() {
        assert!(matches!(find("Encrypt"), Some(Found::Served(_))));
        assert!(matches!(find("GetSecretValue"), Some(Found::Unsupported(_))));
        for unknown in ["", "encrypt", "GenerateRandom", "AdvanceEncrypt"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }
}
