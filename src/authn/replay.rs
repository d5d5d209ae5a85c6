//! Nonces that were used, in memory and in a journal that outlives the process.
//!
//! A nonce counts for the time in which its request could be sent again: until its timestamp has
//! left the clock window. Nonces are kept in buckets by the time at which they expire, a set in
//! memory and a file of 8-byte entries for each, so that forgetting is dropping a bucket.
//!
//! An entry is written before the request is answered, by one small append without a flush to
//! the disk: it outlives any end of the process, not a crash of the machine. After a restart of
//! the machine every request signed before the start is refused instead.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

use super::nonce_set::NonceSet;
use crate::model::{AccessKeyId, Time};

const BUCKET_SECONDS: i64 = 120;
const ENTRY_BYTES: usize = 8;
const SUFFIX: &str = "nonces";

/// The journal of nonces could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the replay journal {path} cannot be used")]
pub struct ReplayError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Remembers every nonce while its request could be sent again.
#[derive(Debug)]
pub struct ReplayGuard {
    directory: PathBuf,
    trusted_from: Option<Time>,
    buckets: Mutex<BTreeMap<i64, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    used: NonceSet,
    journal: File,
}

impl ReplayGuard {
    /// Opens the journal in `directory`, which is made when absent, and reads the nonces that
    /// still count.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read or written.
    pub fn open(directory: &Path, now: Time) -> Result<Self, ReplayError> {
        let fault = |source| ReplayError { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(fault)?;
        let machine_restarted = note_machine_start(directory).map_err(fault)?;
        let buckets = read_buckets(directory, now).map_err(fault)?;
        Ok(Self {
            directory: directory.to_owned(),
            trusted_from: machine_restarted.then_some(now),
            buckets: Mutex::new(buckets),
        })
    }

    /// Whether a request of this time may have been answered before the machine went down, with
    /// its nonce lost.
    pub fn is_before_trust(&self, timestamp: Time) -> bool {
        self.trusted_from.is_some_and(|from| timestamp < from)
    }

    /// Notes a nonce of an AccessKey and tells whether this is its first use.
    ///
    /// # Errors
    /// When the nonce cannot be written down; it then counts as unused.
    pub fn first_use(
        &self,
        access_key: &AccessKeyId,
        nonce: &str,
        expires: Time,
        now: Time,
    ) -> Result<bool, ReplayError> {
        let entry = entry(access_key, nonce);
        let bucket_number = expires.unix().div_euclid(BUCKET_SECONDS);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_expired(&mut buckets, now);
        if buckets.values().any(|bucket| bucket.used.contains(entry)) {
            return Ok(false);
        }
        let fault = |source| ReplayError { path: self.directory.clone(), source };
        let bucket = match buckets.entry(bucket_number) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(
                Bucket::open(&self.directory, bucket_number, NonceSet::default()).map_err(fault)?,
            ),
        };
        bucket.append(entry).map_err(fault)?;
        Ok(true)
    }

    fn forget_expired(&self, buckets: &mut BTreeMap<i64, Bucket>, now: Time) {
        while let Some(oldest) = buckets.first_entry() {
            if !is_expired(*oldest.key(), now) {
                break;
            }
            let (number, _bucket) = oldest.remove_entry();
            // A file that stays is read and removed at the next start.
            let _ = std::fs::remove_file(file_of(&self.directory, number));
        }
    }
}

impl Bucket {
    fn open(directory: &Path, number: i64, used: NonceSet) -> io::Result<Self> {
        let path = file_of(directory, number);
        let journal = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bucket = Self { used, journal };
        // A process that died within a write leaves a part of an entry behind.
        bucket.cut_torn_entry()?;
        Ok(bucket)
    }

    fn append(&mut self, entry: u64) -> io::Result<()> {
        if let Err(error) = self.journal.write_all(&entry.to_be_bytes()) {
            // So does a disk that is full: every later entry would be read out of step.
            self.cut_torn_entry()?;
            return Err(error);
        }
        self.used.insert(entry);
        Ok(())
    }

    fn cut_torn_entry(&self) -> io::Result<()> {
        let length = self.journal.metadata()?.len();
        let torn = length % u64::try_from(ENTRY_BYTES).map_err(io::Error::other)?;
        if torn != 0 {
            self.journal.set_len(length - torn)?;
        }
        Ok(())
    }
}

/// SHA-256 over AccessKey and nonce, cut to 64 bits. A nonce that was used is never taken for new. A
/// new one is taken for used with a chance of one in 10^12 at a steady 20,000 calls a second, of one
/// in 10^13 at 1,000: once in years, and the client's next call has another nonce.
fn entry(access_key: &AccessKeyId, nonce: &str) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    // An AccessKey id holds no zero byte, so the two parts cannot run into each other.
    for part in [access_key.as_str().as_bytes(), &[0], nonce.as_bytes()] {
        hash.update(part);
    }
    let hash = hash.finish();
    u64::from_be_bytes(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

fn is_expired(bucket_number: i64, now: Time) -> bool {
    bucket_number.saturating_add(1).saturating_mul(BUCKET_SECONDS) <= now.unix()
}

fn file_of(directory: &Path, bucket_number: i64) -> PathBuf {
    directory.join(format!("{bucket_number}.{SUFFIX}"))
}

fn read_buckets(directory: &Path, now: Time) -> io::Result<BTreeMap<i64, Bucket>> {
    let mut buckets = BTreeMap::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<i64>().ok());
        let (Some(number), true) = (number, path.extension().is_some_and(|is| is == SUFFIX)) else {
            continue;
        };
        if is_expired(number, now) {
            std::fs::remove_file(&path)?;
            continue;
        }
        let mut used = NonceSet::default();
        for entry in std::fs::read(&path)?.as_chunks().0 {
            used.insert(u64::from_be_bytes(*entry));
        }
        buckets.insert(number, Bucket::open(directory, number, used)?);
    }
    Ok(buckets)
}

/// Notes which start of the machine this is; true when it is another one than last time.
fn note_machine_start(directory: &Path) -> io::Result<bool> {
    let Ok(this_start) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else {
        return Ok(false);
    };
    let path = directory.join("machine-start");
    let last_start = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if last_start.as_deref() == Some(this_start.as_str()) {
        return Ok(false);
    }
    std::fs::write(path, this_start)?;
    Ok(last_start.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> AccessKeyId {
        id.parse().unwrap()
    }

    #[test]
    fn a_nonce_counts_once_for_an_access_key_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        let later = now.plus_seconds(900);
        for start in 0..3 {
            let guard = ReplayGuard::open(directory.path(), now).unwrap();
            let first = guard.first_use(&key("a"), "1", later, now).unwrap();
            assert_eq!(first, start == 0);
        }
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.first_use(&key("b"), "1", later, now).unwrap());
        assert!(guard.first_use(&key("a"), "2", later, now).unwrap());
        assert!(!guard.first_use(&key("a"), "2", later.plus_seconds(600), now).unwrap());
    }

    #[test]
    fn ten_thousand_replays_are_refused_across_a_restart_too() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        for is_first in [true, false] {
            let guard = ReplayGuard::open(directory.path(), now).unwrap();
            for number in 0..10_000_i64 {
                let expires = now.plus_seconds(900 + number % 900);
                let nonce = number.to_string();
                let used = guard.first_use(&key("a"), &nonce, expires, now).unwrap();
                assert_eq!(used, is_first, "{number}");
                assert!(!guard.first_use(&key("a"), &nonce, expires, now).unwrap());
            }
        }
    }

    #[test]
    fn nonces_are_forgotten_with_their_files_once_their_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.first_use(&key("a"), "1", now.plus_seconds(900), now).unwrap());
        let after = now.plus_seconds(900 + BUCKET_SECONDS);
        assert!(guard.first_use(&key("a"), "1", after.plus_seconds(900), after).unwrap());
        let files = std::fs::read_dir(directory.path()).unwrap();
        let journals = files.filter(|file| {
            file.as_ref().unwrap().path().extension().is_some_and(|is| is == SUFFIX)
        });
        assert_eq!(journals.count(), 1);
    }

    #[test]
    fn a_torn_entry_is_cut_off_and_the_rest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        let later = now.plus_seconds(900);
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.first_use(&key("a"), "1", later, now).unwrap());
        let path = file_of(directory.path(), later.unix().div_euclid(BUCKET_SECONDS));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[1, 2, 3]).unwrap();
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.first_use(&key("a"), "2", later, now).unwrap());
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(!guard.first_use(&key("a"), "1", later, now).unwrap());
        assert!(!guard.first_use(&key("a"), "2", later, now).unwrap());
    }

    #[test]
    fn an_entry_that_a_full_disk_tore_puts_no_later_one_out_of_step() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        let later = now.plus_seconds(900);
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.first_use(&key("a"), "1", later, now).unwrap());
        {
            let mut buckets = guard.buckets.lock().unwrap();
            let bucket = buckets.values_mut().next().unwrap();
            bucket.journal.write_all(&[1, 2, 3]).unwrap();
            bucket.cut_torn_entry().unwrap();
        }
        assert!(guard.first_use(&key("a"), "2", later, now).unwrap());
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(!guard.first_use(&key("a"), "1", later, now).unwrap());
        assert!(!guard.first_use(&key("a"), "2", later, now).unwrap());
    }

    #[test]
    fn after_a_restart_of_the_machine_older_requests_are_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let now = Time::from_unix(1_000_000);
        assert!(
            !ReplayGuard::open(directory.path(), now).unwrap().is_before_trust(Time::from_unix(0))
        );
        std::fs::write(directory.path().join("machine-start"), "another start").unwrap();
        let guard = ReplayGuard::open(directory.path(), now).unwrap();
        assert!(guard.is_before_trust(now.plus_seconds(-1)));
        assert!(!guard.is_before_trust(now));
    }
}
