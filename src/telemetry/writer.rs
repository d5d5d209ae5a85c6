//! Writes log lines to standard error without blocking the threads that serve.
//!
//! A write may block, for a slow reader or for another thread that is writing, and a blocked thread
//! serves no connection. Therefore a separate thread writes, several lines at a time if they are
//! waiting. A line is written within [`FLUSH_INTERVAL`]. A warning or an error is written before the
//! call that logs it returns, with all lines before it, so that the cause of a crash can be read.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines may gather. Two hundred writes a second cost little, and no reader needs more.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);

/// With more waiting bytes, the thread that adds a line also writes. This bounds the memory that a slow
/// reader can use.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Waiting lines and their sink. Clones share both.
#[derive(Debug)]
pub(super) struct NonBlockingWriter<W>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    output: Mutex<Output<W>>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    is_thread_asleep: bool,
}

#[derive(Debug)]
struct Output<W> {
    sink: W,
    /// Written already: kept for its memory.
    spare: Vec<u8>,
}

impl<W> Clone for NonBlockingWriter<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> NonBlockingWriter<W> {
    fn new(sink: W) -> Self {
        Self(Arc::new(Shared {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            output: Mutex::new(Output { sink, spare: Vec::new() }),
        }))
    }

    /// Writes all lines that wait.
    pub(super) fn flush(&self) {
        // The thread that holds the output takes the waiting lines and writes them, so they stay in order.
        let mut output = self.0.output.lock();
        let mut lines = std::mem::take(&mut output.spare);
        std::mem::swap(&mut self.0.waiting.lock().lines, &mut lines);
        // An error of the log has no place to be reported.
        let _ = output.sink.write_all(&lines);
        lines.clear();
        output.spare = lines;
    }

    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.0.waiting.lock();
        waiting.lines.extend_from_slice(line);
        let is_full = waiting.lines.len() > MAX_WAITING_BYTES;
        let wakes = std::mem::take(&mut waiting.is_thread_asleep);
        drop(waiting);
        if is_urgent || is_full {
            self.flush();
        }
        if wakes {
            self.0.arrived.notify_one();
        }
    }

    fn run(&self) {
        loop {
            let mut waiting = self.0.waiting.lock();
            while waiting.lines.is_empty() {
                waiting.is_thread_asleep = true;
                self.0.arrived.wait(&mut waiting);
            }
            drop(waiting);
            self.flush();
            thread::sleep(FLUSH_INTERVAL);
        }
    }
}

impl<W: Write + Send + 'static> NonBlockingWriter<W> {
    /// A writer to `sink`, with the thread that writes the lines.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(sink: W) -> io::Result<Self> {
        let lines = Self::new(sink);
        let writer = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(lines)
    }
}

/// The writer of one event.
pub(super) struct EventWriter<'a, W> {
    lines: &'a NonBlockingWriter<W>,
    is_urgent: bool,
}

impl<W: Write> Write for EventWriter<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + 'static> MakeWriter<'a> for NonBlockingWriter<W> {
    type Writer = EventWriter<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { lines: self, is_urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        EventWriter { lines: self, is_urgent: *event.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A sink that tells what it gets.
    struct Told(mpsc::Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_warning_takes_all_lines_before_it_along() {
        let lines = NonBlockingWriter::new(Vec::new());
        lines.add(b"one\n", false);
        assert!(lines.0.output.lock().sink.is_empty());
        lines.add(b"two\n", true);
        assert_eq!(lines.0.output.lock().sink, b"one\ntwo\n");
        lines.add(b"three\n", false);
        lines.flush();
        assert_eq!(lines.0.output.lock().sink, b"one\ntwo\nthree\n");
    }

    #[test]
    fn the_thread_writes_each_line_once_and_in_order() {
        let (told, written) = mpsc::channel();
        let lines = NonBlockingWriter::start(Told(told)).unwrap();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let line = format!("{number}\n");
            expected.extend_from_slice(line.as_bytes());
            lines.add(line.as_bytes(), number % 300 == 299);
        }
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.extend(written.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn a_slow_reader_has_the_callers_wait_and_not_the_memory_grow() {
        let lines = NonBlockingWriter::new(Vec::new());
        let line = vec![b'x'; 1000];
        for _ in 0..2 * MAX_WAITING_BYTES / line.len() {
            lines.add(&line, false);
        }
        assert!(lines.0.waiting.lock().lines.len() <= MAX_WAITING_BYTES);
        assert!(lines.0.output.lock().sink.len() >= MAX_WAITING_BYTES);
    }
}
