//! The secret that a record is about.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{SecretName, SecretVersionId, VersionStage};

/// The secret that an operation is about, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedSecret {
    /// The name.
    pub name: SecretName,
    /// The version that was read or written, with its labels.
    pub version: Option<UsedVersion>,
}

/// A version of a secret, with its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsedVersion {
    /// The version.
    #[serde(rename = "VersionId")]
    pub id: SecretVersionId,
    /// Its labels.
    #[serde(rename = "VersionStages")]
    pub stages: BTreeSet<VersionStage>,
}
