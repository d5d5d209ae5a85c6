//! Request lines that are too long for the HTTP library.
//!
//! The SDKs send every parameter in the request line. A legal call has up to 98 KB, but `http::Uri`
//! is limited to 65,534 bytes, and the library rejects longer lines itself. So this splitter stands
//! between the connection and the library: if a line is too long, its query is cut out and kept,
//! and the library reads the request without a query. It does so long before the limit: for a head
//! that does not fit into its first buffer the library uses larger ones, in which a value would remain.
//!
//! To find request lines the splitter must know the exact start of each message; otherwise it could
//! take a body for a request line. It follows the head to its empty line, and gets the length of
//! the body from the library's own parse of that head. If the two disagree, it passes everything on
//! unchanged. It does not depend on sockets, timers or parameters.
//!
//! It sees every head as it was sent, while the library drops a `Content-Length` next to a
//! `Transfer-Encoding`. So it also detects a request with both, for which a proxy may see another
//! end (RFC 9112, section 6.1). For that it also follows chunked bodies, but shortens no request
//! line after one, unless the body has no chunks: the SDK for Java sends such a body with every call.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

/// Request lines of up to this many bytes are passed to the library unchanged. With its headers the head fits
/// into 8 KiB.
const SHORT_LINE_BYTES: usize = 4_096;

/// Longer lines are passed to the library unchanged, and rejected there.
const LONGEST_LINE_BYTES: usize = 192 * 1024;

/// The longest method that is recognized; `OPTIONS` has 7 letters.
const LONGEST_METHOD_BYTES: usize = 16;

/// The header that is not allowed with `Transfer-Encoding`, and the end of its name.
const CONTENT_LENGTH: &[u8] = b"content-length:";

/// A chunked body without a chunk, extension or field, about whose end readers cannot disagree.
const EMPTY_CHUNKS: &[u8] = b"0\r\n\r\n";

/// Why a request cannot be separated from its neighbors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The library saw the end of the head elsewhere, while a query was kept for it or while the
    /// head defines the end of the body.
    #[error("the head of a request did not end where expected")]
    Desynchronized,
    /// The head defines two lengths of the body.
    #[error("a request has both Content-Length and Transfer-Encoding")]
    ConflictingLengths,
}

/// Follows the messages of one connection and keeps the queries that are too long for the library.
#[derive(Debug)]
pub struct RequestLineSplitter {
    stage: Stage,
    scan: HeadScan,
    /// Bytes that have arrived and may not pass yet, or for which there was no room.
    held: BytesMut,
    /// The number of bytes of `held` without a line feed.
    checked: usize,
    /// The start of a shortened line: it passes before `held`.
    front: Bytes,
    query: Option<Bytes>,
    /// Whether long lines are still shortened.
    shortens: bool,
    /// How many bytes of the current chunked body match [`EMPTY_CHUNKS`], if all do and long lines
    /// were shortened before it.
    empty_chunks: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// At the start of a message.
    Line,
    /// Within a head, after its request line.
    Head,
    /// The complete head has passed; the library must now start the request.
    HeadDone,
    /// The number of bytes of a body that still have to pass.
    Body(u64),
    /// Within a chunked body.
    Chunks(Chunks),
    /// The messages are no longer followed.
    Open,
}

enum LineAction {
    Wait,
    Pass(usize),
    Shorten(QueryRange),
}

/// The position of the query in a line: after the `?` and before the space.
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
            empty_chunks: None,
        }
    }
}

impl RequestLineSplitter {
    /// Takes bytes that have just arrived and returns how many of them, from the first, may be
    /// passed on in place; keeps a copy of the rest. Call it only if `is_holding` is false.
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

    /// Whether a head has started and not ended.
    pub fn is_within_head(&self) -> bool {
        self.is_holding() || self.stage == Stage::Head
    }

    /// Whether a head has started and its request has not.
    pub fn is_before_request(&self) -> bool {
        self.is_within_head() || self.stage == Stage::HeadDone
    }

    /// The kept bytes, to append what arrives next.
    pub fn held_mut(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Passes on the kept bytes that may pass, as far as there is room, and returns their number.
    pub fn pass(&mut self, out: &mut ReadBuf<'_>) -> usize {
        loop {
            if !self.front.is_empty() {
                let count = move_bytes(&mut self.front, out.remaining(), out);
                if self.front.is_empty() {
                    // It shares its memory with the query.
                    self.front = Bytes::new();
                }
                return count;
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
                    let count = move_bytes(&mut self.held, count, out);
                    if self.held.is_empty() {
                        // A body may have been in it.
                        self.held = BytesMut::new();
                    }
                    return count;
                }
            }
        }
    }

    /// Ends the input: kept bytes pass unchanged.
    pub fn end(&mut self) {
        self.stage = Stage::Open;
    }

    /// The library has parsed a head and starts its request, whose body has `body` bytes, or is
    /// chunked if unknown. Returns the query that was cut out of its request line.
    ///
    /// # Errors
    /// When a query is kept that may belong to another request; when the body is chunked and its
    /// head has a `Content-Length` too, or was not followed.
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
            self.empty_chunks = self.shortens.then_some(0);
            self.shortens = false;
            if is_in_sync && self.scan.has_content_length {
                return Err(FramingError::ConflictingLengths);
            }
        }
        let needs_sync = query.is_some() || body.is_none();
        if needs_sync && !is_in_sync { Err(FramingError::Desynchronized) } else { Ok(query) }
    }

    /// The next action for the start of `bytes`, at most `room` of them.
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
                    let count = end.unwrap_or(within.len());
                    self.match_empty_chunks(within.get(..count).unwrap_or(within));
                    count
                } else {
                    self.stage = Stage::Open;
                    within.len()
                }
            }
            // If the library reads on after a complete head, it has parsed the head differently.
            Stage::HeadDone | Stage::Open | Stage::Line => {
                self.stage = Stage::Open;
                within.len()
            }
        })
    }

    /// Shortens long lines again after a chunked body that is [`EMPTY_CHUNKS`], of which `bytes` are
    /// the next.
    fn match_empty_chunks(&mut self, bytes: &[u8]) {
        let Some(matched) = self.empty_chunks.take() else { return };
        match EMPTY_CHUNKS.get(matched..).and_then(|rest| rest.strip_prefix(bytes)) {
            Some([]) => self.shortens = true,
            Some(_) => self.empty_chunks = Some(matched + bytes.len()),
            None => {}
        }
    }

    /// Whether the line at the start of `bytes` may pass unchanged.
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

/// Moves up to `count` bytes to `out`, which must have room for them, and returns their number.
fn move_bytes(bytes: &mut impl Buf, count: usize, out: &mut ReadBuf<'_>) -> usize {
    let count = count.min(bytes.remaining());
    out.put(bytes.take(count));
    count
}

impl QueryRange {
    /// Finds the query in a request line that the library would accept if it were shorter.
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

/// Finds the empty line that ends a head, and whether a `Content-Length` precedes it. A line ends
/// with LF or CRLF, as in the library.
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
    /// After this many bytes that match [`CONTENT_LENGTH`].
    Name(usize),
}

impl HeadScan {
    /// The end of the head in `bytes`, if any; keeps the position otherwise.
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

/// Follows a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    /// Within the digits of a chunk size; the value so far.
    Size(u64),
    /// After them, in the same line.
    Extension(u64),
    /// The number of bytes of a chunk that are still to come.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd,
    /// After the last chunk: fields and an empty line, like a head.
    Trailer(HeadScan),
}

/// The body is not chunked, although its head says so. The library rejects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotChunks;

impl Chunks {
    /// The end of the body in `bytes`, if any; keeps the position otherwise.
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
