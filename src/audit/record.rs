//! What a record says of an operation, in the field names of ActionTrail.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use uuid::Uuid;

use super::action::Action;
use super::line;
use super::parameters::{Parameters, truncated};
use crate::authn::Caller;
use crate::error::ErrorCode;
use crate::model::{
    AccessKeyId, KeyId, KeyVersionId, PrincipalKind, RegionAccount, RequestContext,
};

/// The most bytes of a `Host` or `User-Agent` in a record.
const MAX_HEADER_BYTES: usize = 256;

/// A request, as far as it is known when it is about to be done or refused.
#[derive(Debug)]
pub struct RequestDetails {
    /// The action.
    pub action: Action,
    /// Which request it is, from where and when.
    pub context: Arc<RequestContext>,
    /// The parameters that may be recorded.
    pub parameters: Parameters,
    /// The AccessKey or client key that the request names, proven or not.
    pub claimed: Option<AccessKeyId>,
    /// Who is calling, once that is proven.
    pub caller: Option<Arc<Caller>>,
}

/// The key and the key version that an operation has used, as far as it came.
#[derive(Debug, Clone, Copy, Default)]
pub struct UsedResources {
    /// The key.
    pub key: Option<KeyId>,
    /// Its version.
    pub version: Option<KeyVersionId>,
    /// The key that the caller asked for and was not given.
    pub refused: Option<KeyId>,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// It is about to begin.
    Intended,
    /// It was done.
    Done,
    /// It was refused, or failed. Only the code's own text is recorded: a message of its own may
    /// repeat what was sent, as that of a wrong signature does.
    Failed(ErrorCode),
    /// The request ended before its outcome was known.
    Abandoned,
}

impl RequestDetails {
    /// A request of which nothing has been read.
    pub fn new(context: Arc<RequestContext>) -> Self {
        let parameters = Parameters::default();
        Self { action: Action::UNKNOWN, context, parameters, claimed: None, caller: None }
    }

    /// Hands over what is known, for its record; the parameters and the claim are not kept.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let (context, caller) = (Arc::clone(&self.context), self.caller.clone());
        let rest = Self { action: self.action, caller, ..Self::new(context) };
        std::mem::replace(self, rest)
    }

    /// The members of its record.
    pub(super) fn members(
        &self,
        region_account: &RegionAccount,
        used_resources: UsedResources,
        outcome: Outcome,
    ) -> Box<[u8]> {
        line::members(&Event { request: self, region_account, used_resources, outcome })
    }

    /// Cuts down what may be recorded of a caller who is not authenticated.
    pub(super) fn truncate_unauthenticated(&mut self) {
        if self.caller.is_none() {
            self.parameters.truncate_unauthenticated();
        }
    }
}

struct Event<'a> {
    request: &'a RequestDetails,
    region_account: &'a RegionAccount,
    used_resources: UsedResources,
    outcome: Outcome,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request, region_account, used_resources, outcome } = self;
        let mut map = serializer.serialize_map(None)?;
        let mut event_id = Uuid::encode_buffer();
        map.serialize_entry("eventId", Uuid::new_v4().hyphenated().encode_lower(&mut event_id))?;
        map.serialize_entry("eventVersion", "1")?;
        map.serialize_entry("eventType", "ApiCall")?;
        map.serialize_entry("eventCategory", "Management")?;
        map.serialize_entry("eventName", request.action.name)?;
        map.serialize_entry("eventRW", &request.action.effect.access())?;
        map.serialize_entry("eventSource", truncated(&request.context.host, MAX_HEADER_BYTES))?;
        map.serialize_entry("eventTime", &request.context.time)?;
        map.serialize_entry("serviceName", "Kms")?;
        map.serialize_entry("apiVersion", "2016-01-20")?;
        map.serialize_entry("acsRegion", region_account.region.as_str())?;
        map.serialize_entry("requestId", &request.context.id)?;
        map.serialize_entry("requestParameters", &RequestParameters(self))?;
        map.serialize_entry("sourceIpAddress", &request.context.source)?;
        map.serialize_entry("userAgent", truncated(&request.context.user_agent, MAX_HEADER_BYTES))?;
        self.write_resources(&mut map)?;
        map.serialize_entry("recipientAccountId", region_account.account.as_str())?;
        map.serialize_entry("isGlobal", &false)?;
        let scheme = if request.context.is_secure { "https" } else { "http" };
        let is_answered = matches!(outcome, Outcome::Done);
        let key_version_id = used_resources.version.filter(|_| !is_answered);
        map.serialize_entry(
            "additionalEventData",
            &AdditionalEventData { scheme, key_version_id },
        )?;
        map.serialize_entry("userIdentity", &UserIdentity::of(request))?;
        match outcome {
            Outcome::Intended => {}
            Outcome::Done => {
                map.serialize_entry("responseElements", &response_elements(*used_resources))?;
            }
            Outcome::Failed(code) => write_error(&mut map, *code, code.message())?,
            Outcome::Abandoned => {
                let message = "The request ended before its outcome was known.";
                write_error(&mut map, ErrorCode::Unavailable, message)?;
            }
        }
        map.end()
    }
}

impl Event<'_> {
    fn write_resources<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let UsedResources { key, refused, .. } = self.used_resources;
        // What a request failed at is what it was about.
        if let Some(key) = refused.or(key) {
            map.serialize_entry("resourceType", KEY)?;
            map.serialize_entry("resourceName", &key)?;
        }
        let alias = self.request.parameters.text("AliasName");
        let resources = ReferencedResources {
            key: Keys(key, refused.filter(|refused| Some(*refused) != key)),
            alias: alias.map(|alias| [alias]),
        };
        map.serialize_entry("referencedResources", &resources)
    }
}

/// Ids by type.
#[derive(Serialize)]
struct ReferencedResources<'a> {
    #[serde(rename = "ACS::KMS::Alias", skip_serializing_if = "Option::is_none")]
    alias: Option<[&'a str; 1]>,
    #[serde(rename = "ACS::KMS::Key", skip_serializing_if = "Keys::is_empty")]
    key: Keys,
}

/// The key that was used, and the one that was refused.
struct Keys(Option<KeyId>, Option<KeyId>);

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

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AdditionalEventData {
    scheme: &'static str,
    /// The version that was meant, where no answer names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version_id: Option<KeyVersionId>,
}

const KEY: &str = "ACS::KMS::Key";

struct RequestParameters<'a>(&'a Event<'a>);

impl Serialize for RequestParameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { request, region_account, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("AcsHost", truncated(&request.context.host, MAX_HEADER_BYTES))?;
        map.serialize_entry("AcsProduct", "Kms")?;
        map.serialize_entry("RegionId", region_account.region.as_str())?;
        map.serialize_entry("RequestId", &request.context.id)?;
        request.parameters.write(&mut map)?;
        map.end()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum UserIdentity<'a> {
    Unknown {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(rename = "accessKeyId")]
        access_key_id: Option<&'a AccessKeyId>,
    },
    #[serde(rename_all = "camelCase")]
    Known {
        #[serde(rename = "type")]
        kind: &'static str,
        principal_id: Cow<'a, str>,
        account_id: &'a str,
        user_name: Cow<'a, str>,
        access_key_id: &'a AccessKeyId,
    },
}

impl<'a> UserIdentity<'a> {
    fn of(request: &'a RequestDetails) -> Self {
        let Some(caller) = &request.caller else {
            let access_key_id = request.claimed.as_ref();
            return Self::Unknown { kind: "unknown", access_key_id };
        };
        let kind = match caller.principal.name.kind() {
            _ if caller.session.is_some() => "assumed-role",
            PrincipalKind::Root => "root-account",
            PrincipalKind::User => "ram-user",
            PrincipalKind::Role => "assumed-role",
            PrincipalKind::ClientKey => "client-key",
        };
        let name: Cow<'a, str> = match &caller.session {
            Some(session) => Cow::Owned(format!("{}:{}", caller.user, session.name)),
            None => Cow::Borrowed(&caller.user),
        };
        Self::Known {
            kind,
            principal_id: name.clone(),
            account_id: caller.account.as_str(),
            user_name: name,
            access_key_id: &caller.access_key_id,
        }
    }
}

/// `responseElements`, as far as they are known.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResponseElements {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version_id: Option<KeyVersionId>,
}

fn response_elements(used_resources: UsedResources) -> ResponseElements {
    ResponseElements { key_id: used_resources.key, key_version_id: used_resources.version }
}

fn write_error<M: serde::ser::SerializeMap>(
    map: &mut M,
    code: ErrorCode,
    message: &str,
) -> Result<(), M::Error> {
    map.serialize_entry("responseElements", &())?;
    map.serialize_entry("errorCode", code.as_str())?;
    map.serialize_entry("errorMessage", message)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;
    use crate::audit::ActionEffect;
    use crate::authn::Principal;
    use crate::model::{Params, PrincipalName, Time};

    pub(in super::super) fn region_account() -> RegionAccount {
        RegionAccount {
            region: "cn-hangzhou".parse().unwrap(),
            account: "1234567890123456".parse().unwrap(),
        }
    }

    pub(in super::super) fn request(name: &'static str) -> RequestDetails {
        let mut params = Params::default();
        params.insert("KeyId", "alias/demo").unwrap();
        params.insert("Plaintext", "bWFya2Vy").unwrap();
        let effect = if name == "CreateKey" { ActionEffect::Changes } else { ActionEffect::Reads };
        let context = RequestContext {
            time: "2024-03-01T08:30:00Z".parse().unwrap(),
            host: "kms.example:8200".into(),
            user_agent: "agent\n{\"sequence\":1}".into(),
            ..RequestContext::now(Ipv4Addr::LOCALHOST.into())
        };
        RequestDetails {
            action: Action { name, effect },
            parameters: Parameters::of(&params),
            claimed: Some("LTAIclaimed".parse().unwrap()),
            ..RequestDetails::new(context.into())
        }
    }

    fn read(members: &[u8]) -> Value {
        serde_json::from_slice(&[b"{", members, b"}"].concat()).unwrap()
    }

    #[test]
    fn a_record_has_the_fields_of_action_trail() {
        let mut request = request("Encrypt");
        let name = PrincipalName::user("alice").unwrap();
        request.caller = Some(Arc::new(Caller {
            account: "1234567890123456".parse().unwrap(),
            user: name.shared_name(),
            access_key_id: "LTAIexample".parse().unwrap(),
            principal: Arc::new(Principal { name, policies: Vec::new(), created: Time::now() }),
            session: None,
            client_key: None,
        }));
        let key = KeyId::random();
        let used_resources = UsedResources { key: Some(key), ..UsedResources::default() };
        let record = read(&request.members(&region_account(), used_resources, Outcome::Done));
        assert_eq!(record["eventName"], "Encrypt");
        assert_eq!(record["eventRW"], "Read");
        assert_eq!(record["eventTime"], "2024-03-01T08:30:00Z");
        assert_eq!(record["requestParameters"]["KeyId"], "alias/demo");
        assert!(record["requestParameters"].get("Plaintext").is_none());
        assert_eq!(record["referencedResources"], json!({"ACS::KMS::Key": [key]}));
        assert_eq!(record["responseElements"], json!({"KeyId": key}));
        assert_eq!(record["userIdentity"]["userName"], "alice");
        assert_eq!(record["userIdentity"]["type"], "ram-user");
        assert!(record.get("errorCode").is_none());
    }

    #[test]
    fn a_refusal_is_told_with_its_code_and_the_text_of_the_table() {
        let code = ErrorCode::SignatureDoesNotMatch;
        let record = request("Decrypt").members(
            &region_account(),
            UsedResources::default(),
            Outcome::Failed(code),
        );
        let record = read(&record);
        assert_eq!(record["errorCode"], code.as_str());
        assert_eq!(record["errorMessage"], code.message());
        assert_eq!(record["responseElements"], Value::Null);
        let identity = json!({"type": "unknown", "accessKeyId": "LTAIclaimed"});
        assert_eq!(record["userIdentity"], identity);
        assert_eq!(record["userAgent"], "agent\n{\"sequence\":1}");
    }

    #[test]
    fn a_refusal_names_the_key_that_was_refused_beside_the_one_that_was_used() {
        let (source, destination) = (KeyId::random(), KeyId::random());
        let record = |key, refused| {
            let used_resources = UsedResources { key, version: None, refused };
            let refusal = Outcome::Failed(ErrorCode::NoPermission);
            read(&request("ReEncrypt").members(&region_account(), used_resources, refusal))
        };
        let both = record(Some(source), Some(destination));
        assert_eq!(both["resourceName"], json!(destination));
        let keys = json!({"ACS::KMS::Key": [source, destination]});
        assert_eq!(both["referencedResources"], keys);
        let same = record(Some(source), Some(source));
        assert_eq!(same["referencedResources"], json!({"ACS::KMS::Key": [source]}));
        let version = KeyVersionId::random();
        let used_resources = UsedResources { version: Some(version), ..UsedResources::default() };
        let unknown = Outcome::Failed(ErrorCode::KeyVersionNotFound);
        let unknown = read(&request("Decrypt").members(&region_account(), used_resources, unknown));
        assert_eq!(unknown["additionalEventData"]["KeyVersionId"], json!(version));
        let none = record(None, None);
        assert!(none["additionalEventData"].get("KeyVersionId").is_none());
        assert_eq!(none["referencedResources"], json!({}));
        assert!(none.get("resourceName").is_none());
    }
}
