//! Compares token objects with rows: every object must have the right attributes, and every object and
//! every row must have its counterpart.

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

/// The delay before a second check, in which a running gateway completes its changes.
const RECHECK_DELAY: Duration = Duration::from_secs(2);

const OBJECTS: &str = "key objects";
const ORPHANS: &str = "objects without a row";
const LOST: &str = "rows without an object";

const RECOVER: &str = "Stop the gateway, then: hsmgate recover.";

/// All checks that need store and token.
pub(super) async fn compare(store: &Store, token: &Token, is_deep: bool) -> Vec<Check> {
    let mut checks = match objects(store, token, is_deep).await {
        Ok(mut objects) => {
            objects.extend(service_keys(store, token).await);
            objects
        }
        Err(error) => {
            let unread = Check::failed(OBJECTS, chain(&error), "See the log of the HSM.");
            let why = "requires the list of the token's objects";
            return vec![unread, Check::not_checked(ORPHANS, why), Check::not_checked(LOST, why)];
        }
    };
    match lasting_differences(store, token).await {
        Ok(differences) => checks.extend(differences),
        Err(error) => checks.push(unread(&error)),
    }
    checks
}

fn unread(error: &anyhow::Error) -> Check {
    let remedy = "Check whether token and database can be read.";
    Check::failed(ORPHANS, format!("{error:#}"), remedy)
}

/// The differences that remain: a running gateway may have changed objects and rows during the first
/// comparison.
async fn lasting_differences(store: &Store, token: &Token) -> anyhow::Result<Vec<Check>> {
    let mut found = differences(store, token).await?;
    let incomplete = incomplete(store).await?;
    let mut checks = Vec::new();
    if !found.is_empty() {
        tokio::time::sleep(RECHECK_DELAY).await;
        match differences(store, token).await {
            Ok(again) => found.keep(&again),
            Err(error) => checks.push(unread(&error)),
        }
    }
    checks.extend(found.checks());
    checks.extend(incomplete);
    checks.extend(unreadable(token));
    Ok(checks)
}

/// Objects of other programs that were passed over.
fn unreadable(token: &Token) -> Option<Check> {
    let objects = token.unreadable_objects();
    (objects > 0).then(|| {
        Check::warning(
            "unreadable objects",
            format!("{objects} objects of the token have attributes that cannot be read"),
            "They do no harm if they belong to other programs. Compare them with the tools of the \
             HSM.",
        )
    })
}

/// The keys of the gateway itself. It does not start without them.
async fn service_keys(store: &Store, token: &Token) -> Vec<Check> {
    const AUDIT: &str = "audit key";
    const ENCRYPTION_KEY: &str = "AccessKey encryption key";
    let audit = match audit::check_key(store, token).await {
        Ok(()) => Check::ok(AUDIT, "whole, or not made yet"),
        Err(error @ AuditError::KeyMissing(_)) => Check::failed(
            AUDIT,
            chain(&error),
            "Restore the token to a state that has the key. If it is lost, stop the gateway and run \
             hsmgate audit replace-key. The audit continues, and is verified with both public keys.",
        ),
        Err(error) => Check::failed(AUDIT, chain(&error), "See the log of the HSM."),
    };
    let encryption_key = match CredentialStore::has_lost_encryption_key(store, token).await {
        Ok(false) => Check::ok(ENCRYPTION_KEY, "whole, or not made yet"),
        Ok(true) => Check::failed(
            ENCRYPTION_KEY,
            "the token has lost the key that decrypts the AccessKey secrets",
            "Restore the token to a state that has the key. If it is lost, no AccessKey secret can be \
             decrypted: stop the gateway, run hsmgate access-key replace-encryption-key, start the gateway, \
             and run hsmgate access-key create for each user. Keys and client keys stay unchanged.",
        ),
        Err(error) => Check::failed(ENCRYPTION_KEY, chain(&error), "See the log of the HSM."),
    };
    vec![audit, encryption_key]
}

/// Compares every object of the gateway with the attributes that it was created with (decision D1).
async fn objects(store: &Store, token: &Token, is_deep: bool) -> Result<Vec<Check>, TokenError> {
    let depth = if is_deep { Depth::Use } else { Depth::Attributes };
    let inspected = inspect(token, depth).await?;
    let total = inspected.len();
    // Missing objects of the gateway's own keys have a separate check.
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
        None => Check::ok(OBJECTS, format!("{total}, all with the right attributes")),
        Some(found) => Check::failed(
            OBJECTS,
            found,
            "Find out who changed it. A key with weaker attributes may have been extracted: rotate it \
             and encrypt the data again.",
        ),
    };
    let weak = inspected.iter().filter(|one| one.faults.is_empty() && !one.remarks.is_empty());
    let weak = weak.collect::<Vec<_>>();
    let weak = weak.first().map(|first| {
        let found = format!("{}: {}; {} in all", first.name, first.remarks.join(", "), weak.len());
        Check::warning(
            "optional attributes",
            found,
            "They do no harm: the keys are sensitive and not extractable. Some tokens do not keep \
             these attributes.",
        )
    });
    let halves = summary(&left).map(|found| {
        Check::warning(
            "incomplete objects",
            found,
            "They do no harm. They are removed at the next start, or when their import token \
             expires.",
        )
    });
    Ok([Some(whole), weak, halves].into_iter().flatten().collect())
}

/// Whether an object belongs to a key that was being generated or destroyed, so that the gateway removes
/// it.
fn is_incomplete_object(store: &Store, one: &Inspected) -> bool {
    let is_passing = match one.name.owner {
        ObjectOwner::Service(service) => service == ServiceKey::ImportWrapping,
        ObjectOwner::Key(_) => store.key_of_version(one.name.version).is_some_and(|record| {
            is_incomplete(record.state) || record.version(one.name.version).is_none()
        }),
    };
    one.kind.is_none() && is_passing
}

/// Inspects every object. An object with faults is inspected again, because a running gateway may have
/// been generating or destroying its key.
pub(in crate::cli) async fn inspect(
    token: &Token,
    depth: Depth,
) -> Result<Vec<Inspected>, TokenError> {
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

/// Why an object has no matching row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// No row names it.
    Orphan,
    /// Its key was destroyed.
    Destroyed,
    /// A key pair for an import of material whose import token is lost.
    UnusedImport,
    /// The database gives its id to another owner than its label does.
    Misplaced,
}

/// Objects without a matching row, and rows without an object.
#[derive(Default)]
struct Differences {
    objects: BTreeSet<(Difference, ObjectName)>,
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
            differences.objects.insert((Difference::Misplaced, *name));
        }
        if known.has(name) || store.key_of_version(name.version).is_some() {
            continue;
        }
        let difference = match name.owner {
            // The damaged row is reported.
            ObjectOwner::Key(key) if store.is_damaged_key(key) => continue,
            ObjectOwner::Key(key) if store.removed_at(key).await?.is_some() => {
                Difference::Destroyed
            }
            ObjectOwner::Service(ServiceKey::ImportWrapping) => Difference::UnusedImport,
            _ => Difference::Orphan,
        };
        differences.objects.insert((difference, *name));
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
        self.objects.is_empty() && self.lost.is_empty()
    }

    fn keep(&mut self, other: &Self) {
        self.objects.retain(|object| other.objects.contains(object));
        self.lost.retain(|version, _| other.lost.contains_key(version));
    }

    fn checks(&self) -> Vec<Check> {
        let kinds = [
            Difference::Orphan,
            Difference::Destroyed,
            Difference::UnusedImport,
            Difference::Misplaced,
        ];
        let mut checks: Vec<_> = kinds.into_iter().filter_map(|kind| self.check(kind)).collect();
        checks.push(match self.lost.first_key_value() {
            None => Check::ok(LOST, "none"),
            Some((version, key)) => Check::failed(
                LOST,
                format!("version {version} of key {key}; {} in all", self.lost.len()),
                "Restore the token to a state that has these keys. Otherwise their ciphertexts cannot \
                 be decrypted.",
            ),
        });
        checks
    }

    fn check(&self, kind: Difference) -> Option<Check> {
        let mut names = self.objects.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name);
        let Some(first) = names.next() else {
            return (kind == Difference::Orphan).then(|| Check::ok(ORPHANS, "none"));
        };
        let count = names.count() + 1;
        let found = format!("{first}; {count} in all");
        Some(match kind {
            Difference::Orphan => Check::failed(ORPHANS, found, RECOVER),
            Difference::Destroyed => Check::failed(
                "destroyed keys",
                format!("the token still has {found}"),
                "Destroy these objects with the tools of the HSM: the API has reported them as \
                 deleted.",
            ),
            Difference::UnusedImport => Check::warning(
                "import-wrapping pairs",
                format!("{count} pairs are no longer used: {found}"),
                "They do no harm. They may be destroyed with the tools of the HSM.",
            ),
            Difference::Misplaced => Check::failed(
                "rows over another key",
                format!("the database assigns this object to another key: {found}"),
                "The database was changed by another program. The gateway uses none of these \
                 objects. Find out who changed it, and restore a backup.",
            ),
        })
    }
}

const fn is_incomplete(state: KeyState) -> bool {
    matches!(state, KeyState::Creating | KeyState::Deleting)
}

/// Keys that a killed process left incomplete. A running gateway is still working on its own.
async fn incomplete(store: &Store) -> anyhow::Result<Option<Check>> {
    if !store.is_only_user().await? {
        return Ok(None);
    }
    let mut keys = store.keys();
    keys.retain(|record| {
        is_incomplete(record.state) || record.versions.iter().any(|version| !version.is_live)
    });
    let found =
        format!("{} keys were being generated or destroyed when the gateway ended", keys.len());
    let remedy = "The next start completes this.";
    Ok((!keys.is_empty()).then(|| Check::warning("incomplete keys", found, remedy)))
}
