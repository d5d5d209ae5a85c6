//! What the journal of nonces keeps about itself on disk: which journal it is, at which boot of the
//! machine it was written, and from when on it knows every nonce.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::Time;

const FILE: &str = "trust.json";
const DRAFT: &str = "trust.json.new";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the store tells of the journal that it was last served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServedWith {
    /// No gateway has served with this store: no request was accepted before.
    Nothing,
    /// A gateway has, and the store does not tell with which journal.
    Unknown,
    /// The journal with this id.
    Journal(String),
}

/// The record, as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The journal's id.
    pub(super) journal: String,
    /// The id of the boot of the machine in which the journal was written; none when the system
    /// does not tell.
    pub(super) boot: Option<String>,
    /// Every request dated at this time or later, in seconds since 1970, that was accepted has its
    /// nonce in the journal.
    pub(super) trusted_from: i64,
}

/// What a directory held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Files, but no record that can be read.
    NoRecord,
    /// A record.
    Record(Record),
}

/// Why requests from before a start are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The directory is empty, although the store was served before.
    Absent,
    /// There is no record that can be read.
    NoRecord,
    /// The machine has started since.
    Boot,
    /// The store was last served with another journal.
    Journal,
}

impl Doubt {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Absent => "there is no journal of used nonces",
            Self::NoRecord => "the journal of used nonces has no record that can be read",
            Self::Boot => "the machine has started since the journal of used nonces was written",
            Self::Journal => "the store was served with another journal of used nonces",
        }
    }
}

impl Record {
    /// The record of a journal that is opened now, and why it does not trust what was before.
    ///
    /// In doubt it trusts requests from the next second on: dates have whole seconds, and one of
    /// this second may be older than this start.
    pub(super) fn of_start(
        found: Found,
        served: &ServedWith,
        boot: Option<String>,
        now: Time,
    ) -> (Self, Option<Doubt>) {
        let (known, doubt) = match found {
            Found::Nothing if *served == ServedWith::Nothing => (None, None),
            Found::Nothing => (None, Some(Doubt::Absent)),
            Found::NoRecord => (None, Some(Doubt::NoRecord)),
            Found::Record(record) => {
                let is_this_boot = boot.is_some() && record.boot == boot;
                let is_of_store = match served {
                    ServedWith::Nothing => true,
                    ServedWith::Unknown => false,
                    ServedWith::Journal(id) => *id == record.journal,
                };
                let doubt = if !is_this_boot {
                    Some(Doubt::Boot)
                } else if !is_of_store {
                    Some(Doubt::Journal)
                } else {
                    None
                };
                (Some(record), doubt)
            }
        };
        let (journal, trusted_from) = match known {
            Some(record) => (record.journal, record.trusted_from),
            None => (Uuid::new_v4().simple().to_string(), i64::MIN),
        };
        let trusted_from = match doubt {
            Some(_) => trusted_from.max(now.plus_seconds(1).unix()),
            None => trusted_from,
        };
        (Self { journal, boot, trusted_from }, doubt)
    }

    /// Puts the record on disk in place of an older one.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let draft = directory.join(DRAFT);
        let text = serde_json::to_string(self)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}

impl Found {
    /// What is in the directory.
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_or(Self::NoRecord, Self::Record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_empty = fs::read_dir(directory)?.next().is_none();
                Ok(if is_empty { Self::Nothing } else { Self::NoRecord })
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

    fn start(found: Found, served: &ServedWith, boot: Option<&str>) -> (i64, Option<Doubt>) {
        let now = Time::from_unix(NOW);
        let (record, doubt) = Record::of_start(found, served, boot.map(ToOwned::to_owned), now);
        (record.trusted_from, doubt)
    }

    fn found(trusted_from: i64) -> Found {
        Found::Record(Record { journal: "j".to_owned(), boot: Some("b".to_owned()), trusted_from })
    }

    #[test]
    fn only_the_journal_of_this_boot_and_this_store_is_trusted() {
        let (this, nothing) = (ServedWith::Journal("j".to_owned()), ServedWith::Nothing);
        let other = ServedWith::Journal("k".to_owned());
        let doubtful = |doubt| (NOW + 1, Some(doubt));
        assert_eq!(start(found(7), &this, Some("b")), (7, None));
        assert_eq!(start(found(7), &nothing, Some("b")), (7, None));
        assert_eq!(start(found(7), &other, Some("b")), doubtful(Doubt::Journal));
        assert_eq!(start(found(7), &ServedWith::Unknown, Some("b")), doubtful(Doubt::Journal));
        assert_eq!(start(found(7), &this, Some("c")), doubtful(Doubt::Boot));
        assert_eq!(start(found(7), &this, None), doubtful(Doubt::Boot));
        assert_eq!(start(Found::Nothing, &nothing, Some("b")), (i64::MIN, None));
        assert_eq!(start(Found::Nothing, &this, Some("b")), doubtful(Doubt::Absent));
        assert_eq!(start(Found::Nothing, &ServedWith::Unknown, None), doubtful(Doubt::Absent));
        assert_eq!(start(Found::NoRecord, &nothing, Some("b")), doubtful(Doubt::NoRecord));
    }

    #[test]
    fn no_start_trusts_what_an_earlier_one_did_not() {
        let this = ServedWith::Journal("j".to_owned());
        let later = NOW + 50;
        assert_eq!(start(found(later), &this, Some("c")), (later, Some(Doubt::Boot)));
    }
}
