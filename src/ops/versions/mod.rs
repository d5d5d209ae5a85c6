//! Key versions: create, describe, list.

use crate::model::{KeyId, KeyRecord, KeyVersionId, Time};
use crate::ops::operation::response;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_key_version::CreateKeyVersion,
    describe_key_version::DescribeKeyVersion,
    list_key_versions::ListKeyVersions,
}

response! {
    /// A key version, as described by the API.
    #[expect(clippy::struct_field_names, reason = "the fields are named as the API names them")]
    pub struct KeyVersion in KeyVersions.KeyVersion {
        key_id: KeyId,
        key_version_id: KeyVersionId,
        creation_date: Time,
    }
}

impl KeyVersion {
    fn of(version: &crate::model::KeyVersion, key: &KeyRecord) -> Self {
        Self { key_id: key.id, key_version_id: version.id, creation_date: version.created }
    }
}

response! {
    /// The response of an operation for one version.
    pub struct KeyVersionResponse {
        key_version: KeyVersion,
    }
}
