use std::sync::Arc;

use super::*;
use crate::model::{KeyRecord, KeyState, KeyVersion, SecretRecord};
use crate::store::secrets::tests::insert_sample_secret;
use crate::store::tests::{Bench, TestDatabase, open, row_key, sample_key, version};

const NOW: i64 = 1_800_000_000;

fn now() -> Time {
    Time::from_unix(NOW)
}

/// A live key in this state.
fn key(state: KeyState) -> KeyRecord {
    let versions: Vec<KeyVersion> = vec![version((1, true))];
    KeyRecord { state, delete_at: None, primary: Some(versions[0].id), versions, ..sample_key() }
}

/// A store, a backup of it, and the path of the store.
async fn backup_of(bench: &Bench) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let backup = directory.path().join("backup.db");
    Store::backup(&bench.url, &backup, false).await.unwrap();
    (directory, backup)
}

/// Closes the store and keeps its files.
fn leave(bench: Bench) -> (String, TempDir) {
    let Bench { store, url, database: TestDatabase::File(directory) } = bench else { panic!() };
    drop(store);
    (url, directory)
}

async fn restore(url: &str, backup: &Path) -> Result<Replaced, StoreError> {
    let (replacement, copy) = Replacement::prepare(url, backup).await?;
    let copy = copy.unlock(row_key()).await?;
    replacement.install(copy, now(), 0).await
}

#[tokio::test]
async fn the_backup_replaces_the_store_and_the_old_store_is_kept() {
    let bench = Bench::on_file().await;
    let old = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let (_copies, backup) = backup_of(&bench).await;
    let later = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    bench.store.close().await;
    let (url, directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!((replaced.keys, replaced.has_tombstones), (1, true));
    let store = open(&url).await.unwrap();
    assert_eq!(store.keys(), [old]);
    let kept = replaced.kept.unwrap();
    assert_eq!(kept.parent().unwrap(), directory.path());
    let kept = open(&format!("sqlite://{}", kept.display())).await.unwrap();
    assert!(kept.key(later.id).is_some());
    assert!(backup.exists(), "the backup itself stays");
}

#[tokio::test]
async fn a_missing_store_is_created_from_the_backup() {
    let bench = Bench::on_file().await;
    let old = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let (_copies, backup) = backup_of(&bench).await;
    let (url, directory) = leave(bench);
    std::fs::remove_file(directory.path().join("store.db")).unwrap();
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!((replaced.kept, replaced.has_tombstones), (None, true));
    assert_eq!(open(&url).await.unwrap().keys(), [old]);
}

#[tokio::test]
async fn a_store_in_use_is_not_replaced() {
    let bench = Bench::on_file().await;
    let (_copies, backup) = backup_of(&bench).await;
    let refused = restore(&bench.url, &backup).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
}

#[tokio::test]
async fn an_unusable_backup_leaves_the_store_unchanged() {
    let bench = Bench::on_file().await;
    let old = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let (copies, backup) = backup_of(&bench).await;
    let (url, directory) = leave(bench);
    let other = copies.path().join("other.db");
    std::fs::write(&other, "no database").unwrap();
    let refused = restore(&url, &other).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotAStore(path) if *path == other), "{refused:?}");
    let mut bytes = std::fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    std::fs::write(&other, bytes).unwrap();
    let refused = restore(&url, &other).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { path, .. } if *path == other), "{refused:?}");
    let missing = copies.path().join("missing.db");
    let refused = restore(&url, &missing).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NoFile(path) if *path == missing), "{refused:?}");
    assert_eq!(open(&url).await.unwrap().keys(), [old]);
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("store.db"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn each_wal_is_applied_only_to_its_own_file() {
    let bench = Bench::on_file().await;
    let old = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    // Copied while open: the inserted rows are in the WAL.
    let copies = tempfile::tempdir().unwrap();
    let backup = copies.path().join("backup.db");
    let path = connect::file(&bench.url).unwrap();
    std::fs::copy(&path, &backup).unwrap();
    std::fs::copy(with_suffix(&path, "-wal"), with_suffix(&backup, "-wal")).unwrap();
    let later = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    // As after a kill: the WAL of the store is not merged.
    let (log, shared) = (with_suffix(&path, "-wal"), with_suffix(&path, "-shm"));
    let killed = copies.path().join("killed");
    std::fs::copy(&log, &killed).unwrap();
    bench.store.close().await;
    let (url, _directory) = leave(bench);
    std::fs::copy(&killed, &log).unwrap();
    std::fs::remove_file(&shared).ok();
    let replaced = restore(&url, &backup).await.unwrap();
    let store = open(&url).await.unwrap();
    assert_eq!(store.keys(), [Arc::clone(&old)]);
    let kept = format!("sqlite://{}", replaced.kept.unwrap().display());
    assert!(open(&kept).await.unwrap().key(later.id).is_some());
}

#[tokio::test]
async fn keys_destroyed_since_the_backup_stay_destroyed() {
    let bench = Bench::on_file().await;
    let kept = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let gone = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let (_copies, backup) = backup_of(&bench).await;
    bench.store.remove_key(gone.id).await.unwrap();
    let (url, _directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!(replaced.destroyed, [gone.id]);
    let store = open(&url).await.unwrap();
    assert_eq!(store.keys(), [kept]);
    assert!(store.removed_at(gone.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_destruction_in_progress_is_completed_after_the_restore() {
    let bench = Bench::on_file().await;
    let doomed = bench.store.insert_key(key(KeyState::Enabled)).await.unwrap();
    let (_copies, backup) = backup_of(&bench).await;
    let second = version((2, true));
    let begun = bench.store.change_key(doomed.id, |record| {
        record.versions.push(second.clone());
        record.state = KeyState::Deleting;
        Ok::<_, StoreError>(())
    });
    let begun = begun.await.unwrap();
    let newer = bench.store.insert_key(key(KeyState::Deleting)).await.unwrap();
    let (url, _directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!(replaced.destroyed, [doomed.id]);
    let store = open(&url).await.unwrap();
    let found = store.key(doomed.id).unwrap();
    assert_eq!((found.state, &found.versions), (KeyState::Deleting, &begun.versions));
    assert!(store.removed_at(newer.id).await.unwrap().is_some());
}

#[tokio::test]
async fn neither_incomplete_keys_nor_due_deletions_are_restored() {
    let bench = Bench::on_file().await;
    let half = KeyRecord { versions: vec![version((1, false))], ..key(KeyState::Creating) };
    bench.store.insert_key(half.clone()).await.unwrap();
    let mut rotating = key(KeyState::Enabled);
    rotating.versions.push(version((2, false)));
    bench.store.insert_key(rotating.clone()).await.unwrap();
    let due = |seconds| KeyRecord {
        delete_at: Some(Time::from_unix(NOW + seconds)),
        ..key(KeyState::PendingDeletion)
    };
    let (soon, later) = (due(-1), due(30 * 24 * 3600));
    for record in [&soon, &later] {
        bench.store.insert_key(record.clone()).await.unwrap();
    }
    let (_copies, backup) = backup_of(&bench).await;
    let (url, _directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!((replaced.incomplete, replaced.keys), (2, 3));
    assert_eq!(replaced.postponed, [soon.id]);
    let store = open(&url).await.unwrap();
    assert_eq!(store.key(half.id), None);
    assert_eq!(store.key(rotating.id).unwrap().versions, rotating.versions[..1]);
    let week = Some(now().plus_seconds(MIN_DELETION_DELAY_SECONDS));
    assert_eq!(store.key(soon.id).unwrap().delete_at, week);
    assert_eq!(store.key(later.id).unwrap().delete_at, later.delete_at);
}

#[tokio::test]
async fn secrets_deleted_since_the_backup_stay_deleted_and_no_deletion_is_due() {
    let bench = Bench::on_file().await;
    let store = &bench.store;
    let [kept, gone, renewed] = ["kept", "gone", "renewed"]
        .map(|name| async move { insert_sample_secret(store, name).await });
    let (kept, gone, renewed) = (kept.await, gone.await, renewed.await);
    let (_copies, backup) = backup_of(&bench).await;
    let agree = |_secret: &SecretRecord| Ok::<_, StoreError>(());
    for secret in [&gone, &renewed] {
        store.remove_secret(secret, now(), agree).await.unwrap();
    }
    // Another secret, which the backup does not have.
    insert_sample_secret(store, "renewed").await;
    let (url, _directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    let mut deleted = replaced.deleted_secrets;
    deleted.sort();
    assert_eq!(deleted, [gone.name.clone(), renewed.name.clone()]);
    assert_eq!(replaced.postponed_secrets, std::slice::from_ref(&kept.name));
    let store = open(&url).await.unwrap();
    let left = store.secrets();
    let [left] = &left[..] else { panic!("{left:?}") };
    assert_eq!((&left.name, left.row), (&kept.name, kept.row));
    assert_eq!(left.delete_at, Some(now().plus_seconds(MIN_DELETION_DELAY_SECONDS)));
    assert_eq!(store.damaged_rows(), []);
    // A second restore of the backup knows of the deletions from the first one.
    drop(store);
    let again = restore(&url, &backup).await.unwrap();
    assert_eq!(again.deleted_secrets.len(), 2);
    assert_eq!(open(&url).await.unwrap().secrets().len(), 1);
}

#[tokio::test]
async fn a_tombstone_that_another_program_added_deletes_no_secret() {
    let bench = Bench::on_file().await;
    let kept = insert_sample_secret(&bench.store, "kept").await;
    let (_copies, backup) = backup_of(&bench).await;
    bench
        .tamper(
            "INSERT INTO secret_tombstones (row_id, account, name, removed) \
             SELECT row_id, account, name, 1 FROM secrets",
        )
        .await;
    let (url, _directory) = leave(bench);
    let replaced = restore(&url, &backup).await.unwrap();
    assert_eq!(replaced.deleted_secrets, []);
    assert_eq!(open(&url).await.unwrap().secrets()[0].row, kept.row);
}
