//! The parts of responses that several operations on secrets share.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{
    SecretData, SecretDataType, SecretName, SecretRecord, SecretVersion, SecretVersionId, TagKey,
    TagValue, Time, VersionStage,
};
use crate::ops::Rows;
use crate::ops::operation::{Row, response};

/// The type of every secret of this gateway.
pub(in crate::ops) const GENERIC: &str = "Generic";

response! {
    /// The value of one version of a secret.
    pub struct SecretValue {
        secret_name: SecretName,
        secret_type: &'static str,
        version_id: SecretVersionId,
        secret_data: SecretData,
        secret_data_type: SecretDataType,
        #[serde(flatten)]
        version_stages: Rows<VersionStage>,
        /// When the secret was created.
        create_time: Time,
    }

    /// A tag of a secret.
    pub struct SecretTag in Tags.Tag {
        tag_key: TagKey,
        tag_value: TagValue,
    }

    /// The response that names the secret.
    pub struct NamedSecret {
        secret_name: SecretName,
    }
}

impl Row for VersionStage {
    const LIST: &'static str = "VersionStages";
    const ROW: &'static str = "VersionStage";
}

impl SecretValue {
    pub(super) fn of(record: &SecretRecord, version: &SecretVersion, data: SecretData) -> Self {
        Self {
            secret_name: record.name.clone(),
            secret_type: GENERIC,
            version_id: version.id.clone(),
            secret_data: data,
            secret_data_type: version.data_type,
            version_stages: stages(&version.stages),
            create_time: record.created,
        }
    }
}

impl NamedSecret {
    pub(super) fn of(record: &SecretRecord) -> Self {
        Self { secret_name: record.name.clone() }
    }
}

/// The labels of a version as a list.
pub(super) fn stages(stages: &BTreeSet<VersionStage>) -> Rows<VersionStage> {
    Rows(stages.iter().cloned().collect())
}

/// The tags of a secret as a list, if they are requested.
pub(super) fn tags(record: &SecretRecord, are_requested: bool) -> Option<Rows<SecretTag>> {
    let tag = |(key, value): (&TagKey, &TagValue)| SecretTag {
        tag_key: key.clone(),
        tag_value: value.clone(),
    };
    are_requested.then(|| Rows(record.tags.iter().map(tag).collect()))
}

/// Whether a value can be left out of a response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GivenOnly {
    /// Only if the creator of the secret named it: clients that keep a state would otherwise see a
    /// change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption_key_id: Option<crate::model::KeyId>,
    #[serde(rename = "DKMSInstanceId", skip_serializing_if = "Option::is_none")]
    pub(super) dkms_instance_id: Option<String>,
}

impl GivenOnly {
    pub(super) fn of(record: &SecretRecord) -> Self {
        Self {
            encryption_key_id: record.names_key.then_some(record.key),
            dkms_instance_id: record.instance.as_ref().map(ToString::to_string),
        }
    }
}
