//! The event of a request as bytes, without a serializer: each request writes one.

use std::io::Write as _;
use std::net::IpAddr;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use uuid::Uuid;

use super::action::Access;
use super::event::{
    AdditionalEventData, Event, Federation, Keys, NewCredentials, ReferencedResources,
    ResponseElements, Source, UserIdentity,
};
use super::line::append_text;
use super::parameters::Parameters;
use super::used_secret::UsedVersion;
use crate::model::{AccessKeyId, RequestId};

/// The bytes of a record with short parameters.
const USUAL_BYTES: usize = 1536;

/// The event of a request.
pub(super) type RequestEvent<'a> = Event<'a, RequestId, RequestParameters<'a>>;

/// `requestParameters`: what the gateway adds to the parameters of the request.
pub(super) struct RequestParameters<'a> {
    pub(super) host: &'a str,
    pub(super) product: &'static str,
    pub(super) region: &'a str,
    pub(super) request_id: RequestId,
    pub(super) parameters: &'a Parameters,
}

impl Serialize for RequestParameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("AcsHost", self.host)?;
        map.serialize_entry("AcsProduct", self.product)?;
        map.serialize_entry("RegionId", self.region)?;
        map.serialize_entry("RequestId", &self.request_id)?;
        self.parameters.write(&mut map)?;
        map.end()
    }
}

/// Appends a name and its text; the name with the comma or the brace before it.
macro_rules! member {
    ($json:ident, $name:literal, $text:expr) => {{
        $json.extend_from_slice(concat!($name, ":").as_bytes());
        append_text($json, $text);
    }};
}

/// The members of the record: the bytes of [`line::members`](super::line::members).
pub(super) fn members(event: &RequestEvent<'_>) -> Vec<u8> {
    let mut members = Vec::with_capacity(USUAL_BYTES);
    let json = &mut members;
    json.extend_from_slice(b"\"eventId\":");
    append_uuid(json, event.event_id);
    member!(json, ",\"eventVersion\"", event.event_version);
    member!(json, ",\"eventType\"", event.event_type);
    member!(json, ",\"eventCategory\"", event.event_category);
    member!(json, ",\"eventName\"", event.event_name);
    json.extend_from_slice(b",\"eventRW\":");
    append_optional(json, event.access.map(Access::as_str));
    member!(json, ",\"eventSource\"", event.event_source);
    json.extend_from_slice(b",\"eventTime\":\"");
    json.extend_from_slice(&event.event_time.to_ascii());
    json.push(b'"');
    member!(json, ",\"serviceName\"", event.service_name);
    member!(json, ",\"apiVersion\"", event.api_version);
    member!(json, ",\"acsRegion\"", event.acs_region);
    json.extend_from_slice(b",\"requestId\":");
    append_uuid(json, event.request_id.uuid());
    append_parameters(json, &event.request_parameters);
    json.extend_from_slice(b",\"sourceIpAddress\":");
    append_source(json, &event.source_ip_address);
    member!(json, ",\"userAgent\"", event.user_agent);
    append_resources(json, event);
    append_outcome(json, event);
    members
}

fn append_resources(json: &mut Vec<u8>, event: &RequestEvent<'_>) {
    if let Some(resource_type) = event.resource_type {
        member!(json, ",\"resourceType\"", resource_type);
    }
    if let Some(resource_name) = &event.resource_name {
        member!(json, ",\"resourceName\"", resource_name.as_str());
    }
    if let Some(resources) = &event.referenced_resources {
        append_references(json, resources);
    }
    member!(json, ",\"recipientAccountId\"", event.recipient_account_id);
    json.extend_from_slice(b",\"isGlobal\":");
    json.extend_from_slice(if event.is_global { b"true" } else { b"false" });
    if let Some(AdditionalEventData { scheme, key_version_id, affected_secrets, token }) =
        &event.additional_event_data
    {
        member!(json, ",\"additionalEventData\":{\"Scheme\"", scheme);
        if let Some(version) = key_version_id {
            json.extend_from_slice(b",\"KeyVersionId\":");
            append_uuid(json, version.uuid());
        }
        if let Some(count) = affected_secrets {
            // Writing to memory cannot fail.
            let _ = write!(json, ",\"AffectedSecrets\":{count}");
        }
        if let Some(name) = token {
            member!(json, ",\"Token\"", name);
        }
        json.push(b'}');
    }
}

fn append_outcome(json: &mut Vec<u8>, event: &RequestEvent<'_>) {
    append_identity(json, &event.user_identity);
    if let Some(elements) = &event.response_elements {
        append_elements(json, elements);
    }
    if let Some(code) = event.error_code {
        member!(json, ",\"errorCode\"", code);
    }
    if let Some(message) = event.error_message {
        member!(json, ",\"errorMessage\"", message);
    }
}

fn append_parameters(json: &mut Vec<u8>, parameters: &RequestParameters<'_>) {
    member!(json, ",\"requestParameters\":{\"AcsHost\"", parameters.host);
    member!(json, ",\"AcsProduct\"", parameters.product);
    member!(json, ",\"RegionId\"", parameters.region);
    json.extend_from_slice(b",\"RequestId\":");
    append_uuid(json, parameters.request_id.uuid());
    for (name, value) in parameters.parameters.shown() {
        json.push(b',');
        append_text(json, name);
        json.push(b':');
        append_text(json, value);
    }
    json.push(b'}');
}

fn append_references(json: &mut Vec<u8>, resources: &ReferencedResources<'_>) {
    let ReferencedResources { alias, keys: Keys(used, refused), secret } = resources;
    json.extend_from_slice(b",\"referencedResources\":{");
    if let Some([alias]) = alias {
        json.extend_from_slice(b"\"ACS::KMS::Alias\":[");
        append_text(json, alias);
        json.push(b']');
    }
    let mut keys = used.iter().chain(refused);
    if let Some(key) = keys.next() {
        if alias.is_some() {
            json.push(b',');
        }
        json.extend_from_slice(b"\"ACS::KMS::Key\":[");
        append_text(json, key.as_str());
        for key in keys {
            json.push(b',');
            append_text(json, key.as_str());
        }
        json.push(b']');
    }
    if let Some([secret]) = secret {
        if alias.is_some() || used.is_some() || refused.is_some() {
            json.push(b',');
        }
        json.extend_from_slice(b"\"ACS::KMS::Secret\":[");
        append_text(json, secret.as_str());
        json.push(b']');
    }
    json.push(b'}');
}

fn append_identity(json: &mut Vec<u8>, identity: &UserIdentity<'_>) {
    match identity {
        UserIdentity::Unauthenticated { kind, access_key_id } => {
            member!(json, ",\"userIdentity\":{\"type\"", kind);
            json.extend_from_slice(b",\"accessKeyId\":");
            append_optional(json, access_key_id.map(AccessKeyId::as_str));
        }
        UserIdentity::Authenticated {
            kind,
            principal_id,
            account_id,
            user_name,
            access_key_id,
            session_context,
        } => {
            member!(json, ",\"userIdentity\":{\"type\"", kind);
            member!(json, ",\"principalId\"", principal_id);
            member!(json, ",\"accountId\"", account_id);
            member!(json, ",\"userName\"", user_name);
            if let Some(access_key_id) = access_key_id {
                member!(json, ",\"accessKeyId\"", access_key_id.as_str());
            }
            if let Some(Federation { provider, issuer, subject }) = session_context {
                member!(json, ",\"sessionContext\":{\"provider\"", provider);
                member!(json, ",\"issuer\"", issuer);
                member!(json, ",\"subject\"", subject);
                json.push(b'}');
            }
        }
    }
    json.push(b'}');
}

fn append_elements(json: &mut Vec<u8>, elements: &ResponseElements) {
    json.extend_from_slice(b",\"responseElements\":");
    let ResponseElements::Done { key_id, key_version_id, secret_version, credentials } = elements
    else {
        return json.extend_from_slice(b"null");
    };
    json.push(b'{');
    if let Some(key_id) = key_id {
        member!(json, "\"KeyId\"", key_id.as_str());
    }
    if let Some(version) = key_version_id {
        if key_id.is_some() {
            json.push(b',');
        }
        json.extend_from_slice(b"\"KeyVersionId\":");
        append_uuid(json, version.uuid());
    }
    if let Some(version) = secret_version {
        if key_id.is_some() || key_version_id.is_some() {
            json.push(b',');
        }
        append_secret_version(json, version);
    }
    if let Some(NewCredentials { access_key_id }) = credentials {
        if key_id.is_some() || key_version_id.is_some() || secret_version.is_some() {
            json.push(b',');
        }
        member!(json, "\"Credentials\":{\"AccessKeyId\"", access_key_id.as_str());
        json.push(b'}');
    }
    json.push(b'}');
}

fn append_secret_version(json: &mut Vec<u8>, version: &UsedVersion) {
    member!(json, "\"VersionId\"", version.id.as_str());
    json.extend_from_slice(b",\"VersionStages\":[");
    for (at, stage) in version.stages.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        append_text(json, stage.as_str());
    }
    json.push(b']');
}

fn append_source(json: &mut Vec<u8>, source: &Source) {
    match source {
        Source::Text(text) => append_text(json, text),
        Source::Address(IpAddr::V4(address)) => {
            json.push(b'"');
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    json.push(b'.');
                }
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let leading = if octet >= 100 { 0 } else { 1 + usize::from(octet < 10) };
                json.extend(digits.into_iter().skip(leading));
            }
            json.push(b'"');
        }
        Source::Address(IpAddr::V6(address)) => {
            // Writing to memory cannot fail.
            let _ = write!(json, "\"{address}\"");
        }
    }
}

fn append_uuid(json: &mut Vec<u8>, id: Uuid) {
    json.push(b'"');
    json.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    json.push(b'"');
}

fn append_optional(json: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => append_text(json, text),
        None => json.extend_from_slice(b"null"),
    }
}
