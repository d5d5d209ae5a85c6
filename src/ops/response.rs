//! Responses that several operations share.

use std::collections::BTreeMap;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::operation::{Row, response};
use crate::model::{
    KeyId, KeyRecord, KeySpec, KeyState, KeyUsage, Origin, Page, PageOf, ProtectionLevel,
    RegionAccount, RotationInterval, Time,
};

/// The rows of a list, which the API wraps twice: `{"Keys": {"Key": [...]}}`.
#[derive(Debug)]
pub struct Rows<R>(pub(super) Vec<R>);

impl<R: Row> Serialize for Rows<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_struct(R::LIST, 1)?;
        list.serialize_field(R::LIST, &BTreeMap::from([(R::ROW, &self.0)]))?;
        list.end()
    }
}

response! {
    /// A page of a list: its rows, the page, and the number of rows on all pages.
    #[serde(bound = "R: Row")]
    pub struct Paged<R> {
        #[serde(flatten)]
        rows: Rows<R>,
        page_number: u32,
        page_size: u32,
        total_count: usize,
    }
}

impl<R: Row> Paged<R> {
    /// Selects the rows of a page, and converts each with `row`.
    pub(super) fn of<T>(
        page: Page,
        all: impl IntoIterator<Item = T>,
        row: impl FnMut(T) -> R,
    ) -> Self {
        Self::of_selected(page, page.slice(all), row)
    }

    /// Converts each row of a page that was selected with `row`.
    pub(super) fn of_selected<T>(page: Page, selected: PageOf<T>, row: impl FnMut(T) -> R) -> Self {
        Self {
            rows: Rows(selected.rows.into_iter().map(row).collect()),
            page_number: page.number,
            page_size: page.size,
            total_count: selected.total,
        }
    }
}

response! {
    /// The metadata of a key (CreateKey, DescribeKey).
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
        /// Empty if the key was created without an instance.
        #[serde(rename = "DKMSInstanceId")]
        dkms_instance_id: String,
        /// Symmetric keys only; empty while there is no version.
        #[serde(skip_serializing_if = "Option::is_none")]
        primary_key_version: Option<String>,
        last_rotation_date: Time,
        automatic_rotation: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        rotation_interval: Option<RotationInterval>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_rotation_date: Option<Time>,
        /// Empty unless the deletion is scheduled.
        delete_date: String,
        /// Empty if it does not expire.
        material_expire_time: String,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        protection: Option<DeletionProtection>,
    }

    struct DeletionProtection {
        deletion_protection: &'static str,
        deletion_protection_description: String,
    }
}

impl KeyMetadata {
    /// The metadata of `record`, a key of `region_account`, in the response to its creation.
    pub fn of(record: &KeyRecord, region_account: &RegionAccount) -> Self {
        let material = record.material.as_ref().filter(|material| material.is_present);
        Self {
            key_id: record.id,
            arn: region_account.arn(format_args!("key/{}", record.id)),
            creator: region_account.account.to_string(),
            creation_date: record.created,
            description: record.description.clone(),
            key_spec: record.spec,
            key_usage: record.usage,
            key_state: record.state,
            origin: record.origin,
            protection_level: record.protection,
            dkms_instance_id: or_empty(record.instance.as_ref()),
            primary_key_version: record
                .spec
                .is_symmetric_cipher()
                .then(|| or_empty(record.primary)),
            last_rotation_date: record.last_rotation(),
            automatic_rotation: automatic_rotation(record),
            rotation_interval: record.rotation.map(|rotation| rotation.interval),
            next_rotation_date: record.next_rotation(),
            delete_date: or_empty(record.delete_at),
            material_expire_time: or_empty(material.and_then(|material| material.expires)),
            protection: None,
        }
    }

    /// The complete metadata of a key.
    pub fn in_full(record: &KeyRecord, region_account: &RegionAccount) -> Self {
        let description = record.deletion_protection.clone();
        let protection = DeletionProtection {
            deletion_protection: if description.is_some() { "Enabled" } else { "Disabled" },
            deletion_protection_description: description.unwrap_or_default(),
        };
        Self { protection: Some(protection), ..Self::of(record, region_account) }
    }
}

fn automatic_rotation(record: &KeyRecord) -> &'static str {
    match (record.rotation, record.state) {
        (None, _) => "Disabled",
        (Some(_), KeyState::Enabled) => "Enabled",
        (Some(_), _) => "Suspended",
    }
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
