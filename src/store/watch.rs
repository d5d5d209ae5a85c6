//! Detects when the store cannot keep changes, and when it can again.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::Connection as _;

use super::error::{is_corrupt, is_io_error};
use super::files::FileStamp;
use super::postgresql::{LockLoss, ServerLock};
use super::tables::TRIAL_WRITE;
use super::{Store, StoreError, check};
use crate::model::clock;

/// Maximum time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);
/// Minimum time between two checks of a file that is being written.
const MIN_CHECK_PAUSE: Duration = Duration::from_secs(5);
/// Minimum pause after a check, as a multiple of its duration: checks use at most 1 % of a
/// processor.
const PAUSE_FACTOR: u32 = 100;
/// The same after damage was found.
const PAUSE_FACTOR_WHEN_DAMAGED: u32 = 2;
/// Minimum time between two trial writes.
const TRIAL_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The times of the last checks and the next trial write.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Option<FileStamp>,
    /// When the last successful check began, and the state of the files then.
    checked: Option<(Instant, FileStamp)>,
    /// The files have shrunk since.
    has_shrunk: bool,
    next_check: Option<Instant>,
    next_trial_write: Option<Instant>,
}

impl Watch {
    /// Whether the file must be checked now. It is suspect if it was found damaged or the last
    /// change failed.
    fn needs_check(&mut self, stamp: FileStamp, is_suspect: bool, now: Instant) -> bool {
        let seen = self.seen.replace(stamp);
        // SQLite itself shrinks neither of them.
        let shrinks =
            seen.is_some_and(|seen| stamp.bytes < seen.bytes || stamp.log_bytes < seen.log_bytes);
        self.has_shrunk |= shrinks;
        let may = self.next_check.is_none_or(|at| now >= at);
        let Some((at, checked)) = self.checked else { return may };
        let is_over = now.saturating_duration_since(at) >= CHECK_INTERVAL;
        shrinks || (may && (stamp != checked || is_suspect || self.has_shrunk || is_over))
    }
}

impl Store {
    /// Whether the store can keep a change, as far as is known: the file is the one that was
    /// opened, the last check found no damage, and the last change was written.
    ///
    /// # Errors
    /// [`StoreError::FileLost`], [`StoreError::LockLost`], [`StoreError::Damaged`],
    /// [`StoreError::LastWriteFailed`].
    pub fn condition(&self) -> Result<(), StoreError> {
        self.inner.require_file()?;
        self.inner.require_lock()?;
        self.inner.require_whole()?;
        match self.inner.health.failed_write() {
            Some(what) => Err(StoreError::LastWriteFailed(what)),
            None => Ok(()),
        }
    }

    /// Verifies that a gateway has its lock on a PostgreSQL database, and takes it again if it was lost;
    /// verifies that the SQLite file is the one that was opened; checks it if it was written since
    /// the last check or an hour has passed; and tries a write if the last change failed (otherwise
    /// the store would count as failed until the next change). Results are logged once, and are
    /// visible in [`Store::condition`].
    pub async fn watch(&self) {
        let loss = self.inner.require_file().err().map(|error| error.to_string());
        let is_lost = loss.is_some();
        self.inner.health.note_file(loss);
        if is_lost {
            return;
        }
        if let Some(server) = &self.inner.database.server {
            self.watch_lock(server).await;
        }
        self.check_if_due().await;
        self.trial_write_if_due().await;
        if self.condition().is_ok() {
            self.inner.health.outage.end();
        }
        self.inner.health.outage.log_if_long();
    }

    async fn watch_lock(&self, server: &ServerLock) {
        let health = &self.inner.health;
        let mut loss = server.watch().await.err();
        // A standby has no changes.
        if loss.is_none() && !self.is_standby() {
            loss = server.require_pool_at_locks(&self.inner.database.pool).await.err();
            if loss.is_some() {
                // Heartbeats are sent with changes, which are refused now.
                self.inner.heartbeats.note_not_received();
            }
        }
        match &loss {
            Some(LockLoss::Silent(_)) => health.outage.note_silence(),
            // The database responds.
            Some(LockLoss::Taken(_)) => health.outage.abandon(),
            None => {}
        }
        health.note_lock(loss.map(|loss| loss.to_string()));
    }

    async fn check_if_due(&self) {
        let Some(files) = &self.inner.database.files else { return };
        let Ok(stamp) = files.stamp() else { return };
        let mut watch = self.inner.watch.lock().await;
        let begun = clock::monotonic();
        let health = &self.inner.health;
        let is_suspect = health.damage().is_some() || health.failed_write().is_some();
        if !watch.needs_check(stamp, is_suspect, begun) {
            return;
        }
        let found = quick_check(files.path()).await;
        let rollback = self.detect_rollback(files.path()).await;
        // The result does not apply if the file was exchanged meanwhile.
        if files.check().is_ok() {
            if let Some(what) = rollback {
                self.inner.note_rollback(files.path(), what);
            }
            match found {
                Ok(damage) => {
                    self.inner.health.note_damage(damage);
                    watch.checked = Some((begun, stamp));
                    watch.has_shrunk = false;
                }
                Err(error) => {
                    tracing::warn!(
                        event = "store.check_failed",
                        error = &error as &dyn std::error::Error,
                        "could not check the store file"
                    );
                }
            }
        }
        let end = clock::monotonic();
        let took = end.saturating_duration_since(begun);
        watch.next_check = end.checked_add(pause_after(took, health.damage().is_some()));
    }

    async fn trial_write_if_due(&self) {
        if self.inner.health.failed_write().is_none()
            || self.inner.require_whole().is_err()
            || self.inner.require_lock().is_err()
        {
            return;
        }
        let mut watch = self.inner.watch.lock().await;
        let begun = clock::monotonic();
        // A change in progress gives the same information.
        if watch.next_trial_write.is_some_and(|at| begun < at)
            || self.inner.writer_lock.try_lock().is_err()
        {
            return;
        }
        // The write records its own result.
        let _ = self.set_metadata(TRIAL_WRITE, "").await;
        let end = clock::monotonic();
        let took = end.saturating_duration_since(begun);
        watch.next_trial_write = end.checked_add(took.saturating_mul(2).max(TRIAL_WRITE_INTERVAL));
    }
}

/// The pause after a check of this duration. Shorter while damage refuses changes, so that a repair
/// is noticed soon.
fn pause_after(took: Duration, is_damaged: bool) -> Duration {
    let times = if is_damaged { PAUSE_FACTOR_WHEN_DAMAGED } else { PAUSE_FACTOR };
    took.saturating_mul(times).clamp(MIN_CHECK_PAUSE, CHECK_INTERVAL)
}

/// The first fault that SQLite's `quick_check` reports, while the database is in use. Reads the
/// whole file. A failed read counts as damage only if the file cannot be read a second time either.
///
/// # Errors
/// When the file cannot be checked for a reason other than damage.
pub(super) async fn quick_check(path: &Path) -> Result<Option<String>, StoreError> {
    match run_quick_check(path).await {
        Err(error) if is_io_error(&error) => match run_quick_check(path).await {
            Err(again) if is_io_error(&again) => Ok(Some(error.to_string())),
            second => Ok(second?),
        },
        first => Ok(first?),
    }
}

/// The first fault, once. The error is not damage.
async fn run_quick_check(path: &Path) -> Result<Option<String>, sqlx::Error> {
    match quick_check_line(path).await {
        Ok(line) => Ok((line != "ok").then_some(line)),
        Err(error) if is_corrupt(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

async fn quick_check_line(path: &Path) -> Result<String, sqlx::Error> {
    // A new connection: one that has read the file before has pages of it in its cache.
    let mut connection = check::connect(path, true).await?;
    let found = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await;
    connection.close().await?;
    found
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::store::tests::{Bench, open, sample_key};

    fn path(bench: &Bench) -> PathBuf {
        Store::file(&bench.url).unwrap()
    }

    #[test]
    fn a_check_follows_each_write_and_each_hour() {
        let now = Instant::now();
        let stamp = FileStamp { bytes: 4096, written: (1, 0), log_bytes: 100, log_written: (1, 0) };
        let mut watch = Watch::default();
        assert!(watch.needs_check(stamp, false, now), "the first");
        watch.checked = Some((now, stamp));
        watch.next_check = Some(now + MIN_CHECK_PAUSE);
        assert!(!watch.needs_check(stamp, false, now));
        for written in [
            FileStamp { written: (2, 0), ..stamp },
            FileStamp { log_bytes: 200, ..stamp },
            FileStamp { log_written: (2, 0), ..stamp },
        ] {
            assert!(!watch.needs_check(written, false, now), "not yet: {written:?}");
            assert!(watch.needs_check(written, false, now + MIN_CHECK_PAUSE), "{written:?}");
            watch.seen = Some(stamp);
        }
        assert!(watch.needs_check(stamp, true, now + MIN_CHECK_PAUSE), "damaged");
        assert!(watch.needs_check(stamp, false, now + CHECK_INTERVAL));
        assert!(watch.needs_check(FileStamp { log_bytes: 0, ..stamp }, false, now), "shrunk");
    }

    #[test]
    fn a_failed_check_is_repeated() {
        let now = Instant::now();
        let stamp = FileStamp { bytes: 4096, written: (1, 0), log_bytes: 100, log_written: (1, 0) };
        let mut watch = Watch::default();
        assert!(watch.needs_check(stamp, false, now));
        watch.next_check = Some(now + MIN_CHECK_PAUSE);
        assert!(!watch.needs_check(stamp, false, now), "it pauses");
        assert!(watch.needs_check(stamp, false, now + MIN_CHECK_PAUSE), "and runs again");
        watch.checked = Some((now, stamp));
        let shrunk = FileStamp { log_bytes: 0, ..stamp };
        assert!(watch.needs_check(shrunk, false, now));
        watch.next_check = Some(now + MIN_CHECK_PAUSE);
        assert!(!watch.needs_check(stamp, false, now));
        assert!(watch.needs_check(stamp, false, now + MIN_CHECK_PAUSE), "no check succeeded");
    }

    /// Overwrites the content of the store file with another database. The inode stays.
    fn overwrite(bench: &Bench, bytes: &[u8]) {
        let file = File::options().write(true).open(path(bench)).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
        // Closing it would release the locks of this process.
        std::mem::forget(file);
    }

    /// The content of the file, with the WAL merged.
    async fn content(bench: &Bench) -> Vec<u8> {
        bench.tamper("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        Store::backup(&bench.url, &copy, false).await.unwrap();
        fs::read(copy).unwrap()
    }

    #[tokio::test]
    async fn changes_are_refused_until_a_restart_after_the_file_was_overwritten_with_an_older_state()
     {
        let bench = Bench::on_file().await;
        bench.store.insert_key(sample_key()).await.unwrap();
        let old = content(&bench).await;
        let key = bench.store.insert_key(sample_key()).await.unwrap().id;
        let new = content(&bench).await;
        bench.store.watch().await;
        bench.store.condition().unwrap();
        overwrite(&bench, &old);
        bench.store.inner.watch.lock().await.next_check = None;
        bench.store.watch().await;
        let refused = bench.store.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(refused, StoreError::FileLost { .. }), "{refused:?}");
        bench.store.refresh().await.unwrap_err();
        assert!(bench.store.key(key).is_some(), "memory keeps acknowledged changes");
        overwrite(&bench, &new);
        bench.store.inner.watch.lock().await.next_check = None;
        bench.store.watch().await;
        bench.store.condition().unwrap_err();
    }

    #[tokio::test]
    async fn a_file_overwritten_with_the_database_of_another_instance_is_detected() {
        let (bench, other) = (Bench::on_file().await, Bench::on_file().await);
        for (bench, id) in [(&bench, "one"), (&other, "other")] {
            bench.store.set_metadata("instance-id", id).await.unwrap();
            bench.store.insert_key(sample_key()).await.unwrap();
            bench.store.insert_key(sample_key()).await.unwrap();
        }
        content(&bench).await;
        bench.store.watch().await;
        bench.store.condition().unwrap();
        overwrite(&bench, &content(&other).await);
        bench.store.inner.watch.lock().await.next_check = None;
        bench.store.watch().await;
        bench.store.condition().unwrap_err();
    }

    #[tokio::test]
    async fn a_lower_revision_is_never_loaded() {
        let bench = Bench::on_file().await;
        for _ in 0..3 {
            bench.store.insert_key(sample_key()).await.unwrap();
        }
        bench.tamper("DELETE FROM keys").await;
        bench.tamper("UPDATE facts SET value = '1' WHERE name = 'catalogue-revision'").await;
        let refused = bench.store.refresh().await.unwrap_err();
        assert!(matches!(refused, StoreError::FileLost { .. }), "{refused:?}");
        assert_eq!(bench.store.keys().len(), 3);
        bench.store.condition().unwrap_err();
    }

    #[tokio::test]
    async fn damage_found_by_a_connection_refuses_changes_immediately() {
        let bench = Bench::on_file().await;
        bench.store.insert_key(sample_key()).await.unwrap();
        bench.store.watch().await;
        bench.store.condition().unwrap();
        bench.tamper("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let file = File::options().read(true).write(true).open(path(&bench)).unwrap();
        let root_page = "SELECT rootpage FROM sqlite_master WHERE name = 'facts'";
        let pool = &bench.store.inner.database.pool;
        let root_page: i64 = sqlx::query_scalar(root_page).fetch_one(&**pool).await.unwrap();
        let offset = u64::try_from(root_page - 1).unwrap() * 4096;
        file.write_all_at(&[0x55; 4096], offset).unwrap();
        std::mem::forget(file);
        while bench.store.inner.database.pool.size() > 0 {
            if let Some(connection) = bench.store.inner.database.pool.try_acquire() {
                connection.close().await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        let error = bench.store.metadata("any").await.unwrap_err();
        let condition = bench.store.condition();
        assert!(matches!(condition, Err(StoreError::Damaged { .. })), "{condition:?}: {error:?}");
    }

    #[test]
    fn a_large_damaged_file_is_checked_again_soon() {
        let minute = Duration::from_mins(1);
        assert_eq!(pause_after(minute, true), 2 * minute);
        assert_eq!(pause_after(minute, false), CHECK_INTERVAL);
        assert_eq!(pause_after(Duration::ZERO, true), MIN_CHECK_PAUSE);
    }

    #[tokio::test]
    async fn changes_are_refused_while_the_file_is_moved_away() {
        let bench = Bench::on_file().await;
        bench.store.insert_key(sample_key()).await.unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("{}{suffix}", path(&bench).display());
            let away = format!("{name}.away");
            fs::rename(&name, &away).unwrap();
            for _ in 0..2 {
                let refused = bench.store.insert_key(sample_key()).await.unwrap_err();
                assert!(matches!(refused, StoreError::FileLost { .. }), "{name}: {refused:?}");
                bench.store.condition().unwrap_err();
                fs::copy(&away, &name).unwrap();
            }
            fs::rename(&away, &name).unwrap();
            bench.store.watch().await;
            bench.store.condition().unwrap();
            bench.store.insert_key(sample_key()).await.unwrap();
        }
        bench.store.close().await;
        assert_eq!(open(&bench.url).await.unwrap().keys().len(), 4);
    }

    #[tokio::test]
    async fn the_wal_stays_the_same_file_when_connections_close() {
        let bench = Bench::on_file().await;
        for _ in 0..20 {
            let pool = &bench.store.inner.database.pool;
            bench.store.insert_key(sample_key()).await.unwrap();
            while pool.size() > 0 {
                if let Some(connection) = pool.try_acquire() {
                    connection.close().await.unwrap();
                }
                tokio::task::yield_now().await;
            }
            bench.store.condition().unwrap();
        }
    }

    #[tokio::test]
    async fn damage_refuses_changes_until_it_is_repaired() {
        let bench = Bench::on_file().await;
        for _ in 0..50 {
            bench.store.insert_key(sample_key()).await.unwrap();
        }
        bench.store.watch().await;
        bench.store.condition().unwrap();
        bench.tamper("PRAGMA wal_checkpoint").await;
        let file = File::options().read(true).write(true).open(path(&bench)).unwrap();
        // Kept open until the store is closed: closing it would release the locks of this process.
        let mut whole = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut whole, 0).unwrap();
        let shorter = u64::try_from(whole.len() / 2).unwrap();
        file.set_len(shorter).unwrap();
        bench.store.inner.watch.lock().await.next_check = None;
        bench.store.watch().await;
        let refused = bench.store.insert_key(sample_key()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
        bench.store.condition().unwrap_err();
        file.write_all_at(&whole, 0).unwrap();
        bench.store.inner.watch.lock().await.next_check = None;
        bench.store.watch().await;
        bench.store.condition().unwrap();
        bench.store.insert_key(sample_key()).await.unwrap();
        bench.store.close().await;
    }

    #[tokio::test]
    async fn a_trial_write_clears_a_failed_change() {
        let bench = Bench::on_file().await;
        bench
            .tamper(
                "CREATE TRIGGER full BEFORE INSERT ON facts BEGIN SELECT RAISE(ABORT, 'x'); END",
            )
            .await;
        bench.store.set_metadata("a", "1").await.unwrap_err();
        assert!(matches!(bench.store.condition(), Err(StoreError::LastWriteFailed(_))));
        bench.store.watch().await;
        bench.store.condition().unwrap_err();
        bench.tamper("DROP TRIGGER full").await;
        bench.store.inner.watch.lock().await.next_trial_write = None;
        bench.store.watch().await;
        bench.store.condition().unwrap();
    }
}
