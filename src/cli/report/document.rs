//! What a report says.

use serde::Serialize;

use crate::audit::FaultKind;
use crate::cli::doctor::Check;
use crate::config::KeyExchange;
use crate::model::{
    AccessKeyId, AccessName, AccountId, Alias, ClientKeyId, KeyId, KeySpec, KeyState, KeyUsage,
    KeyVersionId, Origin, PrincipalName, ProviderName, Region, SecretName, SecretVersionId, Time,
};

const SECONDS_PER_DAY: i64 = 86_400;

/// The format of the document.
pub(super) const FORMAT: u32 = 1;

/// A report on everything that a gateway keeps. Times are hours for last uses.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) format: u32,
    pub(super) program: &'static str,
    pub(super) created: Time,
    pub(super) region: Region,
    pub(super) account: AccountId,
    pub(super) token: TokenFacts,
    pub(super) lights: Vec<Light>,
    pub(super) keys: Vec<KeyRow>,
    pub(super) secrets: Vec<SecretRow>,
    pub(super) principals: Vec<PrincipalRow>,
    pub(super) access_points: Vec<AccessPointRow>,
    pub(super) identity_providers: Vec<ProviderRow>,
    pub(super) sessions: Vec<SessionRow>,
    pub(super) audit: AuditFacts,
    pub(super) certificate: Option<CertificateFacts>,
    /// The key exchanges of TLS. `None` over plain HTTP.
    #[serde(skip)]
    pub(super) key_exchange: Option<KeyExchange>,
    pub(super) checks: Vec<Check>,
}

/// The identity of the token.
#[derive(Debug, Serialize)]
pub(super) struct TokenFacts {
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) firmware: String,
}

/// The state of a part of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LightState {
    /// Nothing to look at: the part is not configured, or could not be checked.
    Unknown,
    Good,
    Warning,
    Bad,
}

impl LightState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// The state of a part of the gateway, with what is not good.
#[derive(Debug, Serialize)]
pub(super) struct Light {
    pub(super) name: &'static str,
    pub(super) state: LightState,
    pub(super) found: Vec<String>,
}

/// A key.
#[derive(Debug, Serialize)]
pub(super) struct KeyRow {
    pub(super) key_id: KeyId,
    pub(super) aliases: Vec<Alias>,
    pub(super) description: String,
    pub(super) spec: KeySpec,
    pub(super) usage: KeyUsage,
    pub(super) origin: Origin,
    pub(super) state: KeyState,
    pub(super) created: Time,
    pub(super) delete_at: Option<Time>,
    /// Whether it is a key of the gateway itself, for secrets whose creator named no key.
    pub(super) is_internal: bool,
    pub(super) primary_version: Option<KeyVersionId>,
    pub(super) primary_age_days: Option<i64>,
    pub(super) next_rotation: Option<Time>,
    /// The share of its IV budget that the primary version has used, in percent.
    pub(super) iv_budget_percent: Option<f64>,
    pub(super) last_used: Option<Time>,
    pub(super) secrets: usize,
    pub(super) is_closed: bool,
    pub(super) versions: Vec<VersionRow>,
    /// `None` if its key policy cannot be parsed, so that no request is allowed.
    pub(super) access: Option<Vec<CallerAccess>>,
}

/// A version of a key.
#[derive(Debug, Serialize)]
pub(super) struct VersionRow {
    pub(super) key_version_id: KeyVersionId,
    pub(super) number: u32,
    pub(super) created: Time,
    /// The encryptions that it may have made.
    pub(super) encryptions: u64,
    pub(super) last_used: Option<Time>,
    pub(super) objects: ObjectState,
    /// What is wrong with its objects.
    pub(super) faults: Vec<String>,
}

/// Whether the objects of a version are as the gateway creates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ObjectState {
    /// Complete, sensitive and not extractable, with the attributes of their creation.
    Closed,
    /// An attribute differs.
    Faulty,
    /// The token does not have them.
    Missing,
    /// The material was not imported, or has expired.
    NoMaterial,
}

impl ObjectState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Faulty => "faulty",
            Self::Missing => "missing",
            Self::NoMaterial => "no-material",
        }
    }
}

/// What a caller may do with a key.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct CallerAccess {
    /// `user/NAME`, `role/NAME`, `root` or `applicationaccesspoint/NAME`.
    pub(super) caller: String,
    /// In every request.
    pub(super) always: Vec<&'static str>,
    /// In requests that meet a condition, such as their source address.
    pub(super) conditional: Vec<&'static str>,
}

/// A secret.
#[derive(Debug, Serialize)]
pub(super) struct SecretRow {
    pub(super) name: SecretName,
    pub(super) key_id: KeyId,
    pub(super) versions: usize,
    pub(super) current_version: Option<SecretVersionId>,
    pub(super) current_age_days: Option<i64>,
    /// The time of the last record of a read in the audit file in use.
    pub(super) last_read: Option<Time>,
    pub(super) delete_at: Option<Time>,
}

/// A user or a role.
#[derive(Debug, Serialize)]
pub(super) struct PrincipalRow {
    pub(super) name: PrincipalName,
    pub(super) created: Time,
    pub(super) policies: Vec<String>,
    pub(super) access_keys: Vec<AccessKeyRow>,
    /// Who may assume it, as its trust policy says. Only of a role.
    pub(super) trust_policy: Option<String>,
    /// The longest validity of its sessions. Only of a role.
    pub(super) max_session_seconds: Option<i64>,
    /// Only sessions that began later are valid.
    pub(super) sessions_from: Option<Time>,
}

/// An AccessKey.
#[derive(Debug, Serialize)]
pub(super) struct AccessKeyRow {
    pub(super) access_key_id: AccessKeyId,
    pub(super) created: Time,
    pub(super) is_active: bool,
    pub(super) last_used: Option<Time>,
}

/// An access point with its client keys.
#[derive(Debug, Serialize)]
pub(super) struct AccessPointRow {
    pub(super) name: AccessName,
    pub(super) policies: Vec<AccessName>,
    pub(super) client_keys: Vec<ClientKeyRow>,
}

/// A client key.
#[derive(Debug, Serialize)]
pub(super) struct ClientKeyRow {
    pub(super) client_key_id: ClientKeyId,
    pub(super) not_after: Time,
    pub(super) is_active: bool,
    pub(super) last_used: Option<Time>,
}

/// An identity provider.
#[derive(Debug, Serialize)]
pub(super) struct ProviderRow {
    pub(super) name: ProviderName,
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    /// `configuration` or `database`.
    pub(super) origin: &'static str,
}

/// A session that the database knows. One that a caller obtained through the API is in its token alone.
#[derive(Debug, Serialize)]
pub(super) struct SessionRow {
    pub(super) access_key_id: AccessKeyId,
    pub(super) principal: PrincipalName,
    pub(super) name: String,
    pub(super) expires: Time,
    pub(super) last_used: Option<Time>,
}

/// The result of a verification of the audit file in use.
#[derive(Debug, Serialize)]
pub(super) struct AuditFacts {
    pub(super) file: String,
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    /// The last record that a valid signature covers.
    pub(super) signed_through: Option<u64>,
    /// SHA-256 of the public key that signs.
    pub(super) key_fingerprint: Option<String>,
    pub(super) faults: Vec<AuditFault>,
}

/// What is wrong with the audit file.
#[derive(Debug, Serialize)]
pub(super) struct AuditFault {
    pub(super) kind: FaultKind,
    /// The record, or the next expected one.
    pub(super) sequence: u64,
    pub(super) text: String,
}

/// The certificate of the gateway.
#[derive(Debug, Serialize)]
pub(super) struct CertificateFacts {
    pub(super) not_after: Time,
    pub(super) days_left: f64,
}

/// The days since a time.
pub(super) fn days_since(time: Time, now: Time) -> i64 {
    now.unix().saturating_sub(time.unix()).div_euclid(SECONDS_PER_DAY)
}
