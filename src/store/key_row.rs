//! Maps keys and key versions to rows. A new field of a key touches only this file and a migration,
//! in three places: the column list, the bound values in the same order, and the read function.

use std::collections::BTreeMap;

use sqlx::SqlSafeStr;
use sqlx::any::AnyRow;

use super::StoreError;
use super::connection::Statement;
use super::row::{Fields, Table};
use crate::model::policy::KeyPolicy;
use crate::model::{
    ImportedMaterial, IvLength, KeyId, KeyRecord, KeyVersion, Rotation, TagKey, TagValue, Time,
};

/// The keys, without their versions.
pub(super) const KEYS: Table = Table {
    name: "keys",
    columns: "id, spec, key_usage, origin, protection, instance, state, description, created, \
              delete_at, tags, deletion_protection, rotation_seconds, policy, material_check, \
              material_expires, material_is_present, primary_version",
};

/// Binds the values of a key's row, in the order of [`KEYS`].
pub(super) fn bind_key(sql: impl SqlSafeStr, record: &KeyRecord) -> Statement<'static> {
    let material = record.material.as_ref();
    sqlx::query(sql)
        .bind(record.id.to_string())
        .bind(record.spec.as_str())
        .bind(record.usage.as_str())
        .bind(record.origin.as_str())
        .bind(record.protection.as_str())
        .bind(record.instance.as_ref().map(ToString::to_string))
        .bind(record.state.as_str())
        .bind(record.description.clone())
        .bind(record.created.unix())
        .bind(record.delete_at.map(Time::unix))
        .bind(tags_text(&record.tags))
        .bind(record.deletion_protection.clone())
        .bind(record.rotation.map(|rotation| rotation.interval.seconds()))
        .bind(record.policy.clone())
        .bind(material.map(|material| material.check_value.clone()))
        .bind(material.and_then(|material| material.expires).map(Time::unix))
        .bind(material.map(|material| i64::from(material.is_present)))
        .bind(record.primary.map(|id| id.to_string()))
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

/// The versions, each with its key.
pub(super) const VERSIONS: Table =
    Table { name: "key_versions", columns: "id, key_id, number, created, is_live, iv_bytes" };

/// The invocation counter of each version, which is not part of its key's record.
pub(super) const INVOCATIONS: Table =
    Table { name: "key_versions", columns: "id, key_id, invocations" };

/// Reads the counter of a version. Without it, encryption is not allowed.
pub(super) fn read_invocations(row: &AnyRow) -> Result<u64, StoreError> {
    INVOCATIONS.fields(row).number("invocations")
}

/// Binds the values of a version's row, in the order of [`VERSIONS`].
pub(super) fn bind_version(
    sql: impl SqlSafeStr,
    key: KeyId,
    version: &KeyVersion,
) -> Statement<'static> {
    sqlx::query(sql)
        .bind(version.id.to_string())
        .bind(key.to_string())
        .bind(i64::from(version.number))
        .bind(version.created.unix())
        .bind(i64::from(version.is_live))
        .bind(iv_bytes(version.iv_length))
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
    };
    Ok((fields.parsed("key_id")?, version))
}

#[cfg(test)]
mod tests {
    use crate::model::{KeyRecord, KeySpec, KeyUsage, Origin, ProtectionLevel, Time};
    use crate::store::tests::{Bench, sample_key};
    use crate::store::{Store, StoreError};

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
            .tamper(
                "INSERT INTO keys (id, spec, key_usage, origin, protection, state, description, \
                 created) VALUES ('key-hzz630494463ejqjx1234', 'Aliyun_AES_256', \
                 'ENCRYPT/DECRYPT', 'Aliyun_KMS', 'HSM', 'Creating', '', 1700000000)",
            )
            .await;
        let id = "key-hzz630494463ejqjx1234".parse().unwrap();
        let record = Store::open(&bench.url).await.unwrap().key(id).unwrap();
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
            bench.tamper(sql).await;
            let row = match table {
                "keys" => record.id.to_string(),
                _ => record.versions[1].id.to_string(),
            };
            let again = Store::open(&bench.url).await.unwrap();
            let named = again.damaged_rows().into_iter().find(|one| one.table == table).unwrap();
            assert_eq!(named.row, row, "{sql}");
            assert!(named.why.starts_with(&format!("column {column}: ")), "{sql}: {}", named.why);
            assert!(!named.why.contains("hunter2"), "{sql}: {}", named.why);
            let change = bench.store.change_key(record.id, |_| Ok::<_, StoreError>(()));
            assert_eq!(corrupt(&change.await.unwrap_err()), (table, row.as_str(), column));
        }
    }
}
