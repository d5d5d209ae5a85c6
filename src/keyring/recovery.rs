//! Imports keys from the token that the store does not know: after the loss of the store, and after
//! the restore of an older copy (decisions D2 and D8).
//!
//! It never destroys anything, and does not import a key that was destroyed on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Keyring, KeyringError};
use crate::model::{
    CiphertextBlob, ImportParameters, ImportedMaterial, KeyId, KeyRecord, KeySpec, KeyState,
    KeyUsage, KeyVersion, KeyVersionId, Origin, ProtectionLevel, SecretName, SecretVersion, Time,
};
use crate::store::{MetadataValue, Store};
use crate::token::{
    Budget, Depth, Inspected, KeyClass, KeyIdentity, ObjectKind, ObjectName, ObjectOwner,
    ServiceKey, Token, Worker,
};

/// The timeout of one call about one key.
const CALL: Duration = Duration::from_secs(30);

/// The objects of the token that the store does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Keys, and new versions of keys.
    pub keys: Vec<FoundKey>,
    /// Keys of the service itself, each with the version to use.
    pub services: Vec<(ServiceKey, KeyVersionId)>,
    /// Keys that were destroyed on purpose, with an object that still exists in the token.
    pub destroyed: Vec<KeyId>,
    /// Objects that are not a complete key, and why. They are ignored.
    pub unusable: Vec<(ObjectName, String)>,
}

/// A key that was found in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// The id.
    pub id: KeyId,
    /// Kind and size, by its attributes.
    pub spec: KeySpec,
    /// The usage.
    pub usage: KeyUsage,
    /// Whether its material was generated in the token.
    pub is_local: bool,
    /// Whether the store knows the key, and only versions of it are missing.
    pub is_known: bool,
    /// The versions that are missing in the store, by ascending number.
    pub versions: Vec<ObjectName>,
}

impl Keyring {
    /// The names of keys in the token that the store does not know and that were not destroyed on
    /// purpose: a fast check of the labels only.
    ///
    /// # Errors
    /// When store or token cannot be read.
    pub async fn orphans(&self) -> Result<Vec<ObjectName>, KeyringError> {
        let store = &self.store;
        let names = self.token.list().await?;
        let known = StoredKeys::read(store).await?;
        let mut orphans = Vec::new();
        for name in names {
            let ObjectOwner::Key(key) = name.owner else { continue };
            if known.has(&name) || store.key_of_version(name.version).is_some() {
                continue;
            }
            if !self.destroy_late_copy(key, name).await? && !store.is_damaged_key(key) {
                orphans.push(name);
            }
        }
        Ok(orphans)
    }

    /// Destroys the keys for tests that a killed process left in the token.
    pub async fn destroy_left_test_keys(&self) {
        self.token.destroy_left_test_keys(&Budget::new(self.timeouts.generate)).await;
    }

    /// Caches the handles of all keys in the token, so that no key has to be searched. Of several tokens, one
    /// that was away may have keys that were destroyed meanwhile: they are destroyed there too.
    ///
    /// # Errors
    /// When the token cannot be searched.
    pub async fn load_all_handles(&self) -> Result<(), KeyringError> {
        let names = self.token.list().await?;
        if self.token.is_group() {
            for name in names {
                if let ObjectOwner::Key(key) = name.owner
                    && self.store.key_of_version(name.version).is_none()
                {
                    self.destroy_late_copy(key, name).await?;
                }
            }
        }
        Ok(())
    }

    /// Destroys the keys of the last hour that were destroyed and that a late copy has brought back to one of
    /// several tokens.
    ///
    /// # Errors
    /// When a token fails; the next call continues.
    pub async fn destroy_late_copies(&self) -> Result<(), KeyringError> {
        Ok(self.token.destroy_late_copies().await?)
    }

    /// Whether the key of an object that the store does not know was destroyed. In several tokens the object
    /// came back by a late copy of the vendor's replication, and is destroyed again.
    async fn destroy_late_copy(&self, key: KeyId, name: ObjectName) -> Result<bool, KeyringError> {
        if self.store.removed_at(key).await?.is_none() {
            return Ok(false);
        }
        if self.token.is_group() && self.store.key(key).is_none() && self.store.accepts_changes() {
            // All objects with the id and the label are found, whatever their class.
            let version = KeyIdentity { name, class: KeyClass::Secret };
            match self.token.destroy(version, &Budget::new(CALL)).await {
                Ok(()) => tracing::warn!(
                    event = "token.late_copy_destroyed",
                    key = %name,
                    "a token showed a key again that was destroyed: a late copy, which was destroyed too"
                ),
                // It is tried again when a token is back.
                Err(error) => tracing::warn!(
                    event = "token.late_copy_kept",
                    key = %name,
                    %error,
                    "a token shows a key again that was destroyed, and it could not be destroyed there"
                ),
            }
        }
        Ok(true)
    }
}

/// Inspects every object of the token, uses each key once, and changes nothing.
///
/// # Errors
/// When store or token cannot be read.
pub async fn find_missing(store: &Store, token: &Token) -> Result<Findings, KeyringError> {
    let inspected = token.inspect(Depth::Use).await?;
    let known = StoredKeys::read(store).await?;
    let mut findings = Findings::default();
    let mut by_key: BTreeMap<KeyId, Vec<Inspected>> = BTreeMap::new();
    for one in inspected.into_iter().filter(|one| !known.has(&one.name)) {
        if known.conflicts_with(&one.name) {
            let why = "the database has another key with its id; that row must be removed first";
            findings.unusable.push((one.name, why.to_owned()));
            continue;
        }
        match one.name.owner {
            ObjectOwner::Key(id) => by_key.entry(id).or_default().push(one),
            ObjectOwner::Service(service) => findings.add_service_key(service, &one, &known),
        }
    }
    for (id, objects) in by_key {
        if store.is_damaged_key(id) {
            let why = "its row in the database is damaged";
            findings.unusable.extend(objects.iter().map(|one| (one.name, why.to_owned())));
        } else if store.removed_at(id).await?.is_some() {
            findings.destroyed.push(id);
        } else {
            findings.add_key(id, objects, store.key(id).as_deref());
        }
    }
    Ok(findings)
}

/// Imports what was found. May be repeated after a kill: imported keys are not found again. The
/// count of every key version in the store becomes at least `invocations`, because the store may
/// lack newer counts.
///
/// # Errors
/// When store or token fail; what was imported until then is kept.
pub async fn import(
    store: &Store,
    token: &Token,
    findings: &Findings,
    invocations: u64,
    now: Time,
) -> Result<(), KeyringError> {
    for (service, version) in &findings.services {
        if let Some(name) = service.metadata_name() {
            store.set_metadata(name, &version.to_string()).await?;
        }
    }
    for found in &findings.keys {
        let material = if found.is_local { None } else { Some(material(token, found).await?) };
        let new = || {
            let origin = if found.is_local { Origin::AliyunKms } else { Origin::External };
            let level = ProtectionLevel::Hsm;
            let record = KeyRecord::new(found.spec, found.usage, origin, level, now);
            KeyRecord { id: found.id, state: KeyState::Enabled, ..record }
        };
        let change = |record: &mut KeyRecord| merge_found(record, found, material, now);
        store.insert_recovered_key(found.id, new, change, invocations).await?;
        tracing::warn!(event = "key.recovered", key_id = %found.id, versions = found.versions.len(),
            "imported a key from the token into the store");
    }
    Ok(())
}

/// The secrets with a data key that no key version in the token decrypts, sorted by name.
///
/// # Errors
/// When the token cannot be searched.
pub async fn lost_secrets(store: &Store, token: &Token) -> Result<Vec<SecretName>, KeyringError> {
    let versions: BTreeSet<_> = token.list().await?.into_iter().map(|name| name.version).collect();
    let is_lost = |version: &SecretVersion| {
        CiphertextBlob::from_bytes(&version.wrapped_key.0)
            .is_ok_and(|wrapped| !versions.contains(&wrapped.version))
    };
    let secrets = store.secrets();
    let lost = secrets.iter().filter(|secret| secret.versions.iter().any(is_lost));
    Ok(lost.map(|secret| secret.name.clone()).collect())
}

fn merge_found(
    record: &mut KeyRecord,
    found: &FoundKey,
    material: Option<ImportedMaterial>,
    now: Time,
) {
    for ObjectName { number, version: id, iv_length, .. } in &found.versions {
        // A version that was incomplete when an older store was written, and is complete now.
        if let Some(incomplete) = record.versions.iter_mut().find(|version| version.id == *id) {
            incomplete.is_live = true;
            continue;
        }
        let is_taken = record.versions.iter().any(|version| version.number == *number);
        let number = if is_taken { record.next_version_number() } else { *number };
        let (id, iv_length) = (*id, *iv_length);
        record.versions.push(KeyVersion {
            id,
            number,
            is_live: true,
            iv_length,
            ..KeyVersion::initial(now)
        });
    }
    if record.spec.is_symmetric_cipher() {
        let newest = record.live_versions().max_by_key(|version| version.number);
        record.primary = newest.map(|version| version.id).or(record.primary);
    }
    if let Some(material) = material {
        record.material = Some(material);
    }
    let had_nothing = [KeyState::Creating, KeyState::PendingImport, KeyState::Unavailable]
        .contains(&record.state);
    if had_nothing {
        record.state = KeyState::Enabled;
    }
}

/// Reads the known properties of imported material: it is present, and its check value.
async fn material(token: &Token, found: &FoundKey) -> Result<ImportedMaterial, KeyringError> {
    let spec = found.spec;
    let check_value = match found.versions.last() {
        Some(name) if !spec.is_asymmetric() => {
            let version = KeyIdentity::of_key(found.id, spec, name.number, name.version);
            let budget = Budget::new(CALL);
            let compute = move |worker: &mut Worker<'_>| worker.check_value(version, spec);
            match token.run_with(version, &budget, compute).await {
                Ok(value) => value.as_bytes().to_vec(),
                Err(error) if error.is_unavailable() => return Err(error.into()),
                // The key is usable. Without a check value, its material cannot be imported again.
                Err(error) => {
                    tracing::warn!(event = "key.no_check_value", key_id = %found.id, %error,
                        "the token makes no check value of an imported key");
                    Vec::new()
                }
            }
        }
        _ => Vec::new(),
    };
    Ok(ImportedMaterial { check_value, expires: None, is_present: true })
}

impl Findings {
    fn add_service_key(&mut self, service: ServiceKey, one: &Inspected, known: &StoredKeys) {
        if let Some(fault) = one.faults.first() {
            self.unusable.push((one.name, fault.clone()));
        } else if service.metadata_name().is_none() || known.services.contains(&service) {
            let why = match service {
                ServiceKey::ImportWrapping => "its import parameters are unknown",
                _ => "another key of this kind is in use",
            };
            self.unusable.push((one.name, why.to_owned()));
        } else {
            // By ascending number and id: the last one is as good as any.
            self.services.retain(|(other, _)| *other != service);
            self.services.push((service, one.name.version));
        }
    }

    fn add_key(&mut self, id: KeyId, objects: Vec<Inspected>, record: Option<&KeyRecord>) {
        if record.is_some_and(|record| record.state == KeyState::Deleting) {
            self.destroyed.push(id);
            return;
        }
        let mut found: Option<FoundKey> = None;
        for one in objects {
            let fault = one.faults.first().cloned();
            let kind = match (one.kind, fault) {
                (Some(ObjectKind::Key { spec, usage, .. }), None) => Ok((spec, usage)),
                (_, Some(fault)) => Err(fault),
                (_, None) => Err("it is not a key of the API".to_owned()),
            };
            let kind = kind.and_then(|(spec, usage)| {
                // The store has the exact size if the token does not report it.
                let wanted = record.map(|record| (record.spec, record.usage));
                let wanted = wanted.or(found.as_ref().map(|found| (found.spec, found.usage)));
                match wanted {
                    Some(wanted) if wanted != (spec, usage) && one.is_local => {
                        Err("its kind differs from that of the other versions of the key"
                            .to_owned())
                    }
                    Some(wanted) => Ok(wanted),
                    None => Ok((spec, usage)),
                }
            });
            match kind {
                Err(why) => self.unusable.push((one.name, why)),
                Ok((spec, usage)) => {
                    let found = found.get_or_insert_with(|| FoundKey {
                        id,
                        spec,
                        usage,
                        is_local: one.is_local,
                        is_known: record.is_some(),
                        versions: Vec::new(),
                    });
                    found.versions.push(one.name);
                }
            }
        }
        self.keys.extend(found);
    }
}

/// The token objects that the store knows.
#[derive(Debug)]
pub struct StoredKeys {
    /// The owner of each id in the store: one, unless the database was changed from outside.
    versions: BTreeMap<KeyVersionId, BTreeSet<ObjectOwner>>,
    services: BTreeSet<ServiceKey>,
}

impl StoredKeys {
    /// Reads them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(store: &Store) -> Result<Self, KeyringError> {
        let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let mut give = |version, owner| {
            versions.entry(version).or_default().insert(owner);
        };
        for record in store.keys() {
            let live = record.live_versions();
            live.for_each(|version| give(version.id, ObjectOwner::Key(record.id)));
        }
        for parameters in store.documents::<ImportParameters>() {
            give(parameters.wrapping, ObjectOwner::Service(ServiceKey::ImportWrapping));
        }
        let mut services = BTreeSet::new();
        for service in [ServiceKey::AccessKeyEncryption, ServiceKey::AuditCheckpoint] {
            let Some(name) = service.metadata_name() else { continue };
            // An unreadable value names no key: a key in the token replaces it.
            if let MetadataValue::Read(version) =
                store.read_metadata(name, |text| text.parse().ok()).await?
            {
                services.insert(service);
                give(version, ObjectOwner::Service(service));
            }
        }
        Ok(Self { versions, services })
    }

    /// Whether the store knows an object.
    pub fn has(&self, name: &ObjectName) -> bool {
        self.versions.get(&name.version).is_some_and(|owners| owners.contains(&name.owner))
    }

    /// Whether the store gives the object's id to another owner than its label.
    pub fn conflicts_with(&self, name: &ObjectName) -> bool {
        let owners = self.versions.get(&name.version);
        owners.is_some_and(|owners| owners.iter().any(|owner| *owner != name.owner))
    }
}
