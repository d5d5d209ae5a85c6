//! The contents page of the product: every action of the public API and what becomes of it.

use std::pin::Pin;

use axum::response::Response;
use serde::Serialize;

use super::format::{self, Format};
use crate::audit::{Action, Recorded};
use crate::authn::Caller;
use crate::error::ApiError;
use crate::model::{FromParams, Params};
use crate::ops::access::access_points::create_application_access_point::CreateApplicationAccessPoint;
use crate::ops::access::access_points::delete_application_access_point::DeleteApplicationAccessPoint;
use crate::ops::access::access_points::describe_application_access_point::DescribeApplicationAccessPoint;
use crate::ops::access::access_points::list_application_access_points::ListApplicationAccessPoints;
use crate::ops::access::access_points::update_application_access_point::UpdateApplicationAccessPoint;
use crate::ops::access::client_keys::create_client_key::CreateClientKey;
use crate::ops::access::client_keys::delete_client_key::DeleteClientKey;
use crate::ops::access::client_keys::get_client_key::GetClientKey;
use crate::ops::access::client_keys::list_client_keys::ListClientKeys;
use crate::ops::access::network_rules::create_network_rule::CreateNetworkRule;
use crate::ops::access::network_rules::delete_network_rule::DeleteNetworkRule;
use crate::ops::access::network_rules::describe_network_rule::DescribeNetworkRule;
use crate::ops::access::network_rules::list_network_rules::ListNetworkRules;
use crate::ops::access::network_rules::update_network_rule::UpdateNetworkRule;
use crate::ops::access::policies::create_policy::CreatePolicy;
use crate::ops::access::policies::delete_policy::DeletePolicy;
use crate::ops::access::policies::describe_policy::DescribePolicy;
use crate::ops::access::policies::list_policies::ListPolicies;
use crate::ops::access::policies::update_policy::UpdatePolicy;
use crate::ops::account::describe_account_kms_status::DescribeAccountKmsStatus;
use crate::ops::account::describe_regions::DescribeRegions;
use crate::ops::account::open_kms_service::OpenKmsService;
use crate::ops::aliases::create_alias::CreateAlias;
use crate::ops::aliases::delete_alias::DeleteAlias;
use crate::ops::aliases::list_aliases::ListAliases;
use crate::ops::aliases::list_aliases_by_key_id::ListAliasesByKeyId;
use crate::ops::aliases::update_alias::UpdateAlias;
use crate::ops::crypto::asymmetric_decrypt::AsymmetricDecrypt;
use crate::ops::crypto::asymmetric_encrypt::AsymmetricEncrypt;
use crate::ops::crypto::asymmetric_sign::AsymmetricSign;
use crate::ops::crypto::asymmetric_verify::AsymmetricVerify;
use crate::ops::crypto::decrypt::Decrypt;
use crate::ops::crypto::encrypt::Encrypt;
use crate::ops::crypto::export_data_key::ExportDataKey;
use crate::ops::crypto::generate_and_export_data_key::GenerateAndExportDataKey;
use crate::ops::crypto::generate_data_key::GenerateDataKey;
use crate::ops::crypto::generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintext;
use crate::ops::crypto::generate_mac::GenerateMac;
use crate::ops::crypto::get_public_key::GetPublicKey;
use crate::ops::crypto::re_encrypt::ReEncrypt;
use crate::ops::crypto::verify_mac::VerifyMac;
use crate::ops::instances::get_default_kms_instance::GetDefaultKmsInstance;
use crate::ops::instances::get_kms_instance::GetKmsInstance;
use crate::ops::instances::get_kms_instance_quota_infos::GetKmsInstanceQuotaInfos;
use crate::ops::instances::list_kms_instances::ListKmsInstances;
use crate::ops::key_policy::get_key_policy::GetKeyPolicy;
use crate::ops::key_policy::set_key_policy::SetKeyPolicy;
use crate::ops::keys::cancel_key_deletion::CancelKeyDeletion;
use crate::ops::keys::create_key::CreateKey;
use crate::ops::keys::describe_key::DescribeKey;
use crate::ops::keys::disable_key::DisableKey;
use crate::ops::keys::enable_key::EnableKey;
use crate::ops::keys::list_keys::ListKeys;
use crate::ops::keys::schedule_key_deletion::ScheduleKeyDeletion;
use crate::ops::keys::set_deletion_protection::SetDeletionProtection;
use crate::ops::keys::update_key_description::UpdateKeyDescription;
use crate::ops::keys::update_rotation_policy::UpdateRotationPolicy;
use crate::ops::material::delete_key_material::DeleteKeyMaterial;
use crate::ops::material::get_parameters_for_import::GetParametersForImport;
use crate::ops::material::import_key_material::ImportKeyMaterial;
use crate::ops::tags::list_resource_tags::ListResourceTags;
use crate::ops::tags::list_tag_resources::ListTagResources;
use crate::ops::tags::tag_resource::TagResource;
use crate::ops::tags::tag_resources::TagResources;
use crate::ops::tags::untag_resource::UntagResource;
use crate::ops::tags::untag_resources::UntagResources;
use crate::ops::versions::create_key_version::CreateKeyVersion;
use crate::ops::versions::describe_key_version::DescribeKeyVersion;
use crate::ops::versions::list_key_versions::ListKeyVersions;
use crate::ops::{Operation, unsupported};
use crate::pipeline::{Arrival, Gate};

/// Every operation that is served.
pub static TABLE: &[Entry] = &[
    entry::<Encrypt>(),
    entry::<Decrypt>(),
    entry::<ReEncrypt>(),
    entry::<GenerateDataKey>(),
    entry::<GenerateDataKeyWithoutPlaintext>(),
    entry::<GenerateAndExportDataKey>(),
    entry::<ExportDataKey>(),
    entry::<AsymmetricEncrypt>(),
    entry::<AsymmetricDecrypt>(),
    entry::<AsymmetricSign>(),
    entry::<AsymmetricVerify>(),
    entry::<GetPublicKey>(),
    entry::<GenerateMac>(),
    entry::<VerifyMac>(),
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
    entry::<GetParametersForImport>(),
    entry::<ImportKeyMaterial>(),
    entry::<DeleteKeyMaterial>(),
    entry::<CreateAlias>(),
    entry::<UpdateAlias>(),
    entry::<DeleteAlias>(),
    entry::<ListAliases>(),
    entry::<ListAliasesByKeyId>(),
    entry::<CreateNetworkRule>(),
    entry::<DeleteNetworkRule>(),
    entry::<DescribeNetworkRule>(),
    entry::<ListNetworkRules>(),
    entry::<UpdateNetworkRule>(),
    entry::<CreatePolicy>(),
    entry::<DeletePolicy>(),
    entry::<DescribePolicy>(),
    entry::<ListPolicies>(),
    entry::<UpdatePolicy>(),
    entry::<CreateApplicationAccessPoint>(),
    entry::<DeleteApplicationAccessPoint>(),
    entry::<DescribeApplicationAccessPoint>(),
    entry::<ListApplicationAccessPoints>(),
    entry::<UpdateApplicationAccessPoint>(),
    entry::<CreateClientKey>(),
    entry::<DeleteClientKey>(),
    entry::<GetClientKey>(),
    entry::<ListClientKeys>(),
    entry::<UpdateRotationPolicy>(),
    entry::<SetDeletionProtection>(),
    entry::<TagResource>(),
    entry::<UntagResource>(),
    entry::<ListResourceTags>(),
    entry::<TagResources>(),
    entry::<UntagResources>(),
    entry::<ListTagResources>(),
    entry::<SetKeyPolicy>(),
    entry::<GetKeyPolicy>(),
    entry::<DescribeAccountKmsStatus>(),
    entry::<OpenKmsService>(),
    entry::<ListKmsInstances>(),
    entry::<GetKmsInstance>(),
    entry::<GetKmsInstanceQuotaInfos>(),
    entry::<GetDefaultKmsInstance>(),
    entry::<DescribeRegions>(),
];

/// What becomes of an action.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// It is served.
    Served(&'static Entry),
    /// The API knows it, this gateway does not serve it.
    Unsupported(Action),
}

impl Found {
    /// The action.
    pub const fn action(self) -> Action {
        match self {
            Self::Served(entry) => entry.action,
            Self::Unsupported(action) => action,
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
    /// The permissions that it needs beside.
    pub more_permissions: &'static [&'static str],
    /// The permission of an access point that lets client keys call it; none where they cannot.
    pub client_keys: Option<&'static str>,
    /// Whether it has the parameter DryRun.
    pub takes_dry_run: bool,
    action: Action,
    serve: Serve,
}

type Serve = for<'a> fn(&'a Gate, &'a Arrival, Caller, &'a Params<'a>, Format) -> Served<'a>;
type Served<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// Looks an action up.
pub fn find(action: &str) -> Option<Found> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == action) {
        return Some(Found::Served(entry));
    }
    let unsupported = unsupported::PUBLIC;
    let index = unsupported.binary_search_by_key(&action, |unsupported| unsupported.name).ok()?;
    unsupported.get(index).copied().map(Found::Unsupported)
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
        more_permissions: O::MORE_ACTIONS,
        client_keys: O::CLIENT_KEYS,
        takes_dry_run: O::DRY_RUN,
        action: O::RECORD,
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
    let is_dry_run = O::DRY_RUN && params.optional("DryRun") == Ok(Some(true));
    let rehearsal = is_dry_run.then(|| Arrival { is_dry_run, ..arrival.clone() });
    let outcome = gate.pass(rehearsal.as_ref().unwrap_or(arrival), caller, request).await;
    outcome.map(|output| format::success(format, O::NAME, arrival.request_id, &output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unsupported_actions_are_sorted_and_not_served() {
        let names: Vec<_> = unsupported::PUBLIC.iter().map(|action| action.name).collect();
        assert!(names.is_sorted());
        for entry in TABLE {
            assert!(!names.contains(&entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn client_keys_may_call_what_their_template_names_and_no_other_action() {
        let names =
            TABLE.iter().filter(|entry| entry.client_keys.is_some()).map(|entry| entry.name);
        let expected = [
            "Encrypt",
            "Decrypt",
            "GenerateDataKey",
            "AsymmetricSign",
            "AsymmetricVerify",
            "GetPublicKey",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
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
