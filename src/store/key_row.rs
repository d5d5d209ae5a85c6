//! Maps keys and key versions to rows. A new field of a key touches only this file, a migration
//! and the column list in `tables.rs`, in three places: the column list, the values in the same order,
//! and the read function.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;

use super::StoreError;
use super::row::Fields;
use super::tables::{KEYS, VERSIONS};
use super::value::Value;
use crate::model::policy::KeyPolicy;
use crate::model::{
    ImportedMaterial, IvLength, KeyId, KeyRecord, KeyVersion, LastUse, Rotation, TagKey, TagValue,
};

/// The values of a key's row, in the order of [`KEYS`].
pub(super) fn key_values(record: &KeyRecord) -> Vec<Value> {
    let material = record.material.as_ref();
    vec![
        record.id.to_string().into(),
        record.spec.as_str().into(),
        record.usage.as_str().into(),
        record.origin.as_str().into(),
        record.protection.as_str().into(),
        record.instance.as_ref().map(ToString::to_string).into(),
        record.state.as_str().into(),
        record.description.clone().into(),
        record.created.into(),
        record.delete_at.into(),
        tags_text(&record.tags).into(),
        record.deletion_protection.clone().into(),
        record.rotation.map(|rotation| rotation.interval.seconds()).into(),
        record.policy.clone().into(),
        material.map(|material| material.check_value.clone()).into(),
        material.and_then(|material| material.expires).into(),
        material.map(|material| material.is_present).into(),
        record.primary.map(|id| id.to_string()).into(),
        // NULL in the rows of older versions, whose MACs stay right.
        record.is_internal.then_some(true).into(),
    ]
}

/// Reads a key from a row. `versions` are its versions.
pub(super) fn read_key(row: &AnyRow, versions: Vec<KeyVersion>) -> Result<KeyRecord, StoreError> {
    let fields = KEYS.fields(row);
    Ok(KeyRecord {
        id: fields.parsed("id")?,
        spec: fields.parsed("spec")?,
        usage: fields.parsed("key_usage")?,
        origin: fields.parsed("origin")?,
        protection: fields.parsed("protection")?,
        instance: fields.parsed_or_null("instance")?,
        state: fields.parsed("state")?,
        description: fields.get("description")?,
        created: fields.time("created")?,
        delete_at: fields.time_or_null("delete_at")?,
        tags: fields.json("tags")?,
        deletion_protection: fields.get("deletion_protection")?,
        rotation: fields.number_or_null("rotation_seconds")?.map(|interval| Rotation { interval }),
        policy: read_policy(&fields)?,
        material: read_material(&fields)?,
        primary: fields.parsed_or_null("primary_version")?,
        is_internal: read_internal(&fields)?,
        versions,
    })
}

/// A JSON object. Written through a `Value`, which, unlike a serializer, cannot fail.
fn tags_text(tags: &BTreeMap<TagKey, TagValue>) -> String {
    let pairs = tags.iter().map(|(key, value)| (key.to_string(), value.to_string().into()));
    serde_json::Value::Object(pairs.collect()).to_string()
}

/// Reads and validates the policy. An invalid policy would deny every request without naming the
/// key.
fn read_policy(fields: &Fields<'_>) -> Result<Option<String>, StoreError> {
    let text: Option<String> = fields.get("policy")?;
    let read = text.as_deref().map(KeyPolicy::parse).transpose();
    read.map_err(|_fault| fields.corrupt("policy", "it is not a valid key policy"))?;
    Ok(text)
}

/// The check value decides: if it is NULL, no material was imported. Material without its check
/// value may still have an expiry date, which must not be ignored.
fn read_material(fields: &Fields<'_>) -> Result<Option<ImportedMaterial>, StoreError> {
    let Some(check_value) = fields.get("material_check")? else {
        fields.require_null("material_check", &["material_expires", "material_is_present"])?;
        return Ok(None);
    };
    Ok(Some(ImportedMaterial {
        check_value,
        expires: fields.time_or_null("material_expires")?,
        is_present: fields.boolean("material_is_present")?,
    }))
}

/// NULL for the keys of the account.
fn read_internal(fields: &Fields<'_>) -> Result<bool, StoreError> {
    match fields.get::<Option<i64>>("is_internal")? {
        None => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(fields.corrupt("is_internal", "neither 1 nor NULL")),
    }
}

/// Reads the invocation counter of a version. Without it, encryption is not allowed.
pub(super) fn read_invocations(row: &AnyRow) -> Result<u64, StoreError> {
    VERSIONS.fields(row).number("invocations")
}

/// The values of a new version's row, in the order of [`VERSIONS`].
pub(super) fn version_values(key: KeyId, version: &KeyVersion) -> Vec<Value> {
    let mut values: Vec<Value> = vec![version.id.to_string().into()];
    values.extend(version_changes(key, version).into_iter().map(|(_column, value)| value));
    values.push(0_i64.into());
    values
}

/// The columns of a version's row that a change of its key writes: not its invocation counter.
pub(super) fn version_changes(key: KeyId, version: &KeyVersion) -> Vec<(&'static str, Value)> {
    vec![
        ("key_id", key.to_string().into()),
        ("number", i64::from(version.number).into()),
        ("created", version.created.into()),
        ("is_live", version.is_live.into()),
        ("iv_bytes", iv_bytes(version.iv_length).into()),
    ]
}

const fn iv_bytes(length: IvLength) -> i64 {
    match length {
        IvLength::Bits96 => 12,
        IvLength::Bits128 => 16,
    }
}

/// Reads a version and its key's id from a row.
pub(super) fn read_version(row: &AnyRow) -> Result<(KeyId, KeyVersion), StoreError> {
    let fields = VERSIONS.fields(row);
    let version = KeyVersion {
        id: fields.parsed("id")?,
        number: fields.number("number")?,
        created: fields.time("created")?,
        is_live: fields.boolean("is_live")?,
        iv_length: IvLength::of_bytes(fields.number("iv_bytes")?)
            .ok_or_else(|| fields.corrupt("iv_bytes", "it is not the length of an IV"))?,
        last_use: LastUse::default(),
    };
    read_invocations(row)?;
    Ok((fields.parsed("key_id")?, version))
}

#[cfg(test)]
mod tests {
    use crate::model::{KeyRecord, KeySpec, KeyUsage, Origin, ProtectionLevel, Time};
    use crate::store::StoreError;
    use crate::store::tests::{Bench, open, sample_key};

    fn corrupt(error: &StoreError) -> (&str, &str, &str) {
        match error {
            StoreError::Corrupt { table, row, column, .. } => (table, row, column),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_without_tag_and_rotation_columns_has_none() {
        let bench = Bench::new().await;
        bench
            .change(
                "INSERT INTO keys (id, account, spec, key_usage, origin, protection, state, \
                 description, created) \
                 VALUES ('key-hzz630494463ejqjx1234', '1234567890123456', 'Aliyun_AES_256', \
                 'ENCRYPT/DECRYPT', 'Aliyun_KMS', 'HSM', 'Creating', '', 1700000000)",
            )
            .await;
        let id = "key-hzz630494463ejqjx1234".parse().unwrap();
        let record = open(&bench.url).await.unwrap().key(id).unwrap();
        let bare = KeyRecord::new(
            KeySpec::Aes256,
            KeyUsage::EncryptDecrypt,
            Origin::AliyunKms,
            ProtectionLevel::Hsm,
            Time::from_unix(1_700_000_000),
        );
        assert_eq!(*record, KeyRecord { id, ..bare });
    }

    #[tokio::test]
    async fn an_unreadable_row_is_reported() {
        for (sql, table, column) in [
            ("UPDATE keys SET state = 'Asleep'", "keys", "state"),
            ("UPDATE keys SET spec = 'DES'", "keys", "spec"),
            ("UPDATE keys SET created = 9223372036854775807", "keys", "created"),
            ("UPDATE keys SET description = x'00'", "keys", "description"),
            ("UPDATE keys SET tags = '{\"a b\":\"\"}'", "keys", "tags"),
            ("UPDATE keys SET tags = '\"hunter2\"'", "keys", "tags"),
            ("UPDATE keys SET rotation_seconds = 60", "keys", "rotation_seconds"),
            ("UPDATE keys SET material_is_present = NULL", "keys", "material_is_present"),
            ("UPDATE keys SET primary_version = 'A'", "keys", "primary_version"),
            ("UPDATE keys SET policy = '{\"Version\":\"1\"'", "keys", "policy"),
            ("UPDATE keys SET material_check = NULL", "keys", "material_check"),
            ("UPDATE key_versions SET number = -1 WHERE number = 2", "key_versions", "number"),
            ("UPDATE key_versions SET is_live = 2 WHERE number = 2", "key_versions", "is_live"),
            ("UPDATE key_versions SET iv_bytes = 13 WHERE number = 2", "key_versions", "iv_bytes"),
        ] {
            let bench = Bench::new().await;
            let record = bench.store.insert_key(sample_key()).await.unwrap();
            if !bench.change(sql).await {
                continue;
            }
            let row = match table {
                "keys" => record.id.to_string(),
                _ => record.versions[1].id.to_string(),
            };
            let again = open(&bench.url).await.unwrap();
            let named = again.damaged_rows().into_iter().find(|one| one.table == table).unwrap();
            assert_eq!(named.row, row, "{sql}");
            assert!(named.why.starts_with(&format!("column {column}: ")), "{sql}: {}", named.why);
            assert!(!named.why.contains("hunter2"), "{sql}: {}", named.why);
            let change = bench.store.change_key(record.id, |_| Ok::<_, StoreError>(()));
            assert_eq!(corrupt(&change.await.unwrap_err()), (table, row.as_str(), column));
        }
    }
}
