//! Answers that several operations share.

use serde::Serialize;

use crate::model::{
    KeyId, KeyRecord, KeySpec, KeyState, KeyUsage, KeyVersionId, Origin, Place, ProtectionLevel,
    Time,
};

/// The answer of an operation that has nothing to tell but its request id.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Done {}

/// What the API tells of a key (CreateKey, DescribeKey).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyMetadata {
    key_id: KeyId,
    arn: String,
    creator: String,
    creation_date: Time,
    description: String,
    key_spec: KeySpec,
    key_usage: KeyUsage,
    key_state: KeyState,
    origin: Origin,
    protection_level: ProtectionLevel,
    #[serde(rename = "DKMSInstanceId")]
    dkms_instance_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_key_version: Option<KeyVersionId>,
    last_rotation_date: Time,
    automatic_rotation: &'static str,
    /// Empty unless the deletion is pending.
    delete_date: String,
    material_expire_time: &'static str,
}

impl KeyMetadata {
    /// What is told of `record`, a key of `place`.
    pub fn of(record: &KeyRecord, place: &Place) -> Self {
        let last_rotation = record
            .primary_version()
            .or_else(|| record.live_versions().next_back())
            .map_or(record.created, |version| version.created);
        Self {
            key_id: record.id,
            arn: place.arn(format_args!("key/{}", record.id)),
            creator: place.account.to_string(),
            creation_date: record.created,
            description: record.description.clone(),
            key_spec: record.spec,
            key_usage: record.usage,
            key_state: record.state,
            origin: record.origin,
            protection_level: record.protection,
            dkms_instance_id: "",
            primary_key_version: record.primary,
            last_rotation_date: last_rotation,
            automatic_rotation: "Disabled",
            delete_date: record.delete_at.map(|date| date.to_string()).unwrap_or_default(),
            material_expire_time: "",
        }
    }
}
