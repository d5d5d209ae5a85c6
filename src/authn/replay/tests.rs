use std::fs;

use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_000_000;

/// A journal's directory, and the store that it was served with.
struct Bench {
    directory: TempDir,
    served: LastJournal,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), served: LastJournal::Absent }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("replay")
    }

    /// Starts a gateway on a machine whose clock is right.
    fn start_at(&mut self, now: Time) -> ReplayGuard {
        self.start_by(now, now)
    }

    /// Starts a gateway while the clock shows `now`, at the real time `time`.
    fn start_by(&mut self, now: Time, time: Time) -> ReplayGuard {
        let guard = ReplayGuard::open_at(&self.path(), &self.served, clocks(now, time)).unwrap();
        self.served = LastJournal::Id(guard.journal());
        guard
    }

    fn start(&mut self) -> ReplayGuard {
        self.start_at(time(0))
    }

    /// Simulates a restart of the machine.
    fn change_boot(&self) {
        let JournalDirectory::Record(record) = JournalDirectory::read(&self.path()).unwrap() else {
            panic!()
        };
        Record { boot: Some("another".to_owned()), ..record }.write(&self.path()).unwrap();
    }

    fn journals(&self) -> Vec<i64> {
        bucket_files(&self.path()).unwrap()
    }
}

fn key(id: &str) -> AccessKeyId {
    id.parse().unwrap()
}

fn time(offset: i64) -> Time {
    Time::from_unix(NOW + offset)
}

/// The clock, and the uptime at that time.
fn clocks(now: Time, time: Time) -> Clocks {
    Clocks { now, uptime: time.unix() - NOW + 5000 }
}

fn first(guard: &ReplayGuard, nonce: &str, timestamp: Time, now: Time) -> bool {
    guard.try_use(&key("a"), nonce, timestamp, now).unwrap() == NonceUse::First
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_nonce_counts_once_for_an_access_key_across_restarts() {
    let mut bench = Bench::new();
    for start in 0..3 {
        let guard = bench.start();
        assert_eq!(first(&guard, "1", time(0), time(0)), start == 0);
    }
    let guard = bench.start();
    assert_eq!(guard.try_use(&key("b"), "1", time(0), time(0)).unwrap(), NonceUse::First);
    assert!(first(&guard, "2", time(0), time(0)));
    assert_eq!(guard.try_use(&key("a"), "2", time(600), time(0)).unwrap(), NonceUse::Repeated);
}

#[test]
fn ten_thousand_replays_are_refused_across_a_restart_too() {
    let mut bench = Bench::new();
    for is_first in [true, false] {
        let guard = bench.start();
        for number in 0..10_000_i64 {
            let (dated, nonce) = (time(number % 900), number.to_string());
            assert_eq!(first(&guard, &nonce, dated, time(0)), is_first, "{number}");
            assert!(!first(&guard, &nonce, dated, time(0)));
        }
    }
}

#[test]
fn expired_nonces_are_removed_with_their_files() {
    let mut bench = Bench::new();
    let (guard, begin) = (bench.start(), Instant::now());
    assert!(first(&guard, "1", time(0), time(0)));
    let later = 900 + BUCKET_SECONDS;
    let moment = begin + Duration::from_secs(later.unsigned_abs() + 1);
    assert!(first(&guard, "2", time(later), time(later)));
    guard.forget_expired_at(time(later), moment).unwrap();
    assert_eq!(bench.journals().len(), 1);
    // Whatever the clock says from now on.
    assert_eq!(guard.try_use(&key("a"), "1", time(0), time(0)).unwrap(), NonceUse::TooOld);
    assert!(!first(&guard, "2", time(later), time(later)));
    let from = guard.trusted_from();
    assert!(from > time(0) && from <= time(BUCKET_SECONDS), "{from:?}");
    drop(guard);
    assert_eq!(bench.start_at(time(later)).trusted_from(), from);
}

#[test]
fn a_clock_that_jumps_ahead_and_back_removes_no_nonce_and_rejects_no_valid_request() {
    let mut bench = Bench::new();
    let guard = bench.start();
    assert!(first(&guard, "1", time(0), time(0)));
    let ahead = time(3600);
    assert!(first(&guard, "2", ahead, ahead));
    guard.forget_expired(ahead).unwrap();
    assert!(!first(&guard, "1", time(0), time(1)));
    assert!(first(&guard, "3", time(1), time(1)));
}

#[test]
fn a_start_while_the_clock_is_ahead_accepts_no_replay_after_it_is_corrected() {
    let mut bench = Bench::new();
    assert!(first(&bench.start(), "1", time(0), time(0)));
    drop(bench.start_at(time(7200)));
    assert_eq!(bench.journals(), [0_i64; 0]);
    let guard = bench.start_at(time(1));
    assert_eq!(guard.try_use(&key("a"), "1", time(0), time(1)).unwrap(), NonceUse::TooOld);
}

#[test]
fn a_clock_behind_the_removed_nonces_is_reported() {
    let mut bench = Bench::new();
    assert!(first(&bench.start(), "1", time(0), time(0)));
    let guard = bench.start_at(time(7200));
    assert_eq!(guard.clock_behind(time(7200)), None);
    assert_eq!(guard.clock_behind(time(-86_400)), Some(guard.trusted_from()));
}

#[test]
fn a_corrected_clock_after_an_untrusted_start_rejects_no_valid_request() {
    let ahead = time(8 * 3600);
    for restarts in [false, true] {
        let mut bench = Bench::new();
        drop(bench.start());
        bench.change_boot();
        let mut guard = bench.start_by(ahead, time(0));
        assert_eq!(guard.clock_behind(time(3)), Some(time(8 * 3600 + 1)));
        if restarts {
            drop(guard);
            guard = bench.start_by(time(3), time(3));
        } else {
            guard.adjust_to_clocks(clocks(time(3), time(3))).unwrap();
        }
        assert_eq!(guard.clock_behind(time(3)), None);
        let use_of = |date| guard.try_use(&key("a"), "1", date, time(3)).unwrap();
        assert_eq!(use_of(time(0)), NonceUse::TooOld, "it may be older than the start");
        assert_eq!(use_of(time(3)), NonceUse::First);
        drop(guard);
        assert_eq!(bench.start_at(time(60)).trusted_from(), time(2));
    }
}

#[test]
fn a_clock_set_back_does_not_revalidate_requests_with_removed_nonces() {
    let mut bench = Bench::new();
    assert!(first(&bench.start(), "1", time(0), time(0)));
    bench.change_boot();
    let guard = bench.start_at(time(7200));
    guard.adjust_to_clocks(clocks(time(-3600), time(7203))).unwrap();
    let used = guard.try_use(&key("a"), "1", time(0), time(0)).unwrap();
    assert_eq!(used, NonceUse::TooOld);
    guard.adjust_to_clocks(clocks(time(7205), time(7205))).unwrap();
    assert_eq!(guard.trusted_from(), time(7202), "the time of the start did not move back");
}

#[test]
fn a_partial_entry_is_cut_off_and_the_rest_counts() {
    let mut bench = Bench::new();
    let guard = bench.start();
    assert!(first(&guard, "1", time(0), time(0)));
    let path = file_of(&bench.path(), bench.journals()[0]);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[1, 2, 3]).unwrap();
    assert!(first(&bench.start(), "2", time(0), time(0)));
    let guard = bench.start();
    assert!(!first(&guard, "1", time(0), time(0)));
    assert!(!first(&guard, "2", time(0), time(0)));
}

#[test]
fn a_partial_entry_on_a_full_disk_does_not_misalign_later_ones() {
    let mut bench = Bench::new();
    let guard = bench.start();
    assert!(first(&guard, "1", time(0), time(0)));
    {
        let mut buckets = guard.buckets.lock();
        let bucket = buckets.values_mut().next().unwrap();
        bucket.journal.write_all(&[1, 2, 3]).unwrap();
        bucket.truncate_partial_entry().unwrap();
    }
    assert!(first(&guard, "2", time(0), time(0)));
    let guard = bench.start();
    assert!(!first(&guard, "1", time(0), time(0)));
    assert!(!first(&guard, "2", time(0), time(0)));
}

#[test]
fn after_a_restart_of_the_machine_no_start_of_that_boot_trusts_older_requests() {
    let mut bench = Bench::new();
    assert_eq!(bench.start().trusted_from(), Time::from_unix(i64::MIN));
    bench.change_boot();
    for later in [0, 60, 600] {
        let guard = bench.start_at(time(later));
        assert_eq!(guard.trusted_from(), time(1));
        let used = guard.try_use(&key("a"), "1", time(0), time(later)).unwrap();
        assert_eq!(used, NonceUse::TooOld);
    }
}

#[test]
fn a_journal_that_is_lost_or_of_another_store_makes_a_start_trust_nothing_older() {
    let mut bench = Bench::new();
    drop(bench.start());
    fs::remove_dir_all(bench.path()).unwrap();
    assert_eq!(bench.start().trusted_from(), time(1));
    // Another store, which was served elsewhere.
    bench.served = LastJournal::Id("another".to_owned());
    assert_eq!(bench.start_at(time(50)).trusted_from(), time(51));
    assert_eq!(bench.start_at(time(60)).trusted_from(), time(51));
    fs::write(bench.path().join("trust.json"), "{").unwrap();
    assert_eq!(bench.start_at(time(70)).trusted_from(), time(71));
}

#[test]
fn a_journal_of_version_0_1_0_is_not_trusted_and_becomes_private() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path()).unwrap();
    fs::set_permissions(bench.path(), Permissions::from_mode(0o755)).unwrap();
    let old = bench.path().join(OLD_BOOT_FILE);
    fs::write(&old, record::boot_id().unwrap()).unwrap();
    bench.served = LastJournal::Unknown;
    let guard = bench.start();
    assert_eq!(guard.trusted_from(), time(1));
    assert!(first(&guard, "1", time(1), time(1)));
    assert!(!old.exists());
    assert_eq!(mode(&bench.path()), 0o700);
    for file in fs::read_dir(bench.path()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}
