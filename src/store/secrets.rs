//! SQL for secrets. The row of a secret has its versions, labels and wrapped data keys; the encrypted
//! values are in rows of their own, and not in memory.
//!
//! A value is read with the row of its secret in one statement, so a change is visible to every
//! gateway when it is answered. Such a row is compared with the catalogue, which was checked as a
//! whole: it must be the same or a later one. So an older row that was put back is not used.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::catalogue::{Catalogue, CatalogueSecret};
use super::row::ROW_MAC;
use super::row_key::RowKey;
use super::signature::{StoredRow, WRONG_MAC, mac};
use super::tables::{SECRET_TOMBSTONES, SECRETS};
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{
    KeyId, KeyRecord, KeyState, SecretName, SecretRecord, SecretRowId, SecretVersionId,
    SelectedVersion, Time,
};

/// The table of the encrypted values.
const VALUES: &str = "secret_versions";
/// How often a row is read again that is not the one in memory, after memory was refreshed.
const MAX_READS: usize = 4;
const MISSING_ROW: &str = "rows of its part of the database are missing";
const OLDER_ROW: &str = "it is not the newest row of this secret that hsmgate wrote";

/// A secret as it is on disk.
#[derive(Debug, Clone)]
pub struct SecretOnDisk {
    /// The record.
    pub record: Arc<SecretRecord>,
    /// The selected version with its value, if it exists.
    pub value: Option<StoredValue>,
}

/// The encrypted value of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// The version.
    pub version: SecretVersionId,
    /// IV, ciphertext and tag.
    pub encrypted: Vec<u8>,
}

/// The encrypted value of a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewValue {
    /// The version.
    pub version: SecretVersionId,
    /// IV, ciphertext and tag.
    pub encrypted: Vec<u8>,
}

/// A row of a secret, with a value that was read with it.
struct ReadSecret {
    secret: CatalogueSecret,
    value: Option<Vec<u8>>,
}

impl Store {
    /// Every secret, sorted by name.
    pub fn secrets(&self) -> Vec<Arc<SecretRecord>> {
        let catalogue = self.inner.catalogue.read();
        catalogue.secrets.values().map(|secret| Arc::clone(&secret.record)).collect()
    }

    /// The oldest enabled key of the gateway itself.
    pub fn internal_key(&self) -> Option<Arc<KeyRecord>> {
        let catalogue = self.inner.catalogue.read();
        let is_usable = |key: &&Arc<KeyRecord>| key.is_internal && key.state == KeyState::Enabled;
        catalogue.keys().iter().find(is_usable).map(Arc::clone)
    }

    /// The secrets whose data keys a key encrypts, sorted by name.
    pub fn secrets_of_key(&self, key: KeyId) -> Vec<Arc<SecretRecord>> {
        let mut secrets = self.secrets();
        secrets.retain(|secret| secret.key == key);
        secrets
    }

    /// Inserts a secret with the value of its first version.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, also by a secret whose deletion is scheduled;
    /// [`StoreError::QuotaReached`].
    pub async fn insert_secret(
        &self,
        record: SecretRecord,
        value: NewValue,
    ) -> Result<Arc<SecretRecord>, StoreError> {
        let mut write = self.write().await?;
        let count = sqlx::query("SELECT COUNT(*) FROM secrets");
        write.require_room(write.quotas().secrets, count).await?;
        let (secret, values) = signed(record, 1, &*self.row_key()?)?;
        write.insert_row(&SECRETS, values).await?;
        write.insert_value(secret.record.row, value).await?;
        write.commit_secret(secret).await
    }

    /// A secret as this process last saw it. What a caller gets is decided by the row, which another
    /// gateway may have changed.
    pub fn last_seen_secret(&self, name: &SecretName) -> Option<Arc<SecretRecord>> {
        self.known_secret(name).map(|known| known.record)
    }

    /// Reads a secret from disk.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when its row was not written by hsmgate, is not the newest one, or may be
    /// missing: a client would replace a secret that it does not find.
    pub async fn secret(&self, name: &SecretName) -> Result<Option<Arc<SecretRecord>>, StoreError> {
        let read = self.read_newest(name, None).await?;
        Ok(read.map(|read| read.secret.record))
    }

    /// Reads a secret with the value of one of its versions from disk.
    ///
    /// # Errors
    /// As [`Store::secret`], and when the value of an existing version is missing.
    pub async fn secret_with_value(
        &self,
        name: &SecretName,
        selected: &SelectedVersion,
    ) -> Result<Option<SecretOnDisk>, StoreError> {
        // The version that memory knows; usually it is still the one.
        let mut guess = self.known_version(name, selected);
        for _read in 0..MAX_READS {
            let Some(read) = self.read_newest(name, guess.as_ref()).await? else { return Ok(None) };
            let record = read.secret.record;
            let Some(version) = record.selected(selected).map(|version| version.id.clone()) else {
                return Ok(Some(SecretOnDisk { record, value: None }));
            };
            if guess.as_ref() != Some(&version) {
                guess = Some(version);
                continue;
            }
            let lost = || {
                let source = "the value of the version is missing".into();
                let (row, column) = (name.to_string(), "encrypted_value");
                StoreError::Corrupt { table: VALUES, row, column, source }
            };
            let encrypted = read.value.ok_or_else(lost)?;
            return Ok(Some(SecretOnDisk {
                record,
                value: Some(StoredValue { version, encrypted }),
            }));
        }
        Err(unstable())
    }

    /// What does not match between secrets and the rows of their values, as texts for an operator.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn mismatched_secret_values(&self) -> Result<Vec<String>, StoreError> {
        for _read in 0..MAX_READS {
            self.refresh().await?;
            let before = self.secrets();
            let select = sqlx::query("SELECT row_id, version_id FROM secret_versions");
            let rows = self.inner.connection().await?.rows(select).await?;
            let values = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            let values: BTreeSet<(String, String)> = values.collect::<Result<_, sqlx::Error>>()?;
            self.refresh().await?;
            // A running gateway stored or deleted a secret meanwhile.
            if self.secrets() == before {
                return Ok(mismatches(&before, values));
            }
        }
        Err(unstable())
    }

    /// Passes the record of a secret to `change` and stores the result, with the value of a version
    /// that `change` adds. The values of versions that it drops are deleted. Writes nothing if
    /// `change` fails or changes nothing. Name and row id are permanent.
    ///
    /// The record is read from disk and locked against all other writers until the change is
    /// committed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no secret has this name and row id; [`StoreError::Corrupt`] as
    /// [`Store::secret`]; what `change` returns.
    pub async fn change_secret<E, F>(
        &self,
        secret: &SecretRecord,
        value: Option<NewValue>,
        change: F,
    ) -> Result<Arc<SecretRecord>, E>
    where
        E: From<StoreError>,
        F: FnOnce(&mut SecretRecord) -> Result<(), E>,
    {
        let (mut write, before) = self.lock_secret(secret).await?;
        let mut after = (*before.record).clone();
        change(&mut after)?;
        after.name.clone_from(&before.record.name);
        after.row = before.record.row;
        if after == *before.record {
            return Ok(before.record);
        }
        for gone in before.record.versions.iter().filter(|one| after.version(&one.id).is_none()) {
            write.delete_value(after.row, &gone.id).await?;
        }
        let is_added = |new: &NewValue| {
            before.record.version(&new.version).is_none() && after.version(&new.version).is_some()
        };
        if let Some(value) = value.filter(is_added) {
            write.insert_value(after.row, value).await?;
        }
        let revision = before.revision.saturating_add(1);
        let (secret, values) = signed(after, revision, &*self.row_key()?)?;
        let name = Value::from(secret.record.name.as_str());
        let changes = SECRETS.column_names().zip(values).collect();
        write.change_row(&SECRETS, &[name], changes).await?;
        Ok(write.commit_secret(secret).await?)
    }

    /// Deletes a secret with its values, if `decide` agrees. A tombstone remains.
    ///
    /// # Errors
    /// As [`Store::change_secret`].
    pub async fn remove_secret<E, F>(
        &self,
        secret: &SecretRecord,
        now: Time,
        decide: F,
    ) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&SecretRecord) -> Result<(), E>,
    {
        let (mut write, locked) = self.lock_secret(secret).await?;
        decide(&locked.record)?;
        let (name, row) = (locked.record.name.clone(), locked.record.row);
        write.delete_secret(&name, row, now).await?;
        write.commit(move |catalogue| drop(catalogue.secrets.remove(&name))).await?;
        Ok(())
    }

    /// Begins a change, and locks the newest row of a secret.
    async fn lock_secret(
        &self,
        secret: &SecretRecord,
    ) -> Result<(Write, CatalogueSecret), StoreError> {
        let name = Value::from(secret.name.as_str());
        for _read in 0..MAX_READS {
            let mut write = self.write().await?;
            let known = self.known_secret(&secret.name);
            let row = write.lock_row(&SECRETS, std::slice::from_ref(&name)).await?;
            let found = row.map(|(row, _stored)| read_secret(&row)).transpose()?;
            match found {
                Some(found) if is_newest(known.as_ref(), &found) => {
                    let is_same = found.record.row == secret.row;
                    return if is_same { Ok((write, found)) } else { Err(StoreError::NotFound) };
                }
                None if known.is_none() => return Err(StoreError::NotFound),
                _ => {}
            }
            // Memory is refreshed by the holder of the writer lock.
            drop(write);
            self.refresh().await?;
        }
        Err(older(&secret.name))
    }

    /// Reads the row of a secret and the value of a version, until they are what the catalogue has or
    /// later.
    async fn read_newest(
        &self,
        name: &SecretName,
        version: Option<&SecretVersionId>,
    ) -> Result<Option<ReadSecret>, StoreError> {
        for _read in 0..MAX_READS {
            // Before the row, so that memory is never ahead of the disk.
            let known = self.known_secret(name);
            match self.read_secret_row(name, version, known.as_ref()).await? {
                Some(read) if is_newest(known.as_ref(), &read.secret) => return Ok(Some(read)),
                None if known.is_none() => {
                    if self.may_lack_row(&SECRETS, &[name.as_str().into()])? {
                        return Err(SECRETS.corrupt(name, "name", MISSING_ROW));
                    }
                    return Ok(None);
                }
                _ => {}
            }
            self.refresh().await?;
        }
        Err(older(name))
    }

    /// A row that is the one in memory is not parsed.
    async fn read_secret_row(
        &self,
        name: &SecretName,
        version: Option<&SecretVersionId>,
        known: Option<&CatalogueSecret>,
    ) -> Result<Option<ReadSecret>, StoreError> {
        let key = self.row_key()?;
        let version = version.map_or("", SecretVersionId::as_str);
        let select = || {
            let select = sqlx::query(
                "SELECT name, row_id, revision, body, row_mac, account, (SELECT encrypted_value FROM \
                 secret_versions WHERE secret_versions.row_id = secrets.row_id AND version_id = $2) \
                 AS encrypted_value FROM secrets WHERE name = $1 AND account = $3",
            );
            let select = select.bind(name.as_str().to_owned()).bind(version.to_owned());
            select.bind(key.account().to_owned())
        };
        let Some(row) = self.inner.read_row(select).await? else { return Ok(None) };
        let stored = StoredRow::read(&SECRETS, &row, &key)?;
        if !stored.is_valid {
            return Err(SECRETS.fields(&row).corrupt(ROW_MAC, WRONG_MAC));
        }
        let secret = match known {
            Some(known) if known.is_row_with(&stored.stored_mac) => known.clone(),
            _ => read_secret(&row)?,
        };
        Ok(Some(ReadSecret { secret, value: row.try_get("encrypted_value")? }))
    }

    fn known_secret(&self, name: &SecretName) -> Option<CatalogueSecret> {
        self.inner.catalogue.read().secrets.get(name).cloned()
    }

    fn known_version(
        &self,
        name: &SecretName,
        selected: &SelectedVersion,
    ) -> Option<SecretVersionId> {
        if let SelectedVersion::Id(id) = selected {
            return Some(id.clone());
        }
        let known = self.known_secret(name)?;
        known.record.selected(selected).map(|version| version.id.clone())
    }
}

impl Write {
    async fn insert_value(&mut self, row: SecretRowId, value: NewValue) -> Result<(), StoreError> {
        let insert = sqlx::query(
            "INSERT INTO secret_versions (row_id, version_id, encrypted_value) VALUES ($1, $2, $3)",
        );
        let insert = insert.bind(row.to_string()).bind(value.version.to_string());
        self.execute(insert.bind(value.encrypted)).await.map(drop)
    }

    async fn delete_value(
        &mut self,
        row: SecretRowId,
        version: &SecretVersionId,
    ) -> Result<(), StoreError> {
        let delete =
            sqlx::query("DELETE FROM secret_versions WHERE row_id = $1 AND version_id = $2");
        self.execute(delete.bind(row.to_string()).bind(version.to_string())).await.map(drop)
    }

    /// Deletes a secret with its values.
    pub(super) async fn delete_secret(
        &mut self,
        name: &SecretName,
        row: SecretRowId,
        now: Time,
    ) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM secret_versions WHERE row_id = $1");
        self.execute(delete.bind(row.to_string())).await?;
        self.delete_rows(&SECRETS, "name = $1", vec![name.as_str().into()]).await?;
        let tombstone = vec![row.to_string().into(), name.as_str().into(), now.into()];
        self.put_row(&SECRET_TOMBSTONES, tombstone).await
    }

    /// Commits a secret, and puts it into memory.
    async fn commit_secret(self, secret: CatalogueSecret) -> Result<Arc<SecretRecord>, StoreError> {
        let record = Arc::clone(&secret.record);
        let remember = move |catalogue: &mut Catalogue| {
            let (name, secret) = secret.into_entry();
            catalogue.secrets.insert(name, secret);
        };
        self.commit(remember).await?;
        Ok(record)
    }
}

/// Whether a row is the one in memory, or a later one of the same secret.
fn is_newest(known: Option<&CatalogueSecret>, found: &CatalogueSecret) -> bool {
    known.is_some_and(|known| {
        let is_later = known.record.row == found.record.row && found.revision > known.revision;
        is_later || known == found
    })
}

/// Reads a secret from its row, whose MAC was checked.
pub(super) fn read_secret(row: &AnyRow) -> Result<CatalogueSecret, StoreError> {
    let fields = SECRETS.fields(row);
    let record: SecretRecord = fields.json("body")?;
    let is_own = record.name == fields.parsed("name")? && record.row == fields.parsed("row_id")?;
    if !is_own {
        return Err(fields.corrupt("body", "it is the body of another row"));
    }
    let mac: Option<Vec<u8>> = row.try_get(ROW_MAC).unwrap_or_default();
    let mac = mac.and_then(|mac| mac.try_into().ok());
    Ok(CatalogueSecret { record: Arc::new(record), revision: fields.get("revision")?, mac })
}

/// The values of the row of a secret.
pub(super) fn values(record: &SecretRecord, revision: i64) -> Result<Vec<Value>, StoreError> {
    Ok(vec![
        record.name.as_str().into(),
        record.row.to_string().into(),
        revision.into(),
        SECRETS.to_json(&record.name, "body", record)?.into(),
    ])
}

/// A secret for memory and disk.
fn signed(
    record: SecretRecord,
    revision: i64,
    key: &RowKey,
) -> Result<(CatalogueSecret, Vec<Value>), StoreError> {
    let values = values(&record, revision)?;
    let mac = Some(mac(&SECRETS, &values, key));
    Ok((CatalogueSecret { record: Arc::new(record), revision, mac }, values))
}

fn older(name: &SecretName) -> StoreError {
    SECRETS.corrupt(name, "revision", OLDER_ROW)
}

fn mismatches(
    secrets: &[Arc<SecretRecord>],
    mut values: BTreeSet<(String, String)>,
) -> Vec<String> {
    let mut found = Vec::new();
    for SecretRecord { name, row, versions, .. } in secrets.iter().map(|secret| &**secret) {
        let row = row.to_string();
        for version in versions {
            if !values.remove(&(row.clone(), version.id.to_string())) {
                found.push(format!("{:?} version {} has no value", name.as_str(), version.id));
            }
        }
        for (_row, version) in values.extract_if(.., |(of, _version)| *of == row) {
            found.push(format!("{:?} has a value of the unknown version {version}", name.as_str()));
        }
    }
    let orphans: BTreeSet<_> = values.into_iter().map(|(row, _version)| row).collect();
    found
        .extend(orphans.iter().map(|row| format!("there are values of {row}, which is no secret")));
    found
}

/// A secret that changes faster than it can be read.
fn unstable() -> StoreError {
    StoreError::Unavailable { source: "the secret was changed each time that it was read".into() }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use super::*;
    use crate::model::{
        Base64Bytes, Quota, Quotas, SecretDataType, SecretVersion, VersionStage, VersionStages,
    };
    use crate::store::test_server;
    use crate::store::tests::{Bench, TestDatabase, open};

    const NOON: i64 = 1_700_000_000;

    fn version(id: &str) -> SecretVersion {
        SecretVersion {
            id: id.parse().unwrap(),
            created: Time::from_unix(NOON),
            data_type: SecretDataType::Binary,
            stages: VersionStages::default().0,
            wrapped_key: Base64Bytes(id.as_bytes().to_vec()),
        }
    }

    fn value(id: &str) -> NewValue {
        NewValue { version: id.parse().unwrap(), encrypted: format!("value of {id}").into() }
    }

    /// A secret whose every field differs from its default, with the version `1`.
    fn sample(name: &str) -> SecretRecord {
        SecretRecord {
            name: name.parse().unwrap(),
            row: SecretRowId::random(),
            key: KeyId::random(),
            names_key: true,
            instance: Some(crate::model::InstanceId::random()),
            description: "it's \"quoted\"; секрет 🔑".to_owned(),
            tags: [("team".parse().unwrap(), "orders".parse().unwrap())].into(),
            policy: Some("{}".to_owned()),
            created: Time::from_unix(NOON),
            updated: Time::from_unix(NOON + 1),
            delete_at: Some(Time::from_unix(NOON + 2)),
            versions: vec![version("1")],
        }
    }

    pub(in super::super) async fn insert_sample_secret(
        store: &Store,
        name: &str,
    ) -> Arc<SecretRecord> {
        store.insert_secret(sample(name), value("1")).await.unwrap()
    }

    async fn put(store: &Store, secret: &SecretRecord, id: &str) -> Arc<SecretRecord> {
        let add = |record: &mut SecretRecord| {
            record.add_version(version(id)).unwrap();
            Ok::<_, StoreError>(())
        };
        store.change_secret(secret, Some(value(id)), add).await.unwrap()
    }

    fn current() -> SelectedVersion {
        SelectedVersion::Stage(VersionStage::current())
    }

    /// The encrypted value of the selected version.
    async fn read(
        store: &Store,
        secret: &SecretRecord,
        selected: SelectedVersion,
    ) -> Result<Option<String>, StoreError> {
        let found = store.secret_with_value(&secret.name, &selected).await?;
        let value = found.and_then(|found| found.value);
        Ok(value.map(|value| String::from_utf8(value.encrypted).unwrap()))
    }

    fn is_corrupt<T>(outcome: &Result<T, StoreError>) -> bool {
        matches!(outcome, Err(StoreError::Corrupt { .. }))
    }

    /// Reads a value a few times. Returns how many statements PostgreSQL executed.
    async fn statements_of_reads(
        store: &Store,
        secret: &SecretRecord,
        reads: usize,
        server: &test_server::Server,
    ) -> usize {
        let log = || std::fs::read_to_string(server.directory().join("server.log")).unwrap();
        let before = log().len();
        for _read in 0..reads {
            assert_eq!(read(store, secret, current()).await.unwrap().unwrap(), "value of 1");
        }
        let log = log();
        let is_statement =
            |line: &&str| line.contains("LOG:  execute") || line.contains("LOG:  statement");
        log[before..].lines().filter(is_statement).count()
    }

    #[tokio::test]
    async fn postgresql_executes_one_statement_for_a_value_and_a_lost_connection_is_replaced() {
        let bench = Bench::new().await;
        let TestDatabase::Server(database) = &bench.database else { return };
        let server = test_server::server();
        let secret = insert_sample_secret(&bench.store, "db/orders").await;
        // The statements of no other test are in the log.
        database.execute(&format!("ALTER DATABASE {} SET log_statement = 'all'", database.name));
        let store = open(&bench.url).await.unwrap();
        statements_of_reads(&store, &secret, 1, server).await;
        assert_eq!(statements_of_reads(&store, &secret, 10, server).await, 10);
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        statements_of_reads(&store, &secret, 1, server).await;

        // As if the network had cut the connection that is kept, without a word.
        let silent = database.execute(
            "SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'SELECT name, row_id%'",
        );
        let signal = |name| {
            let signal = Command::new("kill").arg(name).args(silent.lines()).status();
            assert!(signal.unwrap().success());
        };
        signal("-STOP");
        let value = read(&store, &secret, current()).await;
        signal("-CONT");
        assert_eq!(value.unwrap().unwrap(), "value of 1");
    }

    #[tokio::test]
    async fn a_secret_is_read_back_with_the_value_of_each_version() {
        let bench = Bench::new().await;
        let store = &bench.store;
        let secret = insert_sample_secret(store, "db/orders").await;
        let changed = put(store, &secret, "2").await;
        let again = open(&bench.url).await.unwrap();
        assert_eq!(again.secret(&secret.name).await.unwrap().as_deref(), Some(&*changed));
        assert_eq!(again.secrets(), [Arc::clone(&changed)]);
        for store in [store, &again] {
            let previous = SelectedVersion::Stage(VersionStage::previous());
            let first = SelectedVersion::Id("1".parse().unwrap());
            for (selected, expected) in [
                (current(), Some("value of 2")),
                (previous, Some("value of 1")),
                (first, Some("value of 1")),
                (SelectedVersion::Id("3".parse().unwrap()), None),
                (SelectedVersion::Stage("blue".parse().unwrap()), None),
            ] {
                let found = read(store, &secret, selected.clone()).await.unwrap();
                assert_eq!(found.as_deref(), expected, "{selected:?}");
            }
        }
        assert_eq!(store.secrets_of_key(secret.key), [changed]);
        assert_eq!(store.secrets_of_key(KeyId::random()), []);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_name_is_taken_until_its_secret_is_removed_with_all_values() {
        let bench = Bench::new().await;
        let store = &bench.store;
        let secret = insert_sample_secret(store, "db").await;
        let again = store.insert_secret(sample("db"), value("1")).await;
        assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
        insert_sample_secret(store, "DB").await;
        let refused = store
            .remove_secret(&secret, Time::from_unix(NOON), |_secret| Err(StoreError::LimitReached))
            .await;
        assert!(matches!(refused, Err(StoreError::LimitReached)));
        let agree = |_secret: &SecretRecord| Ok::<_, StoreError>(());
        store.remove_secret(&secret, Time::from_unix(NOON), agree).await.unwrap();
        assert_eq!(store.secret(&secret.name).await.unwrap(), None);
        let renewed = insert_sample_secret(store, "db").await;
        assert_ne!(renewed.row, secret.row);
        // What was found before the removal is another secret.
        let gone = store.remove_secret(&secret, Time::from_unix(NOON), agree).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
        let gone = store.change_secret(&secret, None, |_secret| Ok::<_, StoreError>(())).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
        assert_eq!(bench.try_tamper("DELETE FROM secret_versions").await.unwrap(), 2);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn the_value_of_a_dropped_version_is_deleted() {
        let bench = Bench::new().await;
        let secret = insert_sample_secret(&bench.store, "db").await;
        for number in 2..=12 {
            put(&bench.store, &secret, &number.to_string()).await;
        }
        let first = SelectedVersion::Id("1".parse().unwrap());
        assert_eq!(read(&bench.store, &secret, first).await.unwrap(), None);
        assert_eq!(bench.try_tamper("DELETE FROM secret_versions").await.unwrap(), 10);
        // A version without its value is not one that does not exist.
        assert!(is_corrupt(&read(&bench.store, &secret, current()).await));
    }

    #[tokio::test]
    async fn a_change_is_visible_to_another_handle_when_it_is_done() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let secret = insert_sample_secret(here, "db").await;
        assert_eq!(read(&there, &secret, current()).await.unwrap().unwrap(), "value of 1");
        for number in 2..=5 {
            let (writer, reader) = if number % 2 == 0 { (here, &there) } else { (&there, here) };
            put(writer, &secret, &number.to_string()).await;
            let found = read(reader, &secret, current()).await.unwrap().unwrap();
            assert_eq!(found, format!("value of {number}"));
        }
        let agree = |_secret: &SecretRecord| Ok::<_, StoreError>(());
        there.remove_secret(&secret, Time::from_unix(NOON), agree).await.unwrap();
        assert_eq!(here.secret(&secret.name).await.unwrap(), None);
        let renewed = insert_sample_secret(&there, "db").await;
        assert_eq!(here.secret(&secret.name).await.unwrap(), Some(renewed));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn eight_writers_move_the_current_label_and_readers_see_a_value_that_fits_it() {
        let bench = Bench::new().await;
        let there = open(&bench.url).await.unwrap();
        let secret = insert_sample_secret(&bench.store, "db").await;
        put(&bench.store, &secret, "2").await;
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..8 {
            let store = if at % 2 == 0 { there.clone() } else { bench.store.clone() };
            let secret = Arc::clone(&secret);
            tasks.spawn(async move {
                for step in 0..8 {
                    let to = if step % 2 == 0 { "1" } else { "2" }.parse().unwrap();
                    let change = |record: &mut SecretRecord| {
                        record.move_stage(&VersionStage::current(), Some(&to), None).unwrap();
                        Ok::<_, StoreError>(())
                    };
                    store.change_secret(&secret, None, change).await.unwrap();
                    let found =
                        store.secret_with_value(&secret.name, &current()).await.unwrap().unwrap();
                    let (record, value) = (found.record, found.value.unwrap());
                    assert_eq!(record.selected(&current()).unwrap().id, value.version);
                    assert_eq!(value.encrypted, format!("value of {}", value.version).into_bytes());
                }
            });
        }
        tasks.join_all().await;
        for store in [&there, &bench.store] {
            store.refresh().await.unwrap();
        }
        assert_eq!(there.secrets(), bench.store.secrets());
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn a_row_that_another_program_changed_is_not_used() {
        for sql in [
            "UPDATE secrets SET body = REPLACE(body, 'ACSCurrent', 'ACSPrevious') WHERE name = 'a'",
            "UPDATE secrets SET revision = revision + 1 WHERE name = 'a'",
            "UPDATE secrets SET row_mac = NULL WHERE name = 'a'",
            // The row of another secret under this name.
            "DELETE FROM secrets WHERE name = 'a'; UPDATE secrets SET name = 'a' WHERE name = 'b'",
            // A whole row that an attacker has kept.
            "DELETE FROM secrets WHERE name = 'a'; INSERT INTO secrets SELECT * FROM older",
            "DELETE FROM secrets WHERE name = 'a'",
        ] {
            let bench = Bench::new().await;
            let secret = insert_sample_secret(&bench.store, "a").await;
            insert_sample_secret(&bench.store, "b").await;
            bench.tamper("CREATE TABLE older AS SELECT * FROM secrets WHERE name = 'a'").await;
            put(&bench.store, &secret, "2").await;
            for statement in sql.split("; ") {
                bench.tamper(statement).await;
            }
            let reopened = open(&bench.url).await.unwrap();
            for (store, is_reopened) in [(&bench.store, false), (&reopened, true)] {
                let found = store.secret(&secret.name).await;
                assert!(is_corrupt(&found), "{sql}: {found:?}");
                assert!(!is_reopened || !store.damaged_rows().is_empty(), "{sql}");
                let change = store.change_secret(&secret, None, |record| {
                    record.description.clear();
                    Ok::<_, StoreError>(())
                });
                let change = change.await;
                let is_absent = is_reopened && matches!(change, Err(StoreError::NotFound));
                assert!(is_corrupt(&change) || is_absent, "{sql}: {change:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_row_of_a_deleted_secret_cannot_replace_its_successor() {
        let bench = Bench::new().await;
        let store = &bench.store;
        let secret = insert_sample_secret(store, "a").await;
        bench.tamper("CREATE TABLE older AS SELECT * FROM secrets").await;
        bench.tamper("CREATE TABLE older_values AS SELECT * FROM secret_versions").await;
        let agree = |_secret: &SecretRecord| Ok::<_, StoreError>(());
        store.remove_secret(&secret, Time::from_unix(NOON), agree).await.unwrap();
        let put_back = async || {
            bench.tamper("DELETE FROM secrets").await;
            bench.tamper("INSERT INTO secrets SELECT * FROM older").await;
            bench.tamper("INSERT INTO secret_versions SELECT * FROM older_values").await;
        };
        put_back().await;
        assert!(is_corrupt(&read(store, &secret, current()).await));
        bench.tamper("DELETE FROM secrets").await;
        bench.tamper("DELETE FROM secret_versions").await;
        insert_sample_secret(store, "a").await;
        put_back().await;
        assert!(is_corrupt(&read(store, &secret, current()).await));
        let again = open(&bench.url).await.unwrap();
        assert!(is_corrupt(&read(&again, &secret, current()).await));
        assert!(!again.damaged_rows().is_empty());
    }

    #[tokio::test]
    async fn secrets_have_a_quota() {
        let bench = Bench::new().await;
        let of_one = Quota { setting: "quotas.secrets", most: 1 };
        bench.store.set_quotas(Quotas { secrets: of_one, ..Quotas::default() });
        insert_sample_secret(&bench.store, "a").await;
        let refused = bench.store.insert_secret(sample("b"), value("1")).await;
        assert!(matches!(refused, Err(StoreError::QuotaReached(quota)) if quota == of_one));
        bench.assert_disk_is_memory().await;
    }
}
