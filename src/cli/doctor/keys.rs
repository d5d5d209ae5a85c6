//! Token objects against rows: every object closed as it should be, and none without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Check;
use super::system::chain;
use crate::audit::{self, AuditError};
use crate::authn::CredentialStore;
use crate::keyring::recovery::StoredKeys;
use crate::model::{KeyState, KeyVersionId, Origin};
use crate::store::Store;
use crate::token::{Depth, Inspected, ObjectName, ObjectOwner, ServiceKey, Token, TokenError};

/// What a running gateway is about to finish looks right after so long.
const RECHECK_DELAY: Duration = Duration::from_secs(2);

const OBJECTS: &str = "key objects";
const ORPHANS: &str = "objects without a row";
const LOST: &str = "rows without an object";

const RECOVER: &str = "Stop the gateway, then: hsmgate recover.";

/// All checks that need both.
pub(super) async fn compare(store: &Store, token: &Token, is_deep: bool) -> Vec<Check> {
    let mut checks = match objects(store, token, is_deep).await {
        Ok(mut objects) => {
            objects.extend(service_keys(store, token).await);
            objects
        }
        Err(error) => {
            let unread = Check::failed(OBJECTS, chain(&error), "See the log of the HSM.");
            let why = "the token has to show its objects for that";
            return vec![unread, Check::not_checked(ORPHANS, why), Check::not_checked(LOST, why)];
        }
    };
    match (differences(store, token).await, incomplete(store).await) {
        (Ok(mut first), Ok(incomplete)) => {
            if !first.is_empty() {
                // A running gateway may have been at work: only what stays counts.
                tokio::time::sleep(RECHECK_DELAY).await;
                match differences(store, token).await {
                    Ok(second) => first.keep(&second),
                    Err(error) => checks.push(unread(&error)),
                }
            }
            checks.extend(first.checks());
            checks.extend(incomplete);
        }
        (Err(error), _) | (_, Err(error)) => checks.push(unread(&error)),
    }
    checks
}

/// The keys of the gateway itself, without which it does not start.
async fn service_keys(store: &Store, token: &Token) -> Vec<Check> {
    const AUDIT: &str = "audit key";
    const ENCRYPTION_KEY: &str = "AccessKey encryption key";
    let audit = match audit::check_key(store, token).await {
        Ok(()) => Check::ok(AUDIT, "whole, or not made yet"),
        Err(error @ AuditError::KeyMissing(_)) => Check::failed(
            AUDIT,
            chain(&error),
            "Bring the token back to a state that has it. Where it is lost: stop the gateway, then \
             hsmgate audit replace-key. The records go on, and verify with both public keys.",
        ),
        Err(error) => Check::failed(AUDIT, chain(&error), "See the log of the HSM."),
    };
    let encryption_key = match CredentialStore::has_lost_encryption_key(store, token).await {
        Ok(false) => Check::ok(ENCRYPTION_KEY, "whole, or not made yet"),
        Ok(true) => Check::failed(
            ENCRYPTION_KEY,
            "the token has lost the key that opens the AccessKey secrets",
            "Bring the token back to a state that has it. Where it is lost no AccessKey opens any \
             more, and they must be made anew: stop the gateway, then hsmgate access-key replace-encryption-key, \
             then hsmgate access-key create for each user. Keys and client keys stay as they are.",
        ),
        Err(error) => Check::failed(ENCRYPTION_KEY, chain(&error), "See the log of the HSM."),
    };
    vec![audit, encryption_key]
}

fn unread(error: &anyhow::Error) -> Check {
    Check::failed(ORPHANS, format!("{error:#}"), "See whether token and database can be read.")
}

/// Every object of ours against the attributes that it was made with (decision D1).
async fn objects(store: &Store, token: &Token, is_deep: bool) -> Result<Vec<Check>, TokenError> {
    let depth = if is_deep { Depth::Use } else { Depth::Attributes };
    let inspected = inspect(token, depth).await?;
    let total = inspected.len();
    // What is missing of the keys of the gateway itself has a check of its own.
    let is_own = |one: &&Inspected| {
        one.kind.is_none()
            && matches!(
                one.name.owner,
                ObjectOwner::Service(ServiceKey::AuditCheckpoint | ServiceKey::AccessKeyEncryption)
            )
    };
    let faulty = inspected.iter().filter(|one| !one.faults.is_empty() && !is_own(one));
    let (left, faulty): (Vec<_>, Vec<_>) = faulty.partition(|one| is_incomplete_object(store, one));
    let summary = |some: &[&Inspected]| {
        let first = some.first()?;
        Some(format!("{}: {}; {} in all", first.name, first.faults.join(", "), some.len()))
    };
    let whole = match summary(&faulty) {
        None => Check::ok(OBJECTS, format!("{total}, all closed as they should be")),
        Some(found) => Check::failed(
            OBJECTS,
            found,
            "Find out who changed it. A key that was open may have left the token: rotate it and \
             encrypt anew.",
        ),
    };
    let halves = summary(&left).map(|found| {
        Check::warning(
            "half-made objects",
            found,
            "They do no harm. The next start takes them away, or the end of the import token that \
             they are for.",
        )
    });
    Ok([Some(whole), halves].into_iter().flatten().collect())
}

/// Whether an object is a part of a key that was being made or destroyed, so that nobody misses the
/// rest and the gateway takes it away.
fn is_incomplete_object(store: &Store, one: &Inspected) -> bool {
    let is_passing = match one.name.owner {
        ObjectOwner::Service(service) => service == ServiceKey::ImportWrapping,
        ObjectOwner::Key(_) => store.key_of_version(one.name.version).is_some_and(|record| {
            is_incomplete(record.state) || record.version(one.name.version).is_none()
        }),
    };
    one.kind.is_none() && is_passing
}

/// Looks at every object. A key that a running gateway was just making when it was looked at, or
/// destroying, is looked at once more.
async fn inspect(token: &Token, depth: Depth) -> Result<Vec<Inspected>, TokenError> {
    let mut first = token.inspect(depth).await?;
    if first.iter().any(|one| !one.faults.is_empty()) {
        tokio::time::sleep(RECHECK_DELAY).await;
        let second: BTreeMap<_, _> =
            token.inspect(depth).await?.into_iter().map(|one| (one.name, one.faults)).collect();
        for one in first.iter_mut().filter(|one| !one.faults.is_empty()) {
            one.faults = second.get(&one.name).cloned().unwrap_or_default();
        }
    }
    Ok(first)
}

/// Objects and rows that have no counterpart.
#[derive(Default)]
struct Differences {
    orphans: BTreeSet<ObjectName>,
    destroyed: BTreeSet<ObjectName>,
    /// Pairs for the import of material whose import token is lost.
    unused_imports: BTreeSet<ObjectName>,
    /// Objects whose id the database gives to another owner than their label does.
    misplaced: BTreeSet<ObjectName>,
    /// Versions without an object, with their keys.
    lost: BTreeMap<KeyVersionId, String>,
}

async fn differences(store: &Store, token: &Token) -> anyhow::Result<Differences> {
    store.refresh().await?;
    let before = store.keys();
    let names = token.list().await?;
    store.refresh().await?;
    let known = StoredKeys::read(store).await?;
    let mut differences = Differences::default();
    for name in &names {
        if known.conflicts_with(name) {
            differences.misplaced.insert(*name);
        }
        let is_incomplete = store.key_of_version(name.version).is_some();
        if known.has(name) || is_incomplete {
            continue;
        }
        match name.owner {
            // Told of by its row.
            ObjectOwner::Key(key) if store.is_damaged_key(key) => {}
            ObjectOwner::Key(key) if store.removed_at(key).await?.is_some() => {
                differences.destroyed.insert(*name);
            }
            ObjectOwner::Service(ServiceKey::ImportWrapping) => {
                differences.unused_imports.insert(*name);
            }
            _ => {
                differences.orphans.insert(*name);
            }
        }
    }
    let there: BTreeSet<KeyVersionId> = names.iter().map(|name| name.version).collect();
    for record in before {
        let has_material = record.origin == Origin::AliyunKms || record.has_material();
        if !record.state.is_visible() || !has_material {
            continue;
        }
        for version in record.live_versions().filter(|version| !there.contains(&version.id)) {
            differences.lost.insert(version.id, record.id.to_string());
        }
    }
    Ok(differences)
}

impl Differences {
    fn is_empty(&self) -> bool {
        let names = [&self.orphans, &self.destroyed, &self.unused_imports, &self.misplaced];
        names.iter().all(|names| names.is_empty()) && self.lost.is_empty()
    }

    fn keep(&mut self, other: &Self) {
        self.orphans.retain(|name| other.orphans.contains(name));
        self.destroyed.retain(|name| other.destroyed.contains(name));
        self.unused_imports.retain(|name| other.unused_imports.contains(name));
        self.misplaced.retain(|name| other.misplaced.contains(name));
        self.lost.retain(|version, _| other.lost.contains_key(version));
    }

    fn checks(&self) -> Vec<Check> {
        let keys = |of: &BTreeSet<ObjectName>| {
            let first = of.first().map(ToString::to_string).unwrap_or_default();
            format!("{first}; {} in all", of.len())
        };
        let orphans = if self.orphans.is_empty() {
            Check::ok(ORPHANS, "none")
        } else {
            Check::failed(ORPHANS, keys(&self.orphans), RECOVER)
        };
        let destroyed = (!self.destroyed.is_empty()).then(|| {
            Check::failed(
                "destroyed keys",
                format!("the token still has {}", keys(&self.destroyed)),
                "Destroy these objects with the tools of the HSM: their owners were told that they \
                 are gone.",
            )
        });
        let unused_imports = (!self.unused_imports.is_empty()).then(|| {
            Check::warning(
                "import-wrapping pairs",
                format!(
                    "{} unwrap nothing any more: {}",
                    self.unused_imports.len(),
                    keys(&self.unused_imports)
                ),
                "They do no harm. Destroy them with the tools of the HSM, or leave them.",
            )
        });
        let misplaced = (!self.misplaced.is_empty()).then(|| {
            Check::failed(
                "rows over another key",
                format!("the database gives this object to another key: {}", keys(&self.misplaced)),
                "Somebody has changed the database. The gateway uses none of these objects. Find out \
                 who it was, and restore a backup.",
            )
        });
        let lost = match self.lost.first_key_value() {
            None => Check::ok(LOST, "none"),
            Some((version, key)) => Check::failed(
                LOST,
                format!("version {version} of key {key}; {} in all", self.lost.len()),
                "Bring the token back to a state that has them. What they encrypted does not open.",
            ),
        };
        [Some(orphans), destroyed, unused_imports, misplaced, Some(lost)]
            .into_iter()
            .flatten()
            .collect()
    }
}

const fn is_incomplete(state: KeyState) -> bool {
    matches!(state, KeyState::Creating | KeyState::Deleting)
}

/// What a process left behind that was killed. A running gateway is about to finish it.
async fn incomplete(store: &Store) -> anyhow::Result<Option<Check>> {
    const NAME: &str = "half made";
    if !store.is_only_user().await? {
        return Ok(None);
    }
    let keys = store.keys();
    let count = keys
        .iter()
        .filter(|record| {
            is_incomplete(record.state) || record.versions.iter().any(|version| !version.is_live)
        })
        .count();
    Ok((count > 0).then(|| {
        Check::warning(
            NAME,
            format!("{count} keys were being made or destroyed when the gateway ended"),
            "The next start finishes that by itself.",
        )
    }))
}
