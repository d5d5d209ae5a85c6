//! The position up to which a receiver has the records, kept in the state directory.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::chain::Head;
use crate::model::clock;

/// How often a position is written at most. After a kill, records since then are sent again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The position in a file.
#[derive(Debug)]
pub(super) struct PositionFile {
    path: PathBuf,
    target: String,
    saved: Option<Head>,
    saved_at: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    target: String,
    #[serde(flatten)]
    head: Head,
}

impl PositionFile {
    /// The position of this target, if the file has one.
    pub(super) fn open(path: PathBuf, target: String) -> Self {
        let text = std::fs::read(&path).ok();
        let saved = text.and_then(|text| serde_json::from_slice::<Saved>(&text).ok());
        let saved = saved.filter(|saved| saved.target == target).map(|saved| saved.head);
        Self { path, target, saved, saved_at: None }
    }

    pub(super) const fn saved(&self) -> Option<Head> {
        self.saved
    }

    /// Saves a position, unless the last one was saved a moment ago.
    pub(super) fn save(&mut self, head: Head) -> io::Result<()> {
        if self.saved_at.is_some_and(|at| clock::since(at) < SAVE_INTERVAL) {
            return Ok(());
        }
        self.save_now(head)
    }

    /// Saves a position.
    pub(super) fn save_now(&mut self, head: Head) -> io::Result<()> {
        if self.saved == Some(head) {
            return Ok(());
        }
        self.saved_at = Some(clock::monotonic());
        let saved = Saved { target: self.target.clone(), head };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(directory)?;
        serde_json::to_writer(&mut file, &saved)?;
        file.write_all(b"\n")?;
        file.persist(&self.path)?;
        self.saved = Some(head);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_of_one_target() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("position.json");
        let head = Head::START.followed_by(b"record");
        let open = |target: &str| PositionFile::open(path.clone(), target.to_owned());
        let mut position = open("one");
        assert_eq!(position.saved(), None);
        position.save(head).unwrap();
        position.save(head.followed_by(b"a moment later")).unwrap();
        assert_eq!(open("one").saved(), Some(head));
        assert_eq!(open("other").saved(), None);
        position.save_now(head.followed_by(b"last")).unwrap();
        assert_eq!(open("one").saved().map(|head| head.sequence), Some(2));
    }
}
