//! Request lines that are longer than the HTTP library takes.
//!
//! The SDKs send every parameter in the request line. A legal call makes one of up to 98 KB, but
//! `http::Uri` ends at 65,534 bytes and refuses what is longer before anyone sees it. So this
//! stands between the connection and the library: where a line is too long, its query is taken
//! out and kept, and the library reads the request as one without a query.
//!
//! To find the lines it must know where each message begins, to the byte; otherwise a body could
//! be read as a request line. It follows the head to its empty line and is told the length of the
//! body by the library's own reading of that head. The moment the two disagree it stops looking
//! and passes everything on. It knows nothing of sockets, timers or parameters.
//!
//! It sees every head as it was sent, and the library drops a `Content-Length` that stands beside a
//! `Transfer-Encoding`. So it is also what finds a request with both, whose end a proxy in front may
//! have seen elsewhere (RFC 9112, section 6.1). For that it follows bodies in chunks too, but shortens
//! nothing behind one.

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

/// Up to this many bytes a request line goes to the library as it is.
const SHORT_LINE_BYTES: usize = 60_000;

/// Beyond this many bytes a line goes to the library as it is, to be refused there.
const LONGEST_LINE_BYTES: usize = 192 * 1024;

/// The longest method that is looked for; `OPTIONS` has 7 letters.
const LONGEST_METHOD_BYTES: usize = 16;

/// The field that must not stand beside a `Transfer-Encoding`, and what ends its name.
const CONTENT_LENGTH: &[u8] = b"content-length:";

/// Why a request cannot be told from its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The library took the end of its head to be elsewhere, just where a query was being kept for it,
    /// or where its head would say how its body ends.
    #[error("the head of a request did not end where expected")]
    Desynchronized,
    /// Its head names two ends of its body.
    #[error("a request has both Content-Length and Transfer-Encoding")]
    ConflictingLengths,
}

/// Follows the messages of one connection and keeps the queries that are too long for the library.
#[derive(Debug)]
pub struct RequestLineSplitter {
    stage: Stage,
    scan: HeadScan,
    /// Bytes that have arrived and may not pass yet, or had no room.
    held: BytesMut,
    /// How many bytes of `held` hold no line feed.
    checked: usize,
    /// The start of a shortened line: it passes before `held`.
    front: Bytes,
    query: Option<Bytes>,
    /// Whether long lines are still shortened.
    shortens: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A message begins here.
    Line,
    /// Within a head, its first line decided.
    Head,
    /// The whole head has passed; the library must now begin to serve the request.
    HeadDone,
    /// So many bytes of a body are still to pass.
    Body(u64),
    /// Within a body in chunks.
    Chunks(Chunks),
    /// No longer followed.
    Open,
}

enum LineAction {
    Wait,
    Pass(usize),
    Shorten(QueryRange),
}

/// Where the query of a line stands: after the `?` and before the space.
#[derive(Debug, Clone, Copy)]
struct QueryRange {
    question_mark: usize,
    space: usize,
}

impl Default for RequestLineSplitter {
    fn default() -> Self {
        Self {
            stage: Stage::Line,
            scan: HeadScan::default(),
            held: BytesMut::new(),
            checked: 0,
            front: Bytes::new(),
            query: None,
            shortens: true,
        }
    }
}

impl RequestLineSplitter {
    /// Takes bytes that have just arrived and says how many of them, from the first, may be passed
    /// on from where they are; it keeps a copy of the rest. Only while nothing `is_holding`.
    pub fn arrive(&mut self, bytes: &[u8]) -> usize {
        let LineAction::Pass(count) = self.next_action(bytes, bytes.len()) else {
            self.held.extend_from_slice(bytes);
            return 0;
        };
        self.held.extend_from_slice(bytes.get(count..).unwrap_or_default());
        count
    }

    /// Whether bytes are kept that have not passed.
    pub fn is_holding(&self) -> bool {
        !(self.front.is_empty() && self.held.is_empty())
    }

    /// Whether a head has begun that has not ended.
    pub fn is_within_head(&self) -> bool {
        self.is_holding() || self.stage == Stage::Head
    }

    /// Whether a head has begun whose request is not being served yet.
    pub fn is_before_request(&self) -> bool {
        self.is_within_head() || self.stage == Stage::HeadDone
    }

    /// The bytes that are kept, for what arrives behind them to be added.
    pub fn held_mut(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Passes on what may pass of the bytes that are kept, as far as there is room for it, and
    /// says how many bytes that were.
    pub fn pass(&mut self, out: &mut ReadBuf<'_>) -> usize {
        loop {
            if !self.front.is_empty() {
                let front = self.front.split_to(self.front.len().min(out.remaining()));
                out.put_slice(&front);
                return front.len();
            }
            if self.held.is_empty() {
                return 0;
            }
            let held = std::mem::take(&mut self.held);
            let action = self.next_action(&held, out.remaining());
            self.held = held;
            match action {
                LineAction::Wait => return 0,
                LineAction::Shorten(query_range) => self.shorten(query_range),
                LineAction::Pass(count) => {
                    out.put_slice(&self.held.split_to(count.min(self.held.len())));
                    return count;
                }
            }
        }
    }

    /// Nothing more will arrive: what is kept passes as it is.
    pub fn end(&mut self) {
        self.stage = Stage::Open;
    }

    /// The library has read a head and begins to serve its request, whose body has `body` bytes, or
    /// is in chunks where that is not known. Gives the query that was kept from it.
    ///
    /// # Errors
    /// When there is a query but it cannot be sure that it is this request's; when the body is in
    /// chunks, and its head has a `Content-Length` too or cannot be looked at.
    pub fn enter(&mut self, body: Option<u64>) -> Result<Option<Bytes>, FramingError> {
        let is_in_sync = self.stage == Stage::HeadDone;
        self.stage = match body {
            Some(0) if is_in_sync => Stage::Line,
            Some(length) if is_in_sync => Stage::Body(length),
            None if is_in_sync => Stage::Chunks(Chunks::Size(0)),
            _ => Stage::Open,
        };
        let query = self.query.take();
        if body.is_none() {
            self.shortens = false;
            if is_in_sync && self.scan.has_content_length {
                return Err(FramingError::ConflictingLengths);
            }
        }
        let needs_sync = query.is_some() || body.is_none();
        if needs_sync && !is_in_sync { Err(FramingError::Desynchronized) } else { Ok(query) }
    }

    /// What may happen with the first of `bytes`, at most `room` of them.
    fn next_action(&mut self, bytes: &[u8], room: usize) -> LineAction {
        if self.stage == Stage::Line {
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                return LineAction::Pass(blank.min(room));
            }
            match self.classify_line(bytes) {
                LineAction::Pass(_) => self.begin_head(),
                other => return other,
            }
        }
        let within = bytes.get(..room).unwrap_or(bytes);
        LineAction::Pass(match self.stage {
            Stage::Head => self.scan.end_of_head(within).map_or(within.len(), |end| {
                self.stage = Stage::HeadDone;
                end
            }),
            Stage::Body(left) => {
                let count = within.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                self.stage = if left == 0 { Stage::Line } else { Stage::Body(left) };
                count
            }
            Stage::Chunks(mut chunks) => {
                if let Ok(end) = chunks.end_of_body(within) {
                    self.stage = end.map_or(Stage::Chunks(chunks), |_end| Stage::Line);
                    end.unwrap_or(within.len())
                } else {
                    self.stage = Stage::Open;
                    within.len()
                }
            }
            // To ask for more after a whole head is to have read that head differently.
            Stage::HeadDone | Stage::Open | Stage::Line => {
                self.stage = Stage::Open;
                within.len()
            }
        })
    }

    /// Whether the line at the start of `bytes` may pass as it is.
    fn classify_line(&mut self, bytes: &[u8]) -> LineAction {
        if !(self.shortens && may_be_request_line(bytes)) {
            return LineAction::Pass(bytes.len());
        }
        let unchecked = bytes.get(self.checked..).unwrap_or_default();
        let end = memchr::memchr(b'\n', unchecked).map(|at| self.checked + at);
        match end {
            None if bytes.len() <= LONGEST_LINE_BYTES => {
                self.checked = bytes.len();
                LineAction::Wait
            }
            Some(end) if (SHORT_LINE_BYTES..=LONGEST_LINE_BYTES).contains(&end) => {
                let query_range = bytes.get(..end).and_then(QueryRange::of);
                query_range.map_or(LineAction::Pass(bytes.len()), LineAction::Shorten)
            }
            _ => LineAction::Pass(bytes.len()),
        }
    }

    fn begin_head(&mut self) {
        self.stage = Stage::Head;
        self.scan = HeadScan::default();
        self.checked = 0;
    }

    fn shorten(&mut self, query_range: QueryRange) {
        let mut line = self.held.split_to(query_range.space.min(self.held.len()));
        self.front = line.split_to(query_range.question_mark.min(line.len())).freeze();
        let query = line.freeze();
        self.query = Some(query.slice(query.len().min(1)..));
        self.begin_head();
    }
}

impl QueryRange {
    /// Finds the query in a request line, where it is one that the library would take if only it
    /// were shorter.
    fn of(line: &[u8]) -> Option<Self> {
        let question_mark = memchr::memchr(b'?', line)?;
        let space = memchr::memrchr(b' ', line)?;
        let query = line.get(question_mark..space)?;
        let is_legal = query.iter().all(|byte| !matches!(byte, 0..=0x20 | 0x7f | b'#'));
        (question_mark <= SHORT_LINE_BYTES && is_legal).then_some(Self { question_mark, space })
    }
}

/// Whether `bytes` are `METHOD /...`, as far as they go.
fn may_be_request_line(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let rest = bytes.get(method..).unwrap_or_default();
    method <= LONGEST_METHOD_BYTES
        && matches!((method, rest), (_, []) | (1.., [b' '] | [b' ', b'/', ..]))
}

/// Finds the empty line that ends a head, and whether a `Content-Length` stands before it. A line
/// ends with a line feed or with both, as the library has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct HeadScan {
    position: ScanPosition,
    has_content_length: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ScanPosition {
    #[default]
    WithinLine,
    LineStart,
    AfterReturn,
    /// Behind so many bytes that are those of [`CONTENT_LENGTH`].
    Name(usize),
}

impl HeadScan {
    /// Where in `bytes` the head ends, if it does; else remembers where it stands.
    fn end_of_head(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest @ [first, ..]) = bytes.get(at..) {
            match (self.position, first) {
                (ScanPosition::WithinLine, _) => {
                    let feed = memchr::memchr(b'\n', rest)?;
                    at += feed + 1;
                    self.position = ScanPosition::LineStart;
                }
                (ScanPosition::LineStart | ScanPosition::AfterReturn, b'\n') => {
                    return Some(at + 1);
                }
                (ScanPosition::LineStart, b'\r') => {
                    at += 1;
                    self.position = ScanPosition::AfterReturn;
                }
                (ScanPosition::LineStart, _) => self.position = ScanPosition::Name(0),
                (ScanPosition::Name(same), _)
                    if CONTENT_LENGTH.get(same) == Some(&first.to_ascii_lowercase()) =>
                {
                    at += 1;
                    self.position = ScanPosition::Name(same + 1);
                    if same + 1 == CONTENT_LENGTH.len() {
                        self.has_content_length = true;
                        self.position = ScanPosition::WithinLine;
                    }
                }
                (ScanPosition::AfterReturn | ScanPosition::Name(_), _) => {
                    self.position = ScanPosition::WithinLine;
                }
            }
        }
        None
    }
}

/// Follows a body in chunks (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    /// Within the digits of a chunk's size, which is this so far.
    Size(u64),
    /// Behind them, in the same line.
    Extension(u64),
    /// So many bytes of a chunk are still to come.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd,
    /// Behind the last chunk: fields and an empty line, like a head.
    Trailer(HeadScan),
}

/// A body is not in chunks, though its head says so. The library refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotChunks;

impl Chunks {
    /// Where in `bytes` the body ends, if it does; else remembers where it stands.
    fn end_of_body(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotChunks> {
        let mut at = 0;
        while let Some(rest @ [first, ..]) = bytes.get(at..) {
            match self {
                Self::Size(size) => {
                    if let Some(digit) = char::from(*first).to_digit(16) {
                        let grown =
                            size.checked_mul(16).and_then(|size| size.checked_add(digit.into()));
                        *size = grown.ok_or(NotChunks)?;
                        at += 1;
                    } else if matches!(first, b'\r' | b';' | b' ' | b'\t') {
                        *self = Self::Extension(*size);
                    } else {
                        return Err(NotChunks);
                    }
                }
                Self::Extension(size) => {
                    let Some(feed) = memchr::memchr(b'\n', rest) else { return Ok(None) };
                    at += feed + 1;
                    *self = match *size {
                        0 => Self::Trailer(HeadScan {
                            position: ScanPosition::LineStart,
                            ..HeadScan::default()
                        }),
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                    at += count;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                }
                Self::DataEnd => match first {
                    b'\r' => at += 1,
                    b'\n' => {
                        at += 1;
                        *self = Self::Size(0);
                    }
                    _ => return Err(NotChunks),
                },
                Self::Trailer(scan) => return Ok(scan.end_of_head(rest).map(|end| at + end)),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
