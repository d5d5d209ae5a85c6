//! Keys and their versions as the service knows them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::id::InvalidId;
use super::spec::api_enum;
use super::{
    ImportedMaterial, InstanceId, KeyId, KeySpec, KeyUsage, KeyVersionId, Rotation, TagKey,
    TagValue, Time,
};

api_enum! {
    /// The state of a key.
    KeyState, "key state" {
        /// The row exists, the token object is not proven yet. Never shown to a caller.
        Creating = "Creating",
        /// Ready for use.
        Enabled = "Enabled",
        /// Switched off by its owner.
        Disabled = "Disabled",
        /// Will be destroyed at its deletion date.
        PendingDeletion = "PendingDeletion",
        /// Of origin EXTERNAL and without material.
        PendingImport = "PendingImport",
        /// The token no longer has what the store says it has.
        Unavailable = "Unavailable",
        /// Its deletion date has passed and its token objects are being destroyed. Never shown.
        Deleting = "Deleting",
    }
}

api_enum! {
    /// Where a key's material comes from (CreateKey, parameter Origin).
    Origin, "origin" {
        /// Generated in the token.
        AliyunKms = "Aliyun_KMS",
        /// Imported, wrapped (BYOK).
        External = "EXTERNAL",
    }
}

api_enum! {
    /// How a key is protected (CreateKey, parameter ProtectionLevel). It is kept and shown as
    /// asked for; every key lives in the token.
    ProtectionLevel, "protection level" {
        /// The level that most clients ask for.
        Software = "SOFTWARE",
        /// The hardware level.
        Hsm = "HSM",
    }
}

api_enum! {
    /// Where a key's material is kept (CreateKey, parameter KeyStorageMechanism).
    KeyStorage, "key storage mechanism" {
        /// In the token.
        HsmInternal = "HsmInternal",
        /// Outside of it, encrypted by it. No key of ours is kept so.
        HsmEncryptedDatabase = "HsmEncryptedDatabase",
    }
}

impl KeyState {
    /// Whether callers may know that a key in this state exists.
    pub const fn is_visible(self) -> bool {
        !matches!(self, Self::Creating | Self::Deleting)
    }
}

/// One version of a key: one object (or pair) in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its id; the token object's `CKA_ID` is the raw UUID.
    pub id: KeyVersionId,
    /// 1 for the initial version, then rising by one.
    pub number: u32,
    /// When it was made.
    pub created: Time,
    /// Whether its token object has been proven; only then can anyone see or use it.
    pub is_live: bool,
}

impl KeyVersion {
    /// The first version of a key, not live yet.
    pub fn initial(created: Time) -> Self {
        Self { id: KeyVersionId::random(), number: 1, created, is_live: false }
    }
}

/// The most bytes that the text of a key policy has (CreateKey and SetKeyPolicy, parameter Policy).
pub const MAX_KEY_POLICY_BYTES: usize = 32_768;

/// Everything that the store knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Kind and size.
    pub spec: KeySpec,
    /// What it is for.
    pub usage: KeyUsage,
    /// Where its material comes from.
    pub origin: Origin,
    /// The protection level that was asked for.
    pub protection: ProtectionLevel,
    /// The instance that it was made in, if its owner named one.
    pub instance: Option<InstanceId>,
    /// Its state.
    pub state: KeyState,
    /// The owner's text, at most 8,192 characters.
    pub description: String,
    /// When it was made.
    pub created: Time,
    /// When it will be destroyed, in state `PendingDeletion`.
    pub delete_at: Option<Time>,
    /// The owner's tags, at most [`MAX_TAGS`](super::MAX_TAGS).
    pub tags: BTreeMap<TagKey, TagValue>,
    /// Why the key must not be deleted, when its deletion protection is on.
    pub deletion_protection: Option<String>,
    /// How it rotates, if it does so by itself.
    pub rotation: Option<Rotation>,
    /// Its key policy as its owner wrote it, at most [`MAX_KEY_POLICY_BYTES`], if it has one of
    /// its own.
    pub policy: Option<String>,
    /// What is remembered of its material, once some was imported.
    pub material: Option<ImportedMaterial>,
    /// The version that encrypts, once there is one.
    pub primary: Option<KeyVersionId>,
    /// Its versions by rising number.
    pub versions: Vec<KeyVersion>,
}

impl KeyRecord {
    /// A key with a new id in state `Creating`, with nothing but what must be decided: no text, no
    /// tags, no version.
    pub fn new(
        spec: KeySpec,
        usage: KeyUsage,
        origin: Origin,
        protection: ProtectionLevel,
        created: Time,
    ) -> Self {
        Self {
            id: KeyId::random(),
            spec,
            usage,
            origin,
            protection,
            instance: None,
            state: KeyState::Creating,
            description: String::new(),
            created,
            delete_at: None,
            tags: BTreeMap::new(),
            deletion_protection: None,
            rotation: None,
            policy: None,
            material: None,
            primary: None,
            versions: Vec::new(),
        }
    }

    /// The version with this id, if it is one of this key's and live.
    pub fn version(&self, id: KeyVersionId) -> Option<&KeyVersion> {
        self.live_versions().find(|version| version.id == id)
    }

    /// The live versions by rising number.
    pub fn live_versions(&self) -> impl DoubleEndedIterator<Item = &KeyVersion> {
        self.versions.iter().filter(|version| version.is_live)
    }

    /// The version that encrypts.
    pub fn primary_version(&self) -> Option<&KeyVersion> {
        self.primary.and_then(|id| self.version(id))
    }

    /// When it last got new material: when the version that is used for new things was made, or
    /// the key itself while it has none.
    pub fn last_rotation(&self) -> Time {
        self.primary_version()
            .or_else(|| self.live_versions().next_back())
            .map_or(self.created, |version| version.created)
    }

    /// When it is to get its next version, if it gets them by itself.
    pub fn next_rotation(&self) -> Option<Time> {
        self.rotation.map(|rotation| rotation.interval.next_after(self.last_rotation()))
    }

    /// Whether it can get new versions by itself (UpdateRotationPolicy): a symmetric key whose
    /// material is made here.
    pub fn can_rotate(&self) -> bool {
        self.spec.is_symmetric_cipher() && self.origin == Origin::AliyunKms
    }

    /// Whether its material is in the token, which an imported one may not be.
    pub fn has_material(&self) -> bool {
        let is_imported = || self.material.as_ref().is_some_and(|material| material.is_present);
        self.origin == Origin::AliyunKms || is_imported()
    }

    /// The number of the next version.
    pub fn next_version_number(&self) -> u32 {
        self.versions.iter().map(|version| version.number).max().unwrap_or_default() + 1
    }

    /// Makes a version live, and the primary one if the key is a symmetric cipher's. False if the
    /// key has no such version.
    #[must_use]
    pub fn activate(&mut self, id: KeyVersionId) -> bool {
        let version = self.versions.iter_mut().find(|version| version.id == id);
        let Some(version) = version else { return false };
        version.is_live = true;
        if self.spec.is_symmetric_cipher() {
            self.primary = Some(id);
        }
        true
    }
}
