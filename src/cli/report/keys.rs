//! The keys of a report.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::{CallerAccess, KeyRow, ObjectState, VersionRow, days_since};
use crate::authz::{KeyAccess, UnreadablePolicy};
use crate::cli::{doctor, policy};
use crate::config::Config;
use crate::model::policy::Extent;
use crate::model::{AccessPoint, IvBudget, KeyRecord, KeyUsage, KeyVersion, KeyVersionId, Time};
use crate::store::{Principal, Store};
use crate::token::{Depth, Inspected, Token};

const SYMMETRIC: &[&str] = &["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"];
const DECRYPTION_PAIR: &[&str] =
    &["kms:AsymmetricEncrypt", "kms:AsymmetricDecrypt", "kms:GetPublicKey"];
const SIGNING_PAIR: &[&str] = &["kms:AsymmetricSign", "kms:AsymmetricVerify", "kms:GetPublicKey"];
const MAC: &[&str] = &["kms:GenerateMac", "kms:VerifyMac"];
/// What changes who may use a key, or ends its use.
const MANAGEMENT: &[&str] = &["kms:SetKeyPolicy", "kms:DisableKey", "kms:ScheduleKeyDeletion"];

/// Who may use keys.
pub(super) struct Callers<'a> {
    pub(super) principals: Vec<Principal>,
    pub(super) points: &'a [Arc<AccessPoint>],
}

/// What is known of all versions.
struct Versions {
    objects: HashMap<KeyVersionId, Inspected>,
    encryptions: HashMap<String, u64>,
    uses: HashMap<String, Time>,
}

/// Every key in any state, by creation time.
pub(super) async fn rows(
    config: &Config,
    store: &Store,
    token: &Token,
    callers: &Callers<'_>,
    now: Time,
) -> anyhow::Result<Vec<KeyRow>> {
    let inspected = doctor::inspect(token, Depth::Attributes).await?;
    let versions = Versions {
        objects: inspected.into_iter().map(|one| (one.name.version, one)).collect(),
        encryptions: store.version_invocations(0).await?,
        uses: store.version_uses().await?,
    };
    let keys = store.keys();
    let row = |record: &Arc<KeyRecord>| row(config, store, &versions, callers, record, now);
    Ok(keys.iter().map(row).collect())
}

fn row(
    config: &Config,
    store: &Store,
    known: &Versions,
    callers: &Callers<'_>,
    record: &KeyRecord,
    now: Time,
) -> KeyRow {
    let versions: Vec<_> = record.live_versions().map(|one| known.row(record, one)).collect();
    let primary = record.primary_version();
    let of_primary = versions.iter().find(|one| Some(one.key_version_id) == record.primary);
    let is_closed = versions
        .iter()
        .all(|version| matches!(version.objects, ObjectState::Closed | ObjectState::NoMaterial));
    let aliases = store.aliases_of(record.id);
    KeyRow {
        key_id: record.id,
        aliases: aliases.into_iter().map(|alias| alias.name).collect(),
        description: record.description.clone(),
        spec: record.spec,
        usage: record.usage,
        origin: record.origin,
        state: record.state,
        created: record.created,
        delete_at: record.delete_at,
        is_internal: record.is_internal,
        primary_version: record.primary,
        primary_age_days: primary.map(|version| days_since(version.created, now)),
        next_rotation: record.next_rotation(),
        iv_budget_percent: of_primary
            .map(|version| percent(version.encryptions, config.keyring.iv_budget)),
        last_used: versions.iter().filter_map(|version| version.last_used).max(),
        secrets: store.secrets_of_key(record.id).len(),
        is_closed,
        versions,
        access: access(config, store, callers, record).ok(),
    }
}

/// With two decimals.
fn percent(used: u64, budget: IvBudget) -> f64 {
    // Exact below 2^32, which no budget exceeds.
    let share = |number: u64| u32::try_from(number).map_or(f64::MAX, f64::from);
    (share(used) / share(budget.refuse_at) * 10_000.0).round() / 100.0
}

impl Versions {
    fn row(&self, record: &KeyRecord, version: &KeyVersion) -> VersionRow {
        let id = version.id.to_string();
        let inspected = self.objects.get(&version.id);
        let faults = inspected.map(|found| found.faults.clone()).unwrap_or_default();
        let objects = match inspected {
            Some(_) if faults.is_empty() => ObjectState::Closed,
            Some(_) => ObjectState::Faulty,
            None if record.has_material() => ObjectState::Missing,
            None => ObjectState::NoMaterial,
        };
        VersionRow {
            key_version_id: version.id,
            number: version.number,
            created: version.created,
            encryptions: self.encryptions.get(&id).copied().unwrap_or_default(),
            last_used: self.uses.get(&id).copied(),
            objects,
            faults,
        }
    }
}

/// The actions that a report tells of a key: those that use it, and those that end its use.
fn actions(record: &KeyRecord) -> impl Iterator<Item = &'static str> {
    let uses = match record.usage {
        KeyUsage::EncryptDecrypt if record.spec.is_symmetric_cipher() => SYMMETRIC,
        KeyUsage::EncryptDecrypt => DECRYPTION_PAIR,
        KeyUsage::SignVerify => SIGNING_PAIR,
        KeyUsage::GenerateVerifyMac => MAC,
    };
    uses.iter().chain(MANAGEMENT).copied()
}

/// Who may do something with a key.
fn access(
    config: &Config,
    store: &Store,
    callers: &Callers<'_>,
    record: &KeyRecord,
) -> Result<Vec<CallerAccess>, UnreadablePolicy> {
    let access = KeyAccess::new(&config.region_account, record)?;
    let mut found = Vec::new();
    for principal in &callers.principals {
        let mut of_caller = CallerAccess::none(principal.name.to_string());
        for action in actions(record) {
            of_caller.note(action, access.of_principal(principal, action));
        }
        found.push(of_caller);
    }
    for point in callers.points {
        let mut of_caller = CallerAccess::none(format!("applicationaccesspoint/{}", point.name));
        for action in actions(record) {
            let Some(permission) = policy::client_key_permission(action) else { continue };
            let extent = access.of_access_point(store, point, action, permission)?;
            of_caller.note(action, extent);
        }
        found.push(of_caller);
    }
    found.retain(|one| !(one.always.is_empty() && one.conditional.is_empty()));
    Ok(found)
}

impl CallerAccess {
    const fn none(caller: String) -> Self {
        Self { caller, always: Vec::new(), conditional: Vec::new() }
    }

    fn note(&mut self, action: &'static str, extent: Extent) {
        match extent {
            Extent::None => {}
            Extent::Some => self.conditional.push(action),
            Extent::All => self.always.push(action),
        }
    }
}
