//! Load: kept-alive connections that write requests as they are and wait for each answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use futures_util::future::try_join_all;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cpu;
use crate::requests::Requests;

const ANSWER_BYTES: usize = 16 * 1024;
/// No calls of several servers take longer; those that were made are counted.
const LONGEST_SHARED: Duration = Duration::from_mins(10);
const OK: &[u8] = b"HTTP/1.1 200 ";
const LENGTH: &[u8] = b"\r\ncontent-length: ";
const END: &[u8] = b"\r\n\r\n";

/// What was measured in one window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    /// Calls that were answered.
    pub(crate) count: usize,
    /// Calls a second.
    pub(crate) rate: f64,
    /// The median of the times that the callers waited.
    pub(crate) p50: Duration,
    /// What one in a hundred of them exceeded.
    pub(crate) p99: Duration,
    /// Processor time for each call.
    pub(crate) cpu: cpu::Shares,
}

/// The waiting times of one caller.
pub(crate) struct Record {
    until: Instant,
    begun: Instant,
    last: Instant,
    times: Vec<Duration>,
}

impl Record {
    pub(crate) fn until(until: Instant) -> Self {
        let now = Instant::now();
        Self { until, begun: now, last: now, times: Vec::with_capacity(1 << 14) }
    }

    /// Begins a call, unless the time is over.
    pub(crate) fn begin(&mut self) -> bool {
        self.begun = Instant::now();
        self.begun < self.until
    }

    pub(crate) fn end(&mut self) {
        self.last = Instant::now();
        self.times.push(self.last - self.begun);
    }
}

impl Window {
    pub(crate) fn of(start: Instant, records: Vec<Record>) -> Self {
        let last = records.iter().map(|record| record.last).max().unwrap_or(start);
        let mut times: Vec<Duration> =
            records.into_iter().flat_map(|record| record.times).collect();
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = times.len() as f64 / (last - start).as_secs_f64();
        Self { count: times.len(), rate, p50: at(50), p99: at(99), cpu: cpu::Shares::default() }
    }
}

/// Sends `requests` over so many connections for at most `length`, from a thread of its own. The
/// gateway takes each signed request once; where requests may repeat, they begin again at the end.
pub(crate) fn run(
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    length: Duration,
    may_repeat: bool,
) -> anyhow::Result<Window> {
    let requests = requests.clone();
    let callers = thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send(address, requests, connections, length, may_repeat))
    })?;
    callers.join().map_err(|_panic| anyhow!("the load panicked"))?
}

/// As [`run`], with the processor time for each call of the process with this id; `self` is this one.
pub(crate) fn run_in(
    process: &str,
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    length: Duration,
    may_repeat: bool,
) -> anyhow::Result<Window> {
    let before = cpu::Times::of(process)?;
    let mut window = run(address, requests, connections, length, may_repeat)?;
    window.cpu = cpu::Times::of(process)?.since(&before).for_each_of(window.count);
    Ok(window)
}

/// As [`run_in`], once for each request, until `left` is used up: several servers divide one number of calls as
/// they answer them.
#[allow(dead_code, clippy::allow_attributes, reason = "one benchmark has several servers")]
pub(crate) fn run_shared(
    process: &str,
    address: SocketAddr,
    requests: &Requests,
    connections: usize,
    left: &AtomicUsize,
) -> anyhow::Result<Window> {
    let before = cpu::Times::of(process)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let next = AtomicUsize::new(0);
    let take = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        requests.0.get(next.fetch_add(1, Ordering::Relaxed))
    };
    let mut window = runtime.block_on(async {
        let streams = connect(address, connections).await?;
        let start = Instant::now();
        let until = start + LONGEST_SHARED;
        let callers = streams.into_iter().map(|stream| call(stream, take, Record::until(until)));
        Ok::<_, anyhow::Error>(Window::of(start, try_join_all(callers).await?))
    })?;
    window.cpu = cpu::Times::of(process)?.since(&before).for_each_of(window.count);
    Ok(window)
}

async fn connect(address: SocketAddr, connections: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    Ok(streams)
}

async fn send(
    address: SocketAddr,
    requests: Requests,
    connections: usize,
    length: Duration,
    may_repeat: bool,
) -> anyhow::Result<Window> {
    let streams = connect(address, connections).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for stream in streams {
        let (requests, next) = (requests.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let take = || {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let count = requests.0.len();
                requests.0.get(if may_repeat { index % count } else { index })
            };
            call(stream, take, Record::until(start + length)).await
        });
    }
    let mut records = Vec::new();
    while let Some(record) = callers.join_next().await {
        records.push(record??);
    }
    Ok(Window::of(start, records))
}

async fn call<'a>(
    mut stream: TcpStream,
    mut take: impl FnMut() -> Option<&'a Vec<u8>>,
    mut record: Record,
) -> anyhow::Result<Record> {
    let mut buffer = Vec::with_capacity(ANSWER_BYTES);
    while record.begin() {
        let Some(request) = take() else { break };
        stream.write_all(request).await?;
        answer(&mut stream, &mut buffer).await?;
        record.end();
    }
    Ok(record)
}

/// Reads one answer to its end.
pub(crate) async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    buffer.clear();
    let mut whole = None;
    while whole.is_none_or(|length| buffer.len() < length) {
        ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        if whole.is_none() {
            whole = length(buffer)?;
        }
    }
    ensure!(buffer.starts_with(OK), "an answer is none: {}", String::from_utf8_lossy(buffer));
    ensure!(whole == Some(buffer.len()), "more came than was asked for");
    Ok(())
}

/// The length of head and body, once the head is there.
fn length(buffer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = memmem::find(buffer, END) else { return Ok(None) };
    let at = memmem::find(buffer, LENGTH).context("an answer without Content-Length")?;
    let digits = buffer.get(at + LENGTH.len()..).unwrap_or_default();
    let digits = digits.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let body: usize = std::str::from_utf8(digits)?.parse()?;
    Ok(Some(end + END.len() + body))
}
