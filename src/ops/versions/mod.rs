//! Key versions: make, describe, list.

pub mod create_key_version;
pub mod describe_key_version;
pub mod list_key_versions;

use serde::Serialize;

use crate::model::{KeyId, KeyRecord, KeyVersionId, Time};

/// What the API tells of a key version.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the fields are named as the API names them")]
#[serde(rename_all = "PascalCase")]
pub struct KeyVersion {
    key_id: KeyId,
    key_version_id: KeyVersionId,
    creation_date: Time,
}

impl KeyVersion {
    fn of(version: &crate::model::KeyVersion, key: &KeyRecord) -> Self {
        Self { key_id: key.id, key_version_id: version.id, creation_date: version.created }
    }
}

/// The answer of an operation that tells of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneVersion {
    key_version: KeyVersion,
}
