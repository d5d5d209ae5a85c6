//! The replay journal's record on disk: its id, the boot of the machine in which it was written,
//! and the time from which it has every nonce.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::{Time, clock, random};

const FILE: &str = "trust.json";
const TEMPORARY_FILE: &str = "trust.json.new";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The clock was set if it and the uptime differ by more seconds than rounding explains.
const LARGEST_ROUNDING_SECONDS: u64 = 2;

/// The journal that the store was last served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastJournal {
    /// No gateway has served with this store, so no request was accepted before.
    Absent,
    /// A gateway has, but the store does not name the journal.
    Unknown,
    /// The journal with this id.
    Id(String),
}

/// The record on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The journal's id.
    pub(super) journal: String,
    /// The id of the boot in which the journal was written; `None` if the system has none.
    pub(super) boot: Option<String>,
    /// The nonce of every accepted request dated at this time or later, in seconds since 1970, is
    /// in the journal.
    pub(super) trusted_from: i64,
    /// The last start that trusted no older requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) doubtful_start: Option<UntrustedStart>,
}

/// A start that trusted no older requests, by two clocks: one that can be set, and one that cannot.
/// Requests from before it are rejected by its time on the current clock, so that no valid request
/// is rejected when a wrong clock is corrected after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UntrustedStart {
    /// The time of the start by the clock, in seconds since 1970.
    clock: i64,
    /// The time of the start in seconds since boot.
    uptime: i64,
    /// The time from which requests would be trusted without this start. No clock correction goes
    /// back beyond it: the nonces from before are dropped.
    floor: i64,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The clock, which can be set.
    pub(super) now: Time,
    /// Seconds since boot, including suspend time.
    pub(super) uptime: i64,
}

impl Clocks {
    /// With the current uptime.
    pub(super) fn at(now: Time) -> Self {
        Self { now, uptime: clock::seconds_since_boot() }
    }
}

impl UntrustedStart {
    /// Dates have whole seconds, and one in the second of the start may be older than the start.
    fn trusted_from(self) -> i64 {
        self.floor.max(self.clock.saturating_add(1))
    }
}

/// The contents of a directory when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JournalDirectory {
    /// Nothing.
    Empty,
    /// Files, but no readable record.
    NoRecord,
    /// A record.
    Record(Record),
}

/// Why requests from before a start are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UntrustedReason {
    /// The directory is empty, although the store was served before.
    Absent,
    /// No readable record.
    NoRecord,
    /// The machine was restarted since.
    Boot,
    /// The store was last served with another journal.
    Journal,
}

impl UntrustedReason {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Absent => "the replay journal is missing",
            Self::NoRecord => "the replay journal has no readable record",
            Self::Boot => "the machine was restarted since the replay journal was written",
            Self::Journal => "the store was last served with another replay journal",
        }
    }
}

impl Record {
    /// The record of a journal that is opened now, and why it does not trust earlier requests, if
    /// so.
    ///
    /// An untrusted start trusts requests from the next second on.
    pub(super) fn at_start(
        contents: JournalDirectory,
        served: &LastJournal,
        boot: Option<String>,
        clocks: Clocks,
    ) -> (Self, Option<UntrustedReason>) {
        let (known, doubt) = match contents {
            JournalDirectory::Empty if *served == LastJournal::Absent => (None, None),
            JournalDirectory::Empty => (None, Some(UntrustedReason::Absent)),
            JournalDirectory::NoRecord => (None, Some(UntrustedReason::NoRecord)),
            JournalDirectory::Record(record) => {
                let is_this_boot = boot.is_some() && record.boot == boot;
                let is_of_store = match served {
                    LastJournal::Absent => true,
                    LastJournal::Unknown => false,
                    LastJournal::Id(id) => *id == record.journal,
                };
                let doubt = if !is_this_boot {
                    Some(UntrustedReason::Boot)
                } else if !is_of_store {
                    Some(UntrustedReason::Journal)
                } else {
                    None
                };
                (Some(record), doubt)
            }
        };
        let known = known.unwrap_or_else(|| Self {
            journal: random::uuid().simple().to_string(),
            boot: None,
            trusted_from: i64::MIN,
            doubtful_start: None,
        });
        let record = if doubt.is_some() {
            let (clock, uptime) = (clocks.now.unix(), clocks.uptime);
            let start = UntrustedStart { clock, uptime, floor: known.floor() };
            Self { boot, trusted_from: start.trusted_from(), doubtful_start: Some(start), ..known }
        } else {
            let record = Self { boot, ..known };
            record.adjusted_to_clocks(clocks).unwrap_or(record)
        };
        (record, doubt)
    }

    /// The time from which requests would be trusted without an untrusted start.
    fn floor(&self) -> i64 {
        self.doubtful_start.map_or(self.trusted_from, |start| start.floor)
    }

    /// The record corrected by the current clocks; `None` if it does not change.
    pub(super) fn adjusted_to_clocks(&self, clocks: Clocks) -> Option<Self> {
        let start = self.doubtful_start?;
        let since = clocks.uptime.saturating_sub(start.uptime);
        // Both are truncated to seconds, so the start may be up to two seconds later than they say.
        let clock = clocks.now.unix().saturating_sub(since).saturating_add(1);
        if clock.abs_diff(start.clock) <= LARGEST_ROUNDING_SECONDS {
            return None;
        }
        let start = UntrustedStart { clock, ..start };
        let (trusted_from, doubtful_start) = (start.trusted_from(), Some(start));
        Some(Self { trusted_from, doubtful_start, ..self.clone() })
    }

    /// The record once every nonce of a request dated before `from` may be dropped.
    pub(super) fn without_older_than(&self, from: i64) -> Self {
        let raised =
            |start: UntrustedStart| UntrustedStart { floor: start.floor.max(from), ..start };
        Self {
            trusted_from: self.trusted_from.max(from),
            doubtful_start: self.doubtful_start.map(raised),
            ..self.clone()
        }
    }

    /// Replaces the record on disk.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let temporary = directory.join(TEMPORARY_FILE);
        let text = serde_json::to_string(self)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}

impl JournalDirectory {
    /// Reads the record in the directory.
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_or(Self::NoRecord, Self::Record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_empty = fs::read_dir(directory)?.next().is_none();
                Ok(if is_empty { Self::Empty } else { Self::NoRecord })
            }
            Err(error) => Err(error),
        }
    }
}

/// The id of this boot of the machine.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string(BOOT_ID).ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn start(
        contents: JournalDirectory,
        served: &LastJournal,
        boot: Option<&str>,
    ) -> (i64, Option<UntrustedReason>) {
        let clocks = Clocks { now: Time::from_unix(NOW), uptime: 100 };
        let (record, doubt) =
            Record::at_start(contents, served, boot.map(ToOwned::to_owned), clocks);
        (record.trusted_from, doubt)
    }

    fn contents(trusted_from: i64) -> JournalDirectory {
        let (journal, boot) = ("j".to_owned(), Some("b".to_owned()));
        JournalDirectory::Record(Record { journal, boot, trusted_from, doubtful_start: None })
    }

    #[test]
    fn only_the_journal_of_this_boot_and_this_store_is_trusted() {
        let (this, nothing) = (LastJournal::Id("j".to_owned()), LastJournal::Absent);
        let other = LastJournal::Id("k".to_owned());
        let doubtful = |doubt| (NOW + 1, Some(doubt));
        assert_eq!(start(contents(7), &this, Some("b")), (7, None));
        assert_eq!(start(contents(7), &nothing, Some("b")), (7, None));
        assert_eq!(start(contents(7), &other, Some("b")), doubtful(UntrustedReason::Journal));
        assert_eq!(
            start(contents(7), &LastJournal::Unknown, Some("b")),
            doubtful(UntrustedReason::Journal)
        );
        assert_eq!(start(contents(7), &this, Some("c")), doubtful(UntrustedReason::Boot));
        assert_eq!(start(contents(7), &this, None), doubtful(UntrustedReason::Boot));
        assert_eq!(start(JournalDirectory::Empty, &nothing, Some("b")), (i64::MIN, None));
        assert_eq!(
            start(JournalDirectory::Empty, &this, Some("b")),
            doubtful(UntrustedReason::Absent)
        );
        assert_eq!(
            start(JournalDirectory::Empty, &LastJournal::Unknown, None),
            doubtful(UntrustedReason::Absent)
        );
        assert_eq!(
            start(JournalDirectory::NoRecord, &nothing, Some("b")),
            doubtful(UntrustedReason::NoRecord)
        );
    }

    /// Another form is another [`FORMAT`](super::super::FORMAT), and needs a golden state.
    #[test]
    fn the_record_on_disk_has_the_form_of_format_2() {
        assert_eq!(super::super::FORMAT, 2);
        let JournalDirectory::Record(plain) = contents(7) else { panic!() };
        let json = |record: &Record| serde_json::to_string(record).unwrap();
        assert_eq!(json(&plain), r#"{"journal":"j","boot":"b","trusted_from":7}"#);
        let start = UntrustedStart { clock: 9, uptime: 5, floor: 7 };
        let doubtful = Record { doubtful_start: Some(start), ..plain };
        let told = r#""doubtful_start":{"clock":9,"uptime":5,"floor":7}"#;
        assert!(json(&doubtful).contains(told), "{}", json(&doubtful));
    }

    #[test]
    fn no_start_trusts_what_an_earlier_one_did_not() {
        let this = LastJournal::Id("j".to_owned());
        let later = NOW + 50;
        assert_eq!(start(contents(later), &this, Some("c")), (later, Some(UntrustedReason::Boot)));
    }
}
