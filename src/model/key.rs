//! Keys and their versions.

use std::collections::BTreeMap;

use super::text_form::api_enum;
use super::{
    ImportedMaterial, InstanceId, IvLength, KeyId, KeySpec, KeyUsage, KeyVersionId, LastUse,
    Rotation, TagKey, TagValue, Time,
};

api_enum! {
    /// The state of a key.
    KeyState, "key state" {
        /// The row exists, but the token object is not verified yet. Never shown to a caller.
        Creating = "Creating",
        /// Ready for use.
        Enabled = "Enabled",
        /// Disabled by its owner.
        Disabled = "Disabled",
        /// Will be destroyed at its deletion date.
        PendingDeletion = "PendingDeletion",
        /// Origin EXTERNAL, without material.
        PendingImport = "PendingImport",
        /// The token no longer has the object that the store describes.
        Unavailable = "Unavailable",
        /// The deletion date has passed and the token objects are being destroyed. Never shown.
        Deleting = "Deleting",
    }
}

api_enum! {
    /// The origin of the key material (CreateKey, parameter Origin).
    Origin, "origin" {
        /// Generated on the token.
        AliyunKms = "Aliyun_KMS",
        /// Imported in wrapped form (BYOK).
        External = "EXTERNAL",
    }
}

api_enum! {
    /// The protection level (CreateKey, parameter ProtectionLevel). Stored and shown as requested;
    /// every key is on the token.
    ProtectionLevel, "protection level" {
        /// The level that most clients request.
        Software = "SOFTWARE",
        /// The hardware level.
        Hsm = "HSM",
    }
}

api_enum! {
    /// Where the key material is stored (CreateKey, parameter KeyStorageMechanism).
    KeyStorage, "key storage mechanism" {
        /// On the token.
        HsmInternal = "HsmInternal",
        /// Outside the token, encrypted by it. Not used by this gateway.
        HsmEncryptedDatabase = "HsmEncryptedDatabase",
    }
}

impl KeyState {
    /// Whether a key in this state is visible to callers.
    pub const fn is_visible(self) -> bool {
        !matches!(self, Self::Creating | Self::Deleting)
    }
}

/// A version of a key: one object (or pair) on the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The version id. The `CKA_ID` of the token object is the raw UUID.
    pub id: KeyVersionId,
    /// 1 for the initial version, then incremented by one.
    pub number: u32,
    /// Creation time.
    pub created: Time,
    /// Whether its token object was verified. Only then is it visible and usable.
    pub is_live: bool,
    /// The length of the IVs of its ciphertexts, if it encrypts with AES-GCM.
    pub iv_length: IvLength,
    /// When a caller last used it.
    pub last_use: LastUse,
}

impl KeyVersion {
    /// The first version of a key, not live yet.
    pub fn initial(created: Time) -> Self {
        let (id, iv_length) = (KeyVersionId::random(), IvLength::default());
        Self { id, number: 1, created, is_live: false, iv_length, last_use: LastUse::default() }
    }
}

/// Maximum length of a key policy in bytes (CreateKey and SetKeyPolicy, parameter Policy).
pub const MAX_KEY_POLICY_BYTES: usize = 32_768;

/// The stored record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id.
    pub id: KeyId,
    /// The kind and size.
    pub spec: KeySpec,
    /// The usage.
    pub usage: KeyUsage,
    /// The origin of the material.
    pub origin: Origin,
    /// The requested protection level.
    pub protection: ProtectionLevel,
    /// The instance named at creation, if any.
    pub instance: Option<InstanceId>,
    /// The state.
    pub state: KeyState,
    /// The description, set by the user. At most 8,192 characters.
    pub description: String,
    /// Creation time.
    pub created: Time,
    /// When it will be destroyed, in state `PendingDeletion`.
    pub delete_at: Option<Time>,
    /// The tags, set by the user. At most [`MAX_TAGS`](super::MAX_TAGS).
    pub tags: BTreeMap<TagKey, TagValue>,
    /// The description of the deletion protection, if it is on.
    pub deletion_protection: Option<String>,
    /// The automatic rotation, if enabled.
    pub rotation: Option<Rotation>,
    /// The key policy as written by the user, at most [`MAX_KEY_POLICY_BYTES`]. `None` if the
    /// default policy applies.
    pub policy: Option<String>,
    /// The metadata of imported material, once some was imported.
    pub material: Option<ImportedMaterial>,
    /// The version that encrypts, if any.
    pub primary: Option<KeyVersionId>,
    /// The versions, sorted by number.
    pub versions: Vec<KeyVersion>,
    /// Whether it is a key of the gateway itself, which callers do not see: it encrypts the data keys
    /// of secrets whose creator named no key.
    pub is_internal: bool,
}

impl KeyRecord {
    /// A key with a new id in state `Creating`, without description, tags and versions.
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
            is_internal: false,
        }
    }

    /// Whether callers see it.
    pub fn is_visible(&self) -> bool {
        self.state.is_visible() && !self.is_internal
    }

    /// The live version of this key with this id.
    pub fn version(&self, id: KeyVersionId) -> Option<&KeyVersion> {
        self.live_versions().find(|version| version.id == id)
    }

    /// The live versions, sorted by number.
    pub fn live_versions(&self) -> impl DoubleEndedIterator<Item = &KeyVersion> {
        self.versions.iter().filter(|version| version.is_live)
    }

    /// The version that encrypts.
    pub fn primary_version(&self) -> Option<&KeyVersion> {
        self.primary.and_then(|id| self.version(id))
    }

    /// The time of the last rotation: creation time of the version for new operations, or of the
    /// key if it has none.
    pub fn last_rotation(&self) -> Time {
        self.primary_version()
            .or_else(|| self.live_versions().next_back())
            .map_or(self.created, |version| version.created)
    }

    /// The time of the next automatic rotation, if enabled.
    pub fn next_rotation(&self) -> Option<Time> {
        self.rotation.map(|rotation| rotation.interval.next_after(self.last_rotation()))
    }

    /// Whether it supports automatic rotation (UpdateRotationPolicy): a symmetric key whose
    /// material is generated on the token.
    pub fn can_rotate(&self) -> bool {
        self.spec.is_symmetric_cipher() && self.origin == Origin::AliyunKms
    }

    /// Whether its material is on the token. Imported material may be missing.
    pub fn has_material(&self) -> bool {
        let is_imported = || self.material.as_ref().is_some_and(|material| material.is_present);
        self.origin == Origin::AliyunKms || is_imported()
    }

    /// The number of the next version.
    pub fn next_version_number(&self) -> u32 {
        self.versions.iter().map(|version| version.number).max().unwrap_or_default() + 1
    }

    /// Makes a version live, and the primary version if the key is a symmetric cipher's. Returns
    /// false if the key has no such version.
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
