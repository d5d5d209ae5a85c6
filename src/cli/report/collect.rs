//! Collects what a report says, from database, token, audit and certificate.

use std::collections::HashMap;

use super::audit;
use super::document::{
    AccessKeyRow, AccessPointRow, CertificateFacts, ClientKeyRow, Document, FORMAT, PrincipalRow,
    ProviderRow, SecretRow, SessionRow, TokenFacts, days_since,
};
use super::keys::{self, Callers};
use super::lights;
use crate::cli::doctor::Check;
use crate::config::Config;
use crate::model::{
    AccessPoint, ClientKeyRecord, IdentityProvider, PrincipalKind, PrincipalName, SecretRecord,
    SelectedVersion, Time, VersionStage, clock,
};
use crate::server::tls::ServerCertificate;
use crate::store::{AccessKeyRow as StoredAccessKey, Principal, Store};
use crate::token::Token;

/// Everything but the checks and the lights, which follow from them.
pub(super) async fn document(
    config: &Config,
    store: &Store,
    token: &Token,
) -> anyhow::Result<Document> {
    let state = store.access_state().await?;
    let points = store.documents::<AccessPoint>();
    let now = clock::now();
    let callers = Callers { principals: with_root(&state.principals, now), points: &points };
    let audit = audit::read(config, store).await?;
    let info = token.info();
    Ok(Document {
        format: FORMAT,
        program: concat!("hsmgate ", env!("CARGO_PKG_VERSION")),
        created: now,
        region: config.region_account.region.clone(),
        account: config.region_account.account.clone(),
        token: TokenFacts {
            label: info.label.clone(),
            serial: info.serial.clone(),
            manufacturer: info.manufacturer.clone(),
            model: info.model.clone(),
            firmware: info.firmware.clone(),
        },
        lights: Vec::new(),
        keys: keys::rows(config, store, token, &callers, now).await?,
        secrets: secrets(store, &audit.reads, now),
        principals: state.principals.iter().map(|one| principal(one, &state.keys)).collect(),
        access_points: points.iter().map(|point| access_point(store, point)).collect(),
        identity_providers: providers(config, store),
        sessions: sessions(&state.keys, now),
        audit: audit.facts,
        certificate: certificate(config, now),
        key_exchange: config.tls.as_ref().map(|tls| tls.key_exchange),
        checks: Vec::new(),
    })
}

impl Document {
    /// Adds the checks, and the lights that follow from them.
    pub(super) fn with_checks(self, checks: Vec<Check>) -> Self {
        let lights = lights::of(&checks, &self);
        Self { lights, checks, ..self }
    }
}

/// The root has no row.
fn with_root(principals: &[Principal], now: Time) -> Vec<Principal> {
    let root = Principal::new(PrincipalName::root(), Vec::new(), now);
    let is_there = principals.iter().any(|one| one.name == root.name);
    let root = if is_there { None } else { Some(root) };
    root.into_iter().chain(principals.iter().cloned()).collect()
}

fn secrets(store: &Store, reads: &HashMap<String, Time>, now: Time) -> Vec<SecretRow> {
    let current = SelectedVersion::Stage(VersionStage::current());
    let row = |secret: &SecretRecord| {
        let version = secret.selected(&current);
        // A read before its creation was of an earlier secret with this name.
        let read = reads.get(secret.name.as_str()).copied().filter(|time| *time >= secret.created);
        SecretRow {
            name: secret.name.clone(),
            key_id: secret.key,
            versions: secret.versions.len(),
            current_version: version.map(|version| version.id.clone()),
            current_age_days: version.map(|version| days_since(version.created, now)),
            last_read: read,
            delete_at: secret.delete_at,
        }
    };
    store.secrets().iter().map(|secret| row(secret)).collect()
}

fn principal(principal: &Principal, keys: &[StoredAccessKey]) -> PrincipalRow {
    let is_own = |key: &&StoredAccessKey| key.principal == principal.name && key.session.is_none();
    let details = &principal.details;
    let is_role = principal.name.kind() == PrincipalKind::Role;
    PrincipalRow {
        name: principal.name.clone(),
        created: principal.created,
        policies: principal.policies.iter().map(|policy| policy.name().to_owned()).collect(),
        access_keys: keys.iter().filter(is_own).map(access_key).collect(),
        trust_policy: details.trust.as_ref().map(|trust| trust.text().to_owned()),
        max_session_seconds: is_role.then(|| details.max_session()),
        sessions_from: details.sessions_from,
    }
}

fn access_key(key: &StoredAccessKey) -> AccessKeyRow {
    AccessKeyRow {
        access_key_id: key.id.clone(),
        created: key.created,
        is_active: key.is_active,
        last_used: key.last_used,
    }
}

fn access_point(store: &Store, point: &AccessPoint) -> AccessPointRow {
    let mut keys = store.documents::<ClientKeyRecord>();
    keys.retain(|key| key.access_point == point.name);
    let row = |key: &ClientKeyRecord| ClientKeyRow {
        client_key_id: key.id,
        not_after: key.not_after,
        is_active: key.is_active,
        last_used: key.last_used,
    };
    AccessPointRow {
        name: point.name.clone(),
        policies: point.policies.iter().cloned().collect(),
        client_keys: keys.iter().map(|key| row(key)).collect(),
    }
}

fn providers(config: &Config, store: &Store) -> Vec<ProviderRow> {
    let row = |origin: &'static str, provider: &IdentityProvider| ProviderRow {
        name: provider.name.clone(),
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        origin,
    };
    let configured = config.identity_providers.iter();
    let configured = configured.map(|one| row("configuration", &one.provider));
    let stored = store.documents::<IdentityProvider>();
    configured.chain(stored.iter().map(|one| row("database", one))).collect()
}

/// The sessions that have not expired.
fn sessions(keys: &[StoredAccessKey], now: Time) -> Vec<SessionRow> {
    let row = |key: &StoredAccessKey| {
        let session = key.session.as_ref().filter(|session| session.expires > now)?;
        Some(SessionRow {
            access_key_id: key.id.clone(),
            principal: key.principal.clone(),
            name: session.name.clone(),
            expires: session.expires,
            last_used: key.last_used,
        })
    };
    keys.iter().filter(|key| key.is_active).filter_map(row).collect()
}

/// A certificate that cannot be read is a failed check.
fn certificate(config: &Config, now: Time) -> Option<CertificateFacts> {
    let certificate = ServerCertificate::open(config.tls.clone()?.files).ok()?;
    let days_left = (certificate.days_left(now) * 10.0).round() / 10.0;
    Some(CertificateFacts { not_after: certificate.not_after(), days_left })
}
