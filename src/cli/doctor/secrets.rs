//! Whether the values of secrets are there, and whether their keys can decrypt them.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::system::chain;
use crate::keyring::SecretCheck;
use crate::model::{
    KeyId, KeyRecord, KeyState, KeyVersion, KeyVersionId, RegionAccount, SecretVersion,
    VersionStage,
};
use crate::store::Store;
use crate::token::Token;

const VALUES: &str = "values of secrets";
const KEYS: &str = "keys of secrets";
const RESTORE: &str = "Restore a backup with hsmgate restore: nothing else has the values.";

/// Compares the secrets with their values and keys. Decrypts the current value of one secret of each key,
/// or every value.
pub(super) async fn checks(
    store: &Store,
    token: &Token,
    region_account: &RegionAccount,
    is_deep: bool,
) -> Vec<Check> {
    let mut checks = keys(store, token).await;
    checks.push(match values(store, token, region_account, is_deep).await {
        Ok(check) => check,
        Err(error) => Check::failed(VALUES, format!("{error:#}"), RESTORE),
    });
    checks
}

async fn values(
    store: &Store,
    token: &Token,
    region_account: &RegionAccount,
    is_deep: bool,
) -> anyhow::Result<Check> {
    let mut faults = store.mismatched_secret_values().await?;
    let (mut decrypted, mut tried) = (0, BTreeSet::new());
    let check = SecretCheck::new(store, token, region_account).await?;
    for secret in store.secrets() {
        if !is_deep && !tried.insert(secret.key) {
            continue;
        }
        for version in secret.versions.iter().filter(|one| is_deep || is_current(one)) {
            match check.decrypt(&secret, version).await {
                Ok(true) => decrypted += 1,
                Ok(false) => {}
                Err(error) => {
                    let why = anyhow::Error::from(error);
                    let name = secret.name.as_str();
                    faults.push(format!("{name:?} version {}: {why:#}", version.id));
                }
            }
        }
    }
    let total = store.secrets().len();
    let Some(first) = faults.first() else {
        let found = format!("{total} secrets, each with its values; {decrypted} were decrypted");
        return Ok(Check::ok(VALUES, found));
    };
    let found = format!("{first}; {} in all", faults.len());
    Ok(Check::failed(VALUES, found, RESTORE))
}

fn is_current(version: &SecretVersion) -> bool {
    version.stages.contains(&VersionStage::current())
}

/// Why a key cannot decrypt data keys now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Lost,
    LostObject,
    Disabled,
    PendingDeletion,
    WithoutMaterial,
}

impl Fault {
    fn of(key: Option<&KeyRecord>, objects: &BTreeSet<KeyVersionId>) -> Option<Self> {
        let Some(key) = key else { return Some(Self::Lost) };
        let is_lost = |version: &KeyVersion| !objects.contains(&version.id);
        match key.state {
            KeyState::Enabled => key.live_versions().any(is_lost).then_some(Self::LostObject),
            KeyState::Disabled => Some(Self::Disabled),
            KeyState::PendingDeletion => Some(Self::PendingDeletion),
            _ => Some(Self::WithoutMaterial),
        }
    }

    /// The check for a key with this many secrets.
    fn check(self, key: KeyId, secrets: usize) -> Check {
        const ENABLE: &str = "If that is not intended, enable the key or cancel its deletion.";
        const IMPORT: &str = "Import the material of the key again.";
        const OLDER: &str = "Restore a token and a database that have the key.";
        let (is_failure, what, remedy) = match self {
            Self::Lost => (true, "was destroyed or is lost", OLDER),
            Self::LostObject => (true, "has lost an object in the token", OLDER),
            Self::Disabled => (false, "is disabled", ENABLE),
            Self::PendingDeletion => (false, "will be deleted", ENABLE),
            Self::WithoutMaterial => (false, "has no material", IMPORT),
        };
        let found = format!("{key} {what}: {secrets} secrets cannot be read");
        if is_failure {
            Check::failed(KEYS, found, remedy)
        } else {
            Check::warning(KEYS, found, remedy)
        }
    }
}

/// The keys that cannot decrypt the data keys of secrets now, with the number of these secrets.
async fn keys(store: &Store, token: &Token) -> Vec<Check> {
    let objects = match token.list().await {
        Ok(names) => names.into_iter().map(|name| name.version).collect(),
        Err(error) => return vec![Check::not_checked(KEYS, &chain(&error))],
    };
    let mut secrets: BTreeMap<KeyId, usize> = BTreeMap::new();
    // A key may be destroyed before the secrets that are deleted with it.
    for secret in store.secrets().iter().filter(|secret| secret.delete_at.is_none()) {
        *secrets.entry(secret.key).or_default() += 1;
    }
    let used = secrets.len();
    let check = |(key, count): (KeyId, usize)| {
        Some(Fault::of(store.key(key).as_deref(), &objects)?.check(key, count))
    };
    let faults: Vec<_> = secrets.into_iter().filter_map(check).collect();
    if faults.is_empty() {
        return vec![Check::ok(KEYS, format!("{used} keys, all usable"))];
    }
    faults
}
