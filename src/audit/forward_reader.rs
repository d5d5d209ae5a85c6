//! Reads the records to forward from the audit files, so that forwarding never delays a request and
//! continues after an outage.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::chain::Head;
use super::continuity::parts_after;
use super::line::{Line, MAX_LINE_BYTES, is_checkpoint, key_bits};

/// Bytes to read at once, and the size of a batch.
const BLOCK_BYTES: usize = 256 * 1024;
/// Maximum number of sections that wait to be read, each with an open file. Older ones are searched
/// for by their names.
const MAX_SECTIONS: usize = 32;

/// A section of a file that the gateway itself writes: from an opening record to the next one.
/// What others wrote between two sections is not forwarded.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// The record before the section.
    pub(super) after: Head,
    pub(super) file: Arc<File>,
    /// Where the section begins in the file.
    pub(super) offset: u64,
}

/// The sections that are not read yet, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Sections(Arc<Mutex<VecDeque<Section>>>);

impl Sections {
    pub(super) fn push(&self, section: Section) {
        let mut sections = self.0.lock();
        if sections.len() >= MAX_SECTIONS {
            sections.pop_front();
        }
        sections.push_back(section);
    }

    /// The next section, if it begins at this record or before.
    fn next_at(&self, position: Head) -> Option<Section> {
        let mut sections = self.0.lock();
        let begins = sections.front().is_some_and(|next| next.after.sequence <= position.sequence);
        if begins { sections.pop_front() } else { None }
    }

    /// The record before the next section.
    fn next_after(&self) -> Option<Head> {
        self.0.lock().front().map(|next| next.after)
    }
}

/// Which records are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    Records,
    Checkpoints,
}

/// Records in their order.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// The selected lines, each with its newline.
    pub(super) lines: Vec<u8>,
    /// The last record that was read.
    pub(super) end: Head,
    /// Records that could not be read, because their file is missing.
    pub(super) lost: u64,
}

/// Reads records from a position on.
#[derive(Debug)]
pub(super) struct RecordReader {
    path: PathBuf,
    selection: Selection,
    sections: Sections,
    position: Head,
    /// The open file, and where to read next.
    open: Option<(Arc<File>, u64)>,
    /// Files with earlier records, oldest first, and where to read each.
    parts: VecDeque<(PathBuf, u64)>,
    /// The position from which files were searched for last.
    searched_from: Option<Head>,
}

impl RecordReader {
    /// Reads the records after `position`, in the directory of the audit file or in the sections.
    pub(super) fn new(
        path: &Path,
        selection: Selection,
        sections: Sections,
        position: Head,
    ) -> Self {
        Self {
            path: path.to_owned(),
            selection,
            sections,
            position,
            open: None,
            parts: VecDeque::new(),
            searched_from: None,
        }
    }

    /// Continues after an earlier record.
    pub(super) fn rewind(&mut self, position: Head) {
        if position == self.position {
            return;
        }
        self.position = position;
        self.open = None;
        self.parts.clear();
        self.searched_from = None;
    }

    /// The next records up to `head`, the last one on disk.
    pub(super) fn read(&mut self, head: Head) -> io::Result<Batch> {
        let mut batch = Batch { lines: Vec::new(), end: self.position, lost: 0 };
        // The position may be in records that a start did not continue.
        self.begin_section();
        while batch.lines.len() < BLOCK_BYTES && self.position.sequence < head.sequence {
            self.begin_section();
            let is_read = match self.open.take() {
                Some((file, offset)) => self.read_block(file, offset, head, &mut batch)?,
                None => false,
            };
            if !is_read && !self.find_next()? {
                self.pass_lost(head, &mut batch);
            }
        }
        batch.end = self.position;
        Ok(batch)
    }

    fn begin_section(&mut self) {
        if let Some(section) = self.sections.next_at(self.position) {
            self.position = section.after;
            self.open = Some((section.file, section.offset));
            self.parts.clear();
        }
    }

    /// Reads complete lines up to the end of the section. Returns whether there was one, or the
    /// section is read.
    fn read_block(
        &mut self,
        file: Arc<File>,
        mut offset: u64,
        head: Head,
        batch: &mut Batch,
    ) -> io::Result<bool> {
        let block = block_at(&file, offset)?;
        let limit = self
            .sections
            .next_after()
            .map_or(head.sequence, |next| next.sequence.min(head.sequence));
        let mut is_read = false;
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let is_full = batch.lines.len() >= BLOCK_BYTES;
            if is_full || self.position.sequence >= limit {
                break;
            }
            is_read = true;
            offset = offset.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
            self.take(text, batch);
        }
        self.open = Some((file, offset));
        Ok(is_read || self.position.sequence >= limit)
    }

    /// Takes a line if it is the next record.
    fn take(&mut self, text: &[u8], batch: &mut Batch) {
        let next = self.position.sequence.saturating_add(1);
        if key_bits(text) != Some(next) {
            return;
        }
        let Some(chain) = Line::chain_of(text) else { return };
        self.position = Head { sequence: next, chain };
        if self.selection == Selection::Records || is_checkpoint(text) {
            batch.lines.extend_from_slice(text);
            batch.lines.push(b'\n');
        }
    }

    /// Opens the next file with records. Returns whether there is one.
    fn find_next(&mut self) -> io::Result<bool> {
        self.open = None;
        if self.parts.is_empty() && self.searched_from != Some(self.position) {
            self.searched_from = Some(self.position);
            let found = match parts_after(&self.path, self.position) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                found => found.ok().flatten(),
            };
            self.parts = found.unwrap_or_default().into();
        }
        let Some((path, offset)) = self.parts.pop_front() else { return Ok(false) };
        match File::open(path) {
            Ok(file) => self.open = Some((Arc::new(file), offset)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// No file has the next record: continues at the next section, or after the last record.
    fn pass_lost(&mut self, head: Head, batch: &mut Batch) {
        let next = self.sections.next_after().filter(|next| next.sequence <= head.sequence);
        let next = next.unwrap_or(head);
        let lost = next.sequence.saturating_sub(self.position.sequence);
        batch.lost = batch.lost.saturating_add(lost);
        self.position = next;
    }
}

/// Bytes at an offset, with at least one complete line, if there is one.
fn block_at(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    let length = read_at(file, &mut block, offset)?;
    block.truncate(length);
    if length == BLOCK_BYTES && !block.contains(&b'\n') {
        block.resize(2 * MAX_LINE_BYTES, 0);
        let length = read_at(file, &mut block, offset)?;
        block.truncate(length);
    }
    Ok(block)
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::line::{self, Kind};
    use super::*;

    /// Writes events to a file after `head`, and returns the last one.
    fn append(path: &Path, head: Head, count: usize) -> Head {
        let mut lines = std::fs::read(path).unwrap_or_default();
        let mut last = head;
        for number in 0..count {
            let kind = if number % 3 == 2 { Kind::Checkpoint } else { Kind::Event };
            last = line::append(&mut lines, last, kind, &line::members(&json!({"number": number})));
        }
        std::fs::write(path, lines).unwrap();
        last
    }

    fn section(path: &Path, after: Head) -> Section {
        let file = File::open(path).unwrap();
        let offset = file.metadata().unwrap().len();
        Section { after, file: Arc::new(file), offset }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        let lines = batch.lines.split(|byte| *byte == b'\n');
        lines.filter_map(key_bits).collect()
    }

    #[test]
    fn records_of_others_between_two_sections_are_not_read() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, b"").unwrap();
        let sections = Sections::default();
        sections.push(section(&path, Head::START));
        let third = append(&path, Head::START, 3);
        // A good continuation of the chain, but not by the gateway.
        append(&path, third, 4);
        sections.push(section(&path, third));
        let fifth = append(&path, third, 2);
        let mut reader =
            RecordReader::new(&path, Selection::Records, sections.clone(), Head::START);
        let batch = reader.read(fifth).unwrap();
        assert_eq!(numbers(&batch), [1, 2, 3, 4, 5]);
        assert_eq!((batch.end, batch.lost), (fifth, 0));
        assert_eq!(numbers(&reader.read(fifth).unwrap()), [0; 0]);
        // The received records are not those that the gateway continues.
        let eighth = append(&path, fifth, 3);
        sections.push(section(&path, fifth));
        let seventh = append(&path, fifth, 2);
        let mut reader = RecordReader::new(&path, Selection::Records, sections, eighth);
        let batch = reader.read(seventh).unwrap();
        assert_eq!((numbers(&batch), batch.end), (vec![6, 7], seventh));
    }

    #[test]
    fn records_whose_file_is_missing_are_counted() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("audit.jsonl");
        let fourth = append(&directory.path().join("away"), Head::START, 4);
        let sixth = append(&path, fourth, 2);
        std::fs::remove_file(directory.path().join("away")).unwrap();
        let sections = Sections::default();
        sections.push(Section {
            after: fourth,
            file: Arc::new(File::open(&path).unwrap()),
            offset: 0,
        });
        let mut reader = RecordReader::new(&path, Selection::Records, sections, Head::START);
        let batch = reader.read(sixth).unwrap();
        assert_eq!((numbers(&batch), batch.lost, batch.end), (vec![5, 6], 4, sixth));
    }

    #[test]
    fn only_checkpoints_are_selected() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("audit.jsonl");
        let last = append(&path, Head::START, 7);
        let sections = Sections::default();
        let file = Arc::new(File::open(&path).unwrap());
        sections.push(Section { after: Head::START, file, offset: 0 });
        let mut reader = RecordReader::new(&path, Selection::Checkpoints, sections, Head::START);
        let batch = reader.read(last).unwrap();
        assert_eq!((numbers(&batch), batch.end), (vec![3, 6], last));
    }
}
