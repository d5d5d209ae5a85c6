//! The record of one event, with the field names of ActionTrail.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::action::Access;
use super::used_secret::UsedVersion;
use crate::error::ErrorCode;
use crate::model::policy::TrustValues;
use crate::model::{
    AccessKeyId, Api, KeyId, KeyVersionId, ProviderName, RegionAccount, SecretName, Time, random,
};

const PROGRAM: &str = concat!("hsmgate/", env!("CARGO_PKG_VERSION"));

/// The content of a record, in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the fields of ActionTrail")]
pub(super) struct Event<'a, RequestId, Parameters> {
    #[serde(serialize_with = "as_text")]
    pub(super) event_id: Uuid,
    pub(super) event_version: &'static str,
    pub(super) event_type: &'static str,
    pub(super) event_category: &'static str,
    pub(super) event_name: &'a str,
    /// `None` if unknown.
    #[serde(rename = "eventRW")]
    pub(super) access: Option<Access>,
    pub(super) event_source: &'a str,
    pub(super) event_time: Time,
    pub(super) service_name: &'static str,
    pub(super) api_version: &'static str,
    pub(super) acs_region: &'a str,
    pub(super) request_id: RequestId,
    pub(super) request_parameters: Parameters,
    pub(super) source_ip_address: Source,
    pub(super) user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_name: Option<ResourceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referenced_resources: Option<ReferencedResources<'a>>,
    pub(super) recipient_account_id: &'a str,
    pub(super) is_global: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) additional_event_data: Option<AdditionalEventData>,
    pub(super) user_identity: UserIdentity<'a>,
    /// `None` before the action is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_elements: Option<ResponseElements>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<&'a str>,
}

/// The source of a request.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Source {
    Address(IpAddr),
    Text(&'static str),
}

/// Resource ids by type.
#[derive(Serialize)]
pub(super) struct ReferencedResources<'a> {
    #[serde(rename = "ACS::KMS::Alias", skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<[&'a str; 1]>,
    #[serde(rename = "ACS::KMS::Key", skip_serializing_if = "Keys::is_empty")]
    pub(super) keys: Keys,
    #[serde(rename = "ACS::KMS::Secret", skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<[SecretName; 1]>,
}

/// The name of the resource that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum ResourceName {
    Key(KeyId),
    Secret(SecretName),
}

impl ResourceName {
    /// Its type.
    pub(super) const fn resource_type(&self) -> &'static str {
        match self {
            Self::Key(_) => "ACS::KMS::Key",
            Self::Secret(_) => "ACS::KMS::Secret",
        }
    }

    /// The name.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Key(id) => id.as_str(),
            Self::Secret(name) => name.as_str(),
        }
    }
}

/// The used key and the refused key.
pub(super) struct Keys(pub(super) Option<KeyId>, pub(super) Option<KeyId>);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AdditionalEventData {
    pub(super) scheme: &'static str,
    /// The requested version, if no response names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_version_id: Option<KeyVersionId>,
    /// The number of secrets that a change of the state of the key concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) affected_secrets: Option<usize>,
    /// The name of the token that has worked, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Arc<str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum UserIdentity<'a> {
    Unauthenticated {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(rename = "accessKeyId")]
        access_key_id: Option<&'a AccessKeyId>,
    },
    #[serde(rename_all = "camelCase")]
    Authenticated {
        #[serde(rename = "type")]
        kind: &'static str,
        principal_id: Cow<'a, str>,
        account_id: &'a str,
        user_name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        access_key_id: Option<&'a AccessKeyId>,
        /// Who was proven by a token, at the call or when the session was made.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_context: Option<Federation<'a>>,
    },
}

/// The subject of an identity provider.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Federation<'a> {
    pub(super) provider: &'a str,
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
}

impl<'a> Federation<'a> {
    /// The subject of claims that were verified.
    pub(super) fn of(provider: &'a ProviderName, values: &'a TrustValues) -> Self {
        Self {
            provider: provider.as_str(),
            issuer: values.issuer.as_deref().unwrap_or_default(),
            subject: values.subject.as_deref().unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ResponseElements {
    #[serde(rename_all = "PascalCase")]
    Done {
        #[serde(skip_serializing_if = "Option::is_none")]
        key_id: Option<KeyId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_version_id: Option<KeyVersionId>,
        #[serde(flatten)]
        secret_version: Option<UsedVersion>,
        #[serde(skip_serializing_if = "Option::is_none")]
        credentials: Option<NewCredentials>,
    },
    /// Serialized as `null`.
    Failed,
}

impl ResponseElements {
    /// The response of an action that returns no ids.
    pub(super) const EMPTY: Self =
        Self::Done { key_id: None, key_version_id: None, secret_version: None, credentials: None };
}

/// The credentials that a response contains. Only their id is recorded.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewCredentials {
    pub(super) access_key_id: AccessKeyId,
}

impl<'a, RequestId, Parameters> Event<'a, RequestId, Parameters> {
    /// An event of the gateway that is about to begin.
    pub(super) fn new(
        region_account: &'a RegionAccount,
        (event_name, event_time): (&'a str, Time),
        request_id: RequestId,
        request_parameters: Parameters,
        user_identity: UserIdentity<'a>,
    ) -> Self {
        Self {
            event_id: random::uuid(),
            event_version: "1",
            event_type: "AliyunServiceEvent",
            event_category: "Management",
            event_name,
            access: Some(Access::Write),
            event_source: "internal",
            event_time,
            service_name: Api::Kms.product(),
            api_version: Api::Kms.version(),
            acs_region: region_account.region.as_str(),
            request_id,
            request_parameters,
            source_ip_address: Source::Text("internal"),
            user_agent: PROGRAM,
            resource_type: None,
            resource_name: None,
            referenced_resources: None,
            recipient_account_id: region_account.account.as_str(),
            is_global: false,
            additional_event_data: None,
            user_identity,
            response_elements: None,
            error_code: None,
            error_message: None,
        }
    }

    /// Adds the resource that it is about.
    pub(super) fn about(self, resource: Option<ResourceName>) -> Self {
        let resource_type = resource.as_ref().map(ResourceName::resource_type);
        Self { resource_type, resource_name: resource, ..self }
    }

    /// Marks it as done, with the ids of the response.
    pub(super) fn done(self, elements: ResponseElements) -> Self {
        Self { response_elements: Some(elements), ..self }
    }

    /// Marks it as refused or failed.
    pub(super) fn failed(self, code: ErrorCode, message: &'a str) -> Self {
        Self {
            response_elements: Some(ResponseElements::Failed),
            error_code: Some(code.as_str()),
            error_message: Some(message),
            ..self
        }
    }
}

impl Keys {
    const fn is_empty(&self) -> bool {
        self.0.is_none() && self.1.is_none()
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().chain(&self.1))
    }
}

fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}
