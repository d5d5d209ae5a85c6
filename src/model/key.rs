//! Keys and their versions as the service knows them.

use super::spec::words;
use super::{KeyId, KeySpec, KeyUsage, KeyVersionId, Time};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

use super::id::InvalidId;

words! {
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

words! {
    /// Where a key's material comes from (CreateKey, parameter Origin).
    Origin, "origin" {
        /// Generated in the token.
        AliyunKms = "Aliyun_KMS",
        /// Imported, wrapped (BYOK).
        External = "EXTERNAL",
    }
}

words! {
    /// How a key is protected (CreateKey, parameter ProtectionLevel). It is kept and shown as
    /// asked for; every key lives in the token.
    ProtectionLevel, "protection level" {
        /// The level that most clients ask for.
        Software = "SOFTWARE",
        /// The hardware level.
        Hsm = "HSM",
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
    /// Its state.
    pub state: KeyState,
    /// The owner's text, at most 8,192 characters.
    pub description: String,
    /// When it was made.
    pub created: Time,
    /// When it will be destroyed, in state `PendingDeletion`.
    pub delete_at: Option<Time>,
    /// The version that encrypts, once there is one.
    pub primary: Option<KeyVersionId>,
    /// Its versions by rising number.
    pub versions: Vec<KeyVersion>,
}

impl KeyRecord {
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
}
