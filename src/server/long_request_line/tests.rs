//! Sequences of requests, split into pieces of every size.

use super::*;

/// A reader that behaves like the library: it reads complete heads, then bodies by
/// `content-length`, and informs the splitter.
#[derive(Default)]
struct Reader {
    splitter: RequestLineSplitter,
    buffer: Vec<u8>,
    requests: Vec<(String, Option<Bytes>, Vec<u8>)>,
    body_left: usize,
}

impl Reader {
    fn read(pieces: &[&[u8]], room: usize) -> Self {
        let mut reader = Self::default();
        for piece in pieces {
            if reader.splitter.is_holding() {
                reader.splitter.held_mut().extend_from_slice(piece);
            } else {
                let count = reader.splitter.arrive(piece);
                reader.take(&piece[..count]);
            }
            reader.drain(room);
        }
        reader
    }

    fn drain(&mut self, room: usize) {
        let mut space = vec![0; room];
        loop {
            let mut out = ReadBuf::new(&mut space);
            if self.splitter.pass(&mut out) == 0 {
                break;
            }
            let bytes = out.filled().to_vec();
            self.take(&bytes);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        loop {
            if self.body_left > 0 {
                let count = self.body_left.min(self.buffer.len());
                let body = self.buffer.drain(..count);
                self.requests.last_mut().unwrap().2.extend(body);
                self.body_left -= count;
                if self.body_left > 0 {
                    return;
                }
            }
            let Some(end) = HeadScan::default().end_of_head(&self.buffer) else { return };
            let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            self.body_left = length.map_or(0, |text| text.parse().unwrap());
            let query = self.splitter.enter(Some(self.body_left as u64)).unwrap();
            let line = head.trim_start().lines().next().unwrap().to_owned();
            self.requests.push((line, query, Vec::new()));
        }
    }
}

const SHORT: &str = "GET /?a=1 HTTP/1.1\r\nhost: h\r\n\r\n";

fn long_query(byte: char) -> String {
    byte.to_string().repeat(98_000)
}

fn long(byte: char, body: &str) -> String {
    let query = long_query(byte);
    let length = body.len();
    format!("POST /?{query} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A body that looks like a request must stay a body.
fn conversation() -> String {
    let trap = long('t', "");
    let with_trap = format!("POST / HTTP/1.1\ncontent-length: {}\n\n{trap}", trap.len());
    [SHORT, &long('x', "A=1"), "\r\n", &with_trap, &long('y', &trap), SHORT].concat()
}

fn check_conversation(reader: &Reader) {
    let trap = long('t', "");
    let lines: Vec<&str> = reader.requests.iter().map(|(line, ..)| line.as_str()).collect();
    let queries: Vec<_> = reader.requests.iter().map(|(_, query, _)| query.clone()).collect();
    let bodies: Vec<&[u8]> = reader.requests.iter().map(|(.., body)| &body[..]).collect();
    let (get, post) = ("GET /?a=1 HTTP/1.1", "POST / HTTP/1.1");
    assert_eq!(lines, [get, post, post, post, get]);
    let (x, y) = (long_query('x').into(), long_query('y').into());
    assert!(queries == [None, Some(x), None, Some(y), None]);
    assert!(bodies == [&b""[..], b"A=1", trap.as_bytes(), trap.as_bytes(), b""]);
}

#[test]
fn long_queries_are_kept_and_other_bytes_pass_however_they_are_split() {
    let all = conversation();
    for size in [1, 7, 4096, 8191, 65_536, all.len()] {
        for room in [1000, 8192, 300_000] {
            let pieces: Vec<&[u8]> = all.as_bytes().chunks(size).collect();
            check_conversation(&Reader::read(&pieces, room));
        }
    }
}

#[test]
fn the_bytes_may_be_split_anywhere() {
    let message = [SHORT, &long('x', "A=1&b"), SHORT].concat();
    let long_at = SHORT.len();
    let tail_at = long_at + 98_000;
    let near_ends = (0..long_at + 20).chain(tail_at - 10..message.len());
    for at in near_ends.chain((long_at..tail_at).step_by(7919)) {
        let (first, second) = message.as_bytes().split_at(at);
        let reader = Reader::read(&[first, second], 8192);
        assert_eq!(reader.requests.len(), 3, "{at}");
        let (line, query, body) = &reader.requests[1];
        assert_eq!((line.as_str(), &body[..]), ("POST / HTTP/1.1", &b"A=1&b"[..]), "{at}");
        assert!(query.as_deref() == Some(long_query('x').as_bytes()), "{at}");
        assert_eq!(reader.requests[2].0, "GET /?a=1 HTTP/1.1", "{at}");
    }
}

fn passed_at_once(bytes: &[u8]) -> bool {
    RequestLineSplitter::default().arrive(bytes) == bytes.len()
}

#[test]
fn a_common_request_passes_without_a_copy() {
    assert!(passed_at_once(SHORT.as_bytes()));
}

#[test]
fn bytes_that_are_not_a_request_line_pass_at_once() {
    for bytes in [
        &b"\x16\x03\x01"[..],
        b"PRI * HTTP/2.0",
        b"get /",
        b" /",
        b"POST  /",
        b"POST http://h/",
        b"ABCDEFGHIJKLMNOPQ",
    ] {
        assert!(passed_at_once(bytes), "{bytes:?}");
    }
    for bytes in [&b"P"[..], b"POST", b"POST ", b"POST /?a"] {
        assert!(!passed_at_once(bytes), "{bytes:?}");
    }
}

#[test]
fn a_line_that_is_too_long_or_not_legal_passes_to_be_refused() {
    let too_long = format!("POST /?{}", "x".repeat(LONGEST_LINE_BYTES));
    let query = long_query('x');
    let with_space = format!("POST /?{query} {query} HTTP/1.1\r\n\r\n");
    let no_query = format!("POST /{query} HTTP/1.1\r\n\r\n");
    for text in [too_long, with_space, no_query] {
        assert!(passed_at_once(text.as_bytes()), "{}", &text[..9]);
    }
}

#[test]
fn held_bytes_pass_at_the_end_of_the_input() {
    let mut splitter = RequestLineSplitter::default();
    assert_eq!(splitter.arrive(b"POST /?a"), 0);
    splitter.end();
    let mut space = [0; 64];
    let mut out = ReadBuf::new(&mut space);
    assert_eq!(splitter.pass(&mut out), 8);
    assert_eq!(out.filled(), b"POST /?a");
}

#[test]
fn nothing_is_shortened_after_a_disagreement_with_the_library() {
    // The library reads on although the head has passed.
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(SHORT.as_bytes());
    assert!(passed_whole(&mut splitter, &long('x', "")));
    // The body is chunked.
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(SHORT.as_bytes());
    assert_eq!(splitter.enter(None), Ok(None));
    assert!(passed_whole(&mut splitter, &long('x', "")));
    // The library has parsed a head where none has ended.
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(b"GET / HTTP/1.1\r\n");
    assert_eq!(splitter.enter(Some(0)), Ok(None));
    assert!(passed_whole(&mut splitter, &long('x', "")));
}

fn passed_whole(splitter: &mut RequestLineSplitter, text: &str) -> bool {
    splitter.arrive(text.as_bytes()) == text.len()
}

#[test]
fn a_query_is_never_given_to_another_request() {
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(long('x', "").as_bytes());
    let mut space = [0; 12];
    splitter.pass(&mut ReadBuf::new(&mut space));
    assert_eq!(splitter.enter(Some(0)), Err(FramingError::Desynchronized));
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNKS: &str = "4;name=\"value\"\r\nab\r\n\r\nA  \r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n";

/// Passes on as many bytes as belong to the head.
fn pass_head(splitter: &mut RequestLineSplitter, text: &str, size: usize) {
    for piece in text.as_bytes().chunks(size) {
        let mut count = splitter.arrive(piece);
        let mut space = [0; 4096];
        while count < piece.len() {
            let passed = splitter.pass(&mut ReadBuf::new(&mut space));
            assert!(passed > 0);
            count += passed;
        }
    }
}

#[test]
fn a_request_with_both_lengths_is_found_wherever_they_stand_and_however_they_are_cut() {
    for (fields, result) in [
        (
            "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
            Err(FramingError::ConflictingLengths),
        ),
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            Err(FramingError::ConflictingLengths),
        ),
        (
            "a: b\nCONTENT-LENGTH:3\ntransfer-encoding: chunked\n",
            Err(FramingError::ConflictingLengths),
        ),
        ("transfer-encoding: chunked\r\nx-content-length: 3\r\n", Ok(None)),
        ("transfer-encoding: chunked\r\ncontent-lengths: 3\r\n", Ok(None)),
        ("transfer-encoding: chunked\r\na: content-length: 3\r\n", Ok(None)),
    ] {
        for size in [1, 3, 1000] {
            let head = format!("POST /content-length:3 HTTP/1.1\r\n{fields}\r\n");
            let mut splitter =
                RequestLineSplitter { shortens: false, ..RequestLineSplitter::default() };
            pass_head(&mut splitter, &head, size);
            assert_eq!(splitter.enter(None), result, "{fields:?} by {size}");
        }
    }
}

#[test]
fn a_request_after_a_chunked_body_is_checked_but_not_shortened() {
    let both = "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    for size in [1, 2, 5, 1000] {
        let mut splitter =
            RequestLineSplitter { shortens: false, ..RequestLineSplitter::default() };
        pass_head(&mut splitter, CHUNKED, size);
        assert_eq!(splitter.enter(None), Ok(None));
        pass_head(&mut splitter, CHUNKS, size);
        assert_eq!(splitter.stage, Stage::Line, "by {size}");
        pass_head(&mut splitter, both, size);
        assert_eq!(splitter.enter(None), Err(FramingError::ConflictingLengths), "by {size}");
    }
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(CHUNKED.as_bytes());
    assert_eq!(splitter.enter(None), Ok(None));
    assert!(passed_whole(&mut splitter, CHUNKS));
    assert!(passed_whole(&mut splitter, &long('x', "")));
}

#[test]
fn a_request_after_a_chunked_body_without_chunks_is_shortened() {
    for size in [1, 2, 1000] {
        let mut splitter = RequestLineSplitter::default();
        // The SDK for Java sends every call so, on one connection.
        for _ in 0..3 {
            assert!(passed_whole(&mut splitter, CHUNKED));
            assert_eq!(splitter.enter(None), Ok(None));
            pass_head(&mut splitter, "0\r\n\r\n", size);
            assert!(splitter.shortens, "by {size}");
        }
        assert!(!passed_whole(&mut splitter, &long('x', "")));
    }
    for body in ["0;a\r\n\r\n", "00\r\n\r\n", "0\r\n\n", "0\r\na: b\r\n\r\n", CHUNKS] {
        let mut splitter = RequestLineSplitter::default();
        for body in [body, "0\r\n\r\n"] {
            pass_head(&mut splitter, CHUNKED, 1000);
            assert_eq!(splitter.enter(None), Ok(None));
            pass_head(&mut splitter, body, 1000);
            assert_eq!(splitter.stage, Stage::Line, "{body:?}");
            assert!(!splitter.shortens, "{body:?}");
        }
        assert!(passed_whole(&mut splitter, &long('x', "")));
    }
}

#[test]
fn a_request_with_an_unchecked_chunked_body_is_not_started() {
    let mut splitter = RequestLineSplitter::default();
    splitter.arrive(CHUNKED.as_bytes());
    assert_eq!(splitter.enter(None), Ok(None));
    assert!(passed_whole(&mut splitter, "no size\r\n"));
    assert!(passed_whole(&mut splitter, CHUNKED));
    assert_eq!(splitter.enter(None), Err(FramingError::Desynchronized));
}
