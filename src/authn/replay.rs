//! Used nonces, in memory and in a journal that outlives the process.
//!
//! A nonce is kept for the time in which its request could be replayed: until its timestamp has
//! left the clock window. Nonces are kept in buckets by their expiry time, each a set in memory and
//! a file of 8-byte entries, so that expired nonces are removed by dropping a bucket.
//!
//! An entry is written before the request is answered, by one small append without a disk flush: it
//! survives every end of the process, but not a crash of the machine. So the journal is trusted
//! within one boot of the machine only, and only with the store that it was written for. The time
//! from which it contains every nonce is on disk, flushed, and no older request is accepted. Before
//! a bucket is dropped, this time moves forward: a clock that goes back does not make requests
//! valid again whose nonces were dropped. If it is the time of a start, it follows the clock when
//! the clock is set: the uptime tells when the start was by the current clock.

mod record;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use parking_lot::Mutex;

use super::CLOCK_WINDOW_SECONDS;
use super::nonce_set::NonceSet;
use crate::model::{AccessKeyId, Time, clock};
use crate::store::{MetadataValue, Store, StoreError};
pub use record::LastJournal;
use record::{Clocks, JournalDirectory, Record};

/// The format of the files in the journal's directory. A new one needs a golden state
/// (`tests/golden/README.md`).
pub const FORMAT: u32 = 2;

/// Until then the store refuses what it does not know after a promotion.
const _: () = assert!(CLOCK_WINDOW_SECONDS == crate::store::REPLAY_SECONDS);
const BUCKET_SECONDS: i64 = 120;
const ENTRY_BYTES: usize = 8;
const SUFFIX: &str = "nonces";
/// A file of version 0.1.0 with only the boot id.
const OLD_BOOT_FILE: &str = "machine-start";
/// The clock counts as behind if it is by more seconds than a start may have to wait.
const BEHIND_SECONDS: i64 = 2;

/// The store's metadata with the id of the replay journal that it was last served with; empty if
/// unknown. Each gateway of a cluster has its own.
pub const REPLAY_JOURNAL: &str = "replay-journal";

/// Why the replay journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read or written.
    #[error("cannot read or write the replay journal {}", .path.display())]
    File {
        /// Its directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The id of the journal cannot be read from the store or written to it.
    #[error("cannot read or write the replay journal's id in the store")]
    Store(#[from] StoreError),
}

/// The result of using a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUse {
    /// It was unused, and is recorded now.
    First,
    /// It was used before.
    Repeated,
    /// The request is so old that its nonce may have been dropped.
    TooOld,
}

/// Remembers every nonce while its request could be replayed.
#[derive(Debug)]
pub struct ReplayGuard {
    directory: PathBuf,
    /// The record on disk. Locked while it is written; the request path never locks it.
    record: Mutex<Record>,
    /// In seconds since 1970. Changed under the lock of the buckets.
    trusted_from: AtomicI64,
    /// Whether the log has reported that the clock is behind.
    has_logged_clock_behind: AtomicBool,
    buckets: Mutex<BTreeMap<i64, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    used: NonceSet,
    journal: File,
    /// The bucket is kept until then, whatever the wall clock says: a clock that jumps ahead and
    /// back would otherwise make the gateway reject valid requests.
    keep_until: Instant,
}

impl ReplayGuard {
    /// Opens the journal in `directory`, which is created if missing, and reads the nonces that are
    /// still valid. Blocking. `served` is the journal that the store names;
    /// [`ReplayGuard::journal`] must be stored before a request is accepted.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read or written.
    pub fn open(directory: &Path, served: &LastJournal, now: Time) -> Result<Self, ReplayError> {
        Self::open_at(directory, served, Clocks::at(now))
    }

    /// As [`ReplayGuard::open`] for the gateway that serves with `store`, which names the previous
    /// journal and gets the id of this one.
    ///
    /// # Errors
    /// As [`ReplayGuard::open`], and when the store cannot be read or written.
    pub async fn open_for(store: &Store, directory: &Path, now: Time) -> Result<Self, ReplayError> {
        let last = last_journal(store).await?;
        let replay = Self::open(directory, &last, now)?;
        let journal = replay.journal();
        if last != LastJournal::Id(journal.clone()) {
            match store.set_metadata(&store.own_entry(REPLAY_JOURNAL), &journal).await {
                // A later start does not know this journal, and trusts no older request.
                Ok(()) | Err(StoreError::Standby) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(replay)
    }

    fn open_at(
        directory: &Path,
        served: &LastJournal,
        clocks: Clocks,
    ) -> Result<Self, ReplayError> {
        let fault = |source| ReplayError::File { path: directory.to_owned(), source };
        make_private(directory).map_err(fault)?;
        let contents = JournalDirectory::read(directory).map_err(fault)?;
        let (mut record, doubt) = Record::at_start(contents, served, record::boot_id(), clocks);
        let (buckets, last_expired) = read_buckets(directory, clocks.now).map_err(fault)?;
        if let Some(last) = last_expired {
            record = record.without_older_than(trusted_without(last));
        }
        record.write(directory).map_err(fault)?;
        // Only after the record is on disk, which rejects requests whose nonces are removed.
        let _ = std::fs::remove_file(directory.join(OLD_BOOT_FILE));
        if let Some(last) = last_expired {
            remove_up_to(directory, last).map_err(fault)?;
        }
        if let Some(doubt) = doubt {
            let from = Time::from_unix(record.trusted_from);
            let reason = doubt.text();
            tracing::warn!(event = "replay.older_requests_refused", reason, %from,
                "rejecting requests that were signed before this start");
        }
        Ok(Self {
            directory: directory.to_owned(),
            trusted_from: AtomicI64::new(record.trusted_from),
            has_logged_clock_behind: AtomicBool::new(false),
            record: Mutex::new(record),
            buckets: Mutex::new(buckets),
        })
    }

    /// The id of the journal.
    pub fn journal(&self) -> String {
        self.record.lock().journal.clone()
    }

    /// Requests dated before this time are rejected: their nonces may be dropped or lost.
    pub fn trusted_from(&self) -> Time {
        Time::from_unix(self.trusted_from.load(Ordering::Relaxed))
    }

    /// Uses the nonce of an AccessKey in a request of this date, which is within the clock window,
    /// and returns whether that was its first use.
    ///
    /// # Errors
    /// When the nonce cannot be written; it then counts as unused.
    pub fn try_use(
        &self,
        access_key: &AccessKeyId,
        nonce: &str,
        timestamp: Time,
        now: Time,
    ) -> Result<NonceUse, ReplayError> {
        self.try_use_at(access_key, nonce, timestamp, (now, clock::monotonic()))
    }

    /// The nonce of an AccessKey as gateways of a cluster share it, and the time after which its request is
    /// too old.
    pub fn shared_entry(access_key: &AccessKeyId, nonce: &str, timestamp: Time) -> (i64, Time) {
        let entry = entry(access_key, nonce).cast_signed();
        (entry, timestamp.plus_seconds(CLOCK_WINDOW_SECONDS))
    }

    fn try_use_at(
        &self,
        access_key: &AccessKeyId,
        nonce: &str,
        timestamp: Time,
        (now, moment): (Time, Instant),
    ) -> Result<NonceUse, ReplayError> {
        let entry = entry(access_key, nonce);
        let expires = timestamp.unix().saturating_add(CLOCK_WINDOW_SECONDS);
        let number = expires.div_euclid(BUCKET_SECONDS);
        let mut buckets = self.buckets.lock();
        // Under the lock: the bucket may just have been dropped.
        if timestamp < self.trusted_from() {
            return Ok(NonceUse::TooOld);
        }
        if buckets.values().any(|bucket| bucket.used.contains(entry)) {
            return Ok(NonceUse::Repeated);
        }
        let keep_until = moment + time_left(expires, now);
        let fault = |source| ReplayError::File { path: self.directory.clone(), source };
        let bucket = match buckets.entry(number) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(
                Bucket::open(&self.directory, number, NonceSet::default(), keep_until)
                    .map_err(fault)?,
            ),
        };
        bucket.append(entry).map_err(fault)?;
        bucket.keep_until = bucket.keep_until.max(keep_until);
        Ok(NonceUse::First)
    }

    /// The date from which requests are accepted, if the clock is so far behind it that every
    /// request is rejected.
    pub fn clock_behind(&self, now: Time) -> Option<Time> {
        let from = self.trusted_from();
        (from > now.plus_seconds(BEHIND_SECONDS)).then_some(from)
    }

    /// Follows the clock, and drops the nonces whose requests are too old to be replayed. Blocking:
    /// before it drops anything, it writes to disk that requests of that age are rejected. A clock
    /// that is behind is logged once.
    ///
    /// # Errors
    /// When a file cannot be written; nothing is dropped then.
    pub fn forget_expired(&self, now: Time) -> Result<(), ReplayError> {
        self.adjust_to_clocks(Clocks::at(now))?;
        self.forget_expired_at(now, clock::monotonic())?;
        let behind = self.clock_behind(now);
        let was_behind = self.has_logged_clock_behind.swap(behind.is_some(), Ordering::Relaxed);
        match behind {
            Some(from) if !was_behind => tracing::error!(
                event = "replay.clock_behind",
                %now,
                %from,
                "the clock is behind: rejecting all requests, because the nonces of requests with \
                 such dates are removed or lost"
            ),
            None if was_behind => tracing::info!(
                event = "replay.clock_recovered",
                "the clock is no longer behind; accepting requests"
            ),
            _ => {}
        }
        Ok(())
    }

    /// Accepts no request from before now: other gateways of the cluster may have accepted it, and the
    /// database does not know its nonce any more. Blocking.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn refuse_older(&self, now: Time) -> Result<(), ReplayError> {
        let fault = |source| ReplayError::File { path: self.directory.clone(), source };
        let mut record = self.record.lock();
        // Dates have whole seconds, and one in this second may be older.
        let next = record.without_older_than(now.unix().saturating_add(1));
        next.write(&self.directory).map_err(fault)?;
        let buckets = self.buckets.lock();
        self.trusted_from.store(next.trusted_from, Ordering::Relaxed);
        drop(buckets);
        *record = next;
        Ok(())
    }

    /// Corrects the time of an untrusted start by the current clock, if the clock was set.
    fn adjust_to_clocks(&self, clocks: Clocks) -> Result<(), ReplayError> {
        let fault = |source| ReplayError::File { path: self.directory.clone(), source };
        let mut record = self.record.lock();
        let Some(next) = record.adjusted_to_clocks(clocks) else { return Ok(()) };
        next.write(&self.directory).map_err(fault)?;
        let buckets = self.buckets.lock();
        self.trusted_from.store(next.trusted_from, Ordering::Relaxed);
        drop(buckets);
        let from = Time::from_unix(next.trusted_from);
        tracing::warn!(event = "replay.start_time_corrected", %from,
            "the clock was set; corrected the time before which requests are rejected");
        *record = next;
        Ok(())
    }

    fn forget_expired_at(&self, now: Time, moment: Instant) -> Result<(), ReplayError> {
        let fault = |source| ReplayError::File { path: self.directory.clone(), source };
        let mut record = self.record.lock();
        let last = {
            let buckets = self.buckets.lock();
            let is_over = |(number, bucket): &(&i64, &Bucket)| {
                is_expired(**number, now) && bucket.keep_until <= moment
            };
            buckets.iter().take_while(is_over).map(|(number, _bucket)| *number).last()
        };
        let Some(last) = last else { return Ok(()) };
        let next = record.without_older_than(trusted_without(last));
        if next != *record {
            next.write(&self.directory).map_err(fault)?;
            *record = next;
        }
        let forgotten = {
            let mut buckets = self.buckets.lock();
            self.trusted_from.store(record.trusted_from, Ordering::Relaxed);
            let kept = buckets.split_off(&(last.saturating_add(1)));
            std::mem::replace(&mut *buckets, kept)
        };
        for number in forgotten.keys() {
            // A remaining file is removed at the next start.
            let _ = std::fs::remove_file(file_of(&self.directory, *number));
        }
        Ok(())
    }
}

/// Reads the journal id from the store. A store of version 0.1.0 does not name it, and has an
/// instance from its first start on.
async fn last_journal(store: &Store) -> Result<LastJournal, StoreError> {
    let name = store.own_entry(REPLAY_JOURNAL);
    let last = store.read_metadata(&name, |text| Some(text.to_owned())).await?;
    Ok(match last {
        MetadataValue::Read(journal) => LastJournal::Id(journal),
        MetadataValue::Damaged => LastJournal::Unknown,
        MetadataValue::Absent if store.has_instance().await? => LastJournal::Unknown,
        MetadataValue::Absent => LastJournal::Absent,
    })
}

impl Bucket {
    fn open(
        directory: &Path,
        number: i64,
        used: NonceSet,
        keep_until: Instant,
    ) -> io::Result<Self> {
        let path = file_of(directory, number);
        let journal = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bucket = Self { used, journal, keep_until };
        // A process that died within a write leaves a partial entry.
        bucket.truncate_partial_entry()?;
        Ok(bucket)
    }

    fn append(&mut self, entry: u64) -> io::Result<()> {
        if let Err(error) = self.journal.write_all(&entry.to_be_bytes()) {
            // So does a full disk: every later entry would be misaligned.
            self.truncate_partial_entry()?;
            return Err(error);
        }
        self.used.insert(entry);
        Ok(())
    }

    fn truncate_partial_entry(&self) -> io::Result<()> {
        let length = self.journal.metadata()?.len();
        let partial = length % u64::try_from(ENTRY_BYTES).map_err(io::Error::other)?;
        if partial != 0 {
            self.journal.set_len(length - partial)?;
        }
        Ok(())
    }
}

/// SHA-256 over AccessKey and nonce, truncated to 64 bits. A used nonce is never accepted. A new
/// one is rejected with a probability of 10^-12 at a constant 20,000 calls a second, of 10^-13 at
/// 1,000: once in years, and the client's next call has another nonce.
fn entry(access_key: &AccessKeyId, nonce: &str) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    // An AccessKey id has no zero byte, so the boundary of the two parts is unambiguous.
    for part in [access_key.as_str().as_bytes(), &[0], nonce.as_bytes()] {
        hash.update(part);
    }
    let hash = hash.finish();
    u64::from_be_bytes(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

fn is_expired(bucket_number: i64, now: Time) -> bool {
    bucket_end(bucket_number) <= now.unix()
}

/// The time when every nonce of a bucket has expired.
fn bucket_end(bucket_number: i64) -> i64 {
    bucket_number.saturating_add(1).saturating_mul(BUCKET_SECONDS)
}

/// The earliest date of a request whose nonce is in none of the buckets up to this one.
fn trusted_without(bucket_number: i64) -> i64 {
    bucket_end(bucket_number).saturating_sub(CLOCK_WINDOW_SECONDS)
}

/// The time until `until`, at most the lifetime of a nonce.
fn time_left(until: i64, now: Time) -> Duration {
    let most = 2 * CLOCK_WINDOW_SECONDS + BUCKET_SECONDS;
    let seconds = until.saturating_sub(now.unix()).clamp(0, most);
    Duration::from_secs(seconds.unsigned_abs())
}

fn file_of(directory: &Path, bucket_number: i64) -> PathBuf {
    directory.join(format!("{bucket_number}.{SUFFIX}"))
}

/// Creates the directory for its owner only. One of an older version could be read by others.
fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if std::fs::metadata(directory)?.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The numbers of all buckets that have a file.
fn bucket_files(directory: &Path) -> io::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|is| is == SUFFIX) {
            numbers.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<i64>().ok()));
        }
    }
    Ok(numbers)
}

/// Reads the buckets that are still valid, and the number of the last one that is not.
fn read_buckets(directory: &Path, now: Time) -> io::Result<(BTreeMap<i64, Bucket>, Option<i64>)> {
    let (mut buckets, mut last_expired) = (BTreeMap::new(), None);
    let moment = clock::monotonic();
    for number in bucket_files(directory)? {
        if is_expired(number, now) {
            last_expired = last_expired.max(Some(number));
            continue;
        }
        let mut used = NonceSet::default();
        for entry in std::fs::read(file_of(directory, number))?.as_chunks().0 {
            used.insert(u64::from_be_bytes(*entry));
        }
        let keep_until = moment + time_left(bucket_end(number), now);
        buckets.insert(number, Bucket::open(directory, number, used, keep_until)?);
    }
    Ok((buckets, last_expired))
}

fn remove_up_to(directory: &Path, last: i64) -> io::Result<()> {
    for number in bucket_files(directory)? {
        if number <= last {
            std::fs::remove_file(file_of(directory, number))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
