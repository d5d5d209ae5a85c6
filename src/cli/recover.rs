//! `hsmgate recover`: imports keys found on the token into the database.

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::operator::require_duty;
use super::output;
use super::reason::Reason;
use super::settings::{self, ConfigFile};
use crate::audit;
use crate::config::{Config, Duty};
use crate::keyring::recovery::{self, Findings};
use crate::keyring::store_counter;
use crate::model::{KeyId, KeySpec, KeyUsage, KeyVersionId, SecretName, Time, clock};
use crate::store::{AccessMode, LockedStore, Store, StoreError};

/// Maximum number of keys that the record of a recovery names.
const MAX_RECORDED_KEYS: usize = 1000;

/// What the labels in the token do not contain.
const NOT_RECOVERABLE: &[&str] = &[
    "aliases",
    "secrets and their values",
    "tags and descriptions",
    "key policies, access points, network rules",
    "users, roles, AccessKeys, client keys",
    "dates of creation, scheduled deletions, disabled states",
    "rotation and deletion protection settings",
    "expiry dates of imported material, imports under way",
];

/// Imports keys and key versions that exist only in the token: after a loss of the database, or after a
/// restore of an older backup. Nothing is destroyed. No gateway may be running
#[derive(Debug, Args)]
pub(super) struct Recover {
    #[command(flatten)]
    file: ConfigFile,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why keys are imported, for the record
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<Reason>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RecoveryReport {
    is_dry_run: bool,
    keys: Vec<RecoveredKey>,
    service_keys: Vec<String>,
    destroyed_before: Vec<KeyId>,
    left_alone: Vec<IgnoredObject>,
    unreadable_objects: usize,
    keys_in_store: usize,
    postponed_deletions: Vec<KeyId>,
    lost_secrets: Vec<SecretName>,
    not_rebuilt: &'static [&'static str],
}

#[derive(Serialize)]
struct RecoveredKey {
    key_id: KeyId,
    key_spec: KeySpec,
    key_usage: KeyUsage,
    is_new: bool,
    versions: Vec<KeyVersionId>,
}

#[derive(Serialize)]
struct IgnoredObject {
    label: String,
    reason: String,
}

impl Recover {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "recover")?;
        let shown = Runtime::new()?.block_on(self.recover(config))?;
        if self.json { Ok(output::json(&shown)?) } else { Ok(shown.tell()?) }
    }

    async fn recover(&self, config: Config) -> anyhow::Result<RecoveryReport> {
        let now = clock::now();
        let rotate_at = config.keyring.iv_budget.rotate_at;
        let (url, _directory) = self.url(&config).await?;
        let token = settings::token_settings(config.token, &config.state_directory)?;
        let mode = if self.dry_run { AccessMode::ReadOnly } else { AccessMode::ReadWrite };
        let place = &config.region_account;
        settings::with_offline(token, &url, place, mode, async |store, token| {
            let had_keys = !store.keys().is_empty();
            let findings = recovery::find_missing(store, token).await?;
            let mut postponed = Vec::new();
            if !self.dry_run {
                self.accept_loss(store, now, rotate_at).await?;
                self.record(store, &findings).await?;
                recovery::import(store, token, &findings, rotate_at, now).await?;
                // Nothing tells whether the database lacks the last leases.
                store.raise_invocations(rotate_at).await?;
                store_counter::accept(store, token, rotate_at).await?;
                audit::accept_older_database(store).await?;
                if had_keys && !findings.keys.is_empty() {
                    postponed = store.postpone_deletions(now).await?;
                }
            }
            let mut report =
                RecoveryReport::of(findings, self.dry_run, store.keys().len(), postponed);
            report.unreadable_objects = token.unreadable_objects();
            report.lost_secrets = recovery::lost_secrets(store, token).await?;
            Ok(report)
        })
        .await
    }

    /// Accepts changes that were lost by a promotion of the database.
    async fn accept_loss(
        &self,
        store: &Store,
        now: Time,
        rotate_at: u64,
    ) -> Result<(), StoreError> {
        let reason = self.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        match store.accept_lost_changes(&reason, now, rotate_at).await {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records the command before it changes the database.
    async fn record(&self, store: &Store, findings: &Findings) -> Result<(), StoreError> {
        let keys = findings.keys.iter().take(MAX_RECORDED_KEYS);
        let keys: Vec<_> = keys.map(|key| key.id.to_string()).collect();
        let noted = vec![
            ("Keys", findings.keys.len().to_string()),
            ("KeyIds", keys.join(",")),
            ("Reason", self.reason.as_ref().map(ToString::to_string).unwrap_or_default()),
        ];
        store.record_operator_command("RecoverKeys", noted).await
    }

    /// The URL of the store, or of an empty one if none exists and none may be created.
    async fn url(&self, config: &Config) -> anyhow::Result<(String, Option<TempDir>)> {
        if !self.dry_run || Store::file(&config.store_url).is_none() {
            return Ok((config.store_url.clone(), None));
        }
        match Store::check(&config.store_url).await {
            Err(StoreError::NoFile(_)) => {
                let directory = TempDir::new()?;
                let url = format!("sqlite://{}/store.db", directory.path().display());
                LockedStore::open(&url).await?.close().await;
                Ok((url, Some(directory)))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok((config.store_url.clone(), None)),
        }
    }
}

impl RecoveryReport {
    fn of(findings: Findings, is_dry_run: bool, keys: usize, postponed: Vec<KeyId>) -> Self {
        let recovered = findings.keys.into_iter().map(|found| RecoveredKey {
            key_id: found.id,
            key_spec: found.spec,
            key_usage: found.usage,
            is_new: !found.is_known,
            versions: found.versions.into_iter().map(|name| name.version).collect(),
        });
        let unusable = findings.unusable.into_iter();
        let ignored =
            unusable.map(|(name, reason)| IgnoredObject { label: name.to_string(), reason });
        Self {
            is_dry_run,
            keys: recovered.collect(),
            service_keys: findings.services.iter().map(|(key, _)| key.to_string()).collect(),
            destroyed_before: findings.destroyed,
            left_alone: ignored.collect(),
            unreadable_objects: 0,
            keys_in_store: keys,
            postponed_deletions: postponed,
            lost_secrets: Vec::new(),
            not_rebuilt: NOT_RECOVERABLE,
        }
    }

    fn tell(&self) -> std::io::Result<()> {
        for key in &self.keys {
            let what = if key.is_new { "a key" } else { "versions of a known key" };
            let (id, spec, versions) = (&key.key_id, key.key_spec, key.versions.len());
            let plural = if versions == 1 { "" } else { "s" };
            output::line(&format!("{id}  {spec}  {versions} version{plural}  {what}"))?;
        }
        for key in &self.service_keys {
            output::line(&format!("{key}  a key of the gateway itself"))?;
        }
        for key in &self.destroyed_before {
            output::line(&format!("{key}  was destroyed intentionally and stays destroyed"))?;
        }
        for object in &self.left_alone {
            output::line(&format!("{}  ignored: {}", object.label, object.reason))?;
        }
        if self.unreadable_objects > 0 {
            let objects = self.unreadable_objects;
            output::line(&format!("{objects} objects of other programs cannot be read"))?;
        }
        for key in &self.postponed_deletions {
            output::line(&format!("{key}  will be deleted in seven days at the earliest"))?;
        }
        for secret in &self.lost_secrets {
            output::line(&format!("{secret}  has a value whose key the token does not have"))?;
        }
        let (count, total) = (self.keys.len(), self.keys_in_store);
        if self.is_dry_run {
            output::line(&format!("{count} keys would be imported; nothing was changed"))?;
        } else {
            output::line(&format!("{count} keys were imported; the database has {total} keys"))?;
        }
        if self.keys.iter().any(|key| key.is_new) {
            output::line(
                "The token does not contain the following; create it again if it was lost:",
            )?;
            self.not_rebuilt.iter().try_for_each(|what| output::line(&format!("  {what}")))?;
        }
        Ok(())
    }
}
