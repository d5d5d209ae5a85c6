//! One connection for the HTTP library: a byte stream with shortened request lines and a timeout
//! for every wait.
//!
//! The library's own timer for heads also runs while a kept-alive connection is idle, and would
//! close connections of SDKs that keep one connection and do not retry. So the waits are timed in
//! this file, which knows whether a head has begun.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::connection_failures::ClientPrefix;
use super::error_response::{ErrorForm, ErrorResponder, HttpError, refusal_of_library, written};
use super::long_request_line::{FramingError, RequestLineSplitter};
use super::metrics::ConnectionFailure;
use crate::model::clock;

/// The buffer space for bytes that arrive after held bytes.
const MORE_BYTES: usize = 64 * 1024;

/// The most bytes that the library gets at once: fewer than its smallest buffer, so that it does not
/// choose a larger one, of which it would pass only the unused end to the next read.
const LONGEST_READ_BYTES: usize = 8 * 1024 - 1;

/// The bytes that are read first: most requests are shorter. The buffer of a read is overwritten before.
const FIRST_READ_BYTES: usize = 2 * 1024;

/// The bytes that are read while the service processes a request, when nothing has to be overwritten: whether the
/// client is gone.
const PROBE_BYTES: usize = 64;

/// How long a connection may keep the service waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionTimeouts {
    /// From the start of the connection to the end of the first head.
    pub(super) first_head: Duration,
    /// From the first byte of a head to its last, and from a response to the next request on a
    /// connection without an authenticated caller.
    pub(super) head: Duration,
    /// From a response to the next request on a connection with an authenticated caller.
    pub(super) idle: Duration,
    /// For a client to read a response.
    pub(super) write: Duration,
}

impl ConnectionTimeouts {
    /// What a connection waits for when no request is in progress, and how long.
    fn of_wait(&self, state: &State) -> (Wait, Duration) {
        if state.requests_started == 0 {
            (Wait::Head, self.first_head)
        } else if state.splitter.is_within_head() {
            (Wait::Head, self.head)
        } else if state.has_authenticated_caller {
            (Wait::Idle, self.idle)
        } else {
            (Wait::Idle, self.head)
        }
    }
}

/// How long a connection with an authenticated caller is kept after its last response when others
/// need its slot. Go and OkHttp reuse a connection that was idle for up to 90 s, and resend a
/// request by themselves if it is closed; its nonce may be used by then.
const MIN_AUTHENTICATED_IDLE: Duration = Duration::from_secs(90);
/// How long a new connection has for its first request before it may be closed for others or by a
/// closing server: its client was accepted, and is about to send.
pub(super) const NEW_CONNECTION_GRACE: Duration = Duration::from_secs(1);

/// How well a connection can be closed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idleness {
    /// Lower values are closed first: no authenticated caller; an idle connection of an
    /// authenticated caller; a new one.
    pub(super) rank: u8,
    /// The start of the idle time.
    pub(super) since: Instant,
}

/// Why a request is not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestStartError {
    /// The request cannot be separated from its neighbors.
    FramingError(FramingError),
    /// The connection is being closed to make room.
    Closed,
}

/// The phase of the server between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connections are kept alive.
    Serving,
    /// Requests are answered, and each response closes its connection.
    Draining,
    /// Connections without a request are closed.
    Closing,
}

/// The state that the connection and its service share.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionState(Arc<Mutex<State>>);

/// The progress of the current request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RequestProgress {
    /// No request.
    #[default]
    None,
    /// The service waits for the body.
    ReadingBody,
    /// The service processes the request.
    Processing,
}

#[derive(Debug, Default)]
struct State {
    splitter: RequestLineSplitter,
    /// The number of requests that were started.
    requests_started: u64,
    progress: RequestProgress,
    /// Whether the response to the last request is not yet written to the socket.
    is_unflushed: bool,
    /// The error format that the arriving head seems to request.
    form: Option<&'static dyn ErrorForm>,
    /// The first bytes of the client.
    prefix: ClientPrefix,
    /// Why the connection carried no request.
    failure: Option<ConnectionFailure>,
    /// Whether a caller on this connection was authenticated, or a request was answered with
    /// success: an unauthenticated client has neither.
    has_authenticated_caller: bool,
    /// When the last response was sent.
    answered: Option<Instant>,
    /// Whether the connection is being closed to make room, so that no request may start on it.
    is_closed: bool,
    /// The bytes that were passed on since the buffer of the library was last overwritten to this length.
    passed_bytes: usize,
}

/// Marks a request as being served while it lives: the connection waits for the service.
pub(super) struct RequestGuard(ConnectionState);

impl ConnectionState {
    /// Records that a request with `body` bytes of body, if known, is being served. Returns the
    /// query that was cut from its request line.
    ///
    /// # Errors
    /// When the request cannot be separated from its neighbors, or the connection is being closed.
    pub(super) fn enter(
        &self,
        body: Option<u64>,
    ) -> Result<(RequestGuard, Option<Bytes>), RequestStartError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(RequestStartError::Closed);
        }
        state.requests_started += 1;
        state.is_unflushed = true;
        let query = state.splitter.enter(body).map_err(RequestStartError::FramingError)?;
        state.progress = RequestProgress::Processing;
        state.form = None;
        drop(state);
        Ok((RequestGuard(self.clone()), query))
    }

    /// Records whether the request waits for its body; false if the connection is being closed.
    pub(super) fn await_body(&self, awaits: bool) -> bool {
        let mut state = self.lock();
        state.progress =
            if awaits { RequestProgress::ReadingBody } else { RequestProgress::Processing };
        !state.is_closed
    }

    /// Records why the connection carries no request.
    pub(super) fn fail(&self, failure: ConnectionFailure) {
        self.lock().failure.get_or_insert(failure);
    }

    /// Why the connection carried no request. `ended` is how it ended, if not normally.
    pub(super) fn failure(&self, ended: Option<ConnectionFailure>) -> Option<ConnectionFailure> {
        let state = self.lock();
        let is_unread = state.requests_started == 0 && !state.prefix.is_empty();
        let unread =
            || ended.filter(|_| is_unread).map(|ended| state.prefix.failure().unwrap_or(ended));
        state.failure.or_else(unread)
    }

    /// How well a connection opened at `since` can be closed to make room; `None` if it cannot.
    pub(super) fn idleness(&self, since: Instant, now: Instant) -> Option<Idleness> {
        self.lock().idleness(since, now)
    }

    /// Closes the connection for further requests if it can be closed; returns whether it did.
    pub(super) fn close_if_idle(&self, since: Instant, now: Instant) -> bool {
        let mut state = self.lock();
        let is_idle = state.idleness(since, now).is_some();
        state.is_closed |= is_idle;
        is_idle
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    /// The most bytes of the next read. What was passed on is overwritten before.
    fn room(&self) -> usize {
        match self.passed_bytes {
            0 if self.progress == RequestProgress::Processing => PROBE_BYTES,
            ..FIRST_READ_BYTES => FIRST_READ_BYTES,
            _ => LONGEST_READ_BYTES,
        }
    }

    /// Records the bytes of a read. While the connection waits, the buffer of the library was overwritten as far
    /// as it was used, unless it has a part of a head. Its other buffers are those of the request, and are
    /// overwritten when they are freed.
    fn note_passed(&mut self, count: usize, is_waiting: bool) {
        let is_overwritten = is_waiting && !self.splitter.is_within_head();
        self.passed_bytes =
            if is_overwritten { 0 } else { self.passed_bytes.saturating_add(count) };
    }

    fn idleness(&self, since: Instant, now: Instant) -> Option<Idleness> {
        let since = self.answered.unwrap_or(since);
        let idle = now.saturating_duration_since(since);
        let is_used = if self.has_authenticated_caller {
            self.progress != RequestProgress::None
                || self.splitter.is_within_head()
                || idle < MIN_AUTHENTICATED_IDLE
        } else {
            self.progress == RequestProgress::Processing
        };
        let rank = match self.has_authenticated_caller {
            true => 1,
            false if idle >= NEW_CONNECTION_GRACE => 0,
            false => 2,
        };
        (!is_used && !self.is_closed).then_some(Idleness { rank, since })
    }
}

impl RequestGuard {
    /// Records that the caller is authenticated, or that the request is answered with success.
    pub(super) fn mark_success(&self) {
        self.0.lock().has_authenticated_caller = true;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.progress = RequestProgress::None;
        state.answered = Some(clock::timer());
    }
}

/// A stream with the splitter and the timers.
pub(super) struct Connection<S> {
    stream: S,
    state: ConnectionState,
    errors: ErrorResponder,
    timeouts: ConnectionTimeouts,
    phase: watch::Receiver<Phase>,
    reading: DeadlineTimer<(Wait, u64)>,
    writing: DeadlineTimer<()>,
    /// The gateway's error response in place of the library's, as far as it is not yet written.
    error_response: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Head,
    Idle,
    /// For a first request while the server closes.
    FirstRequestGrace,
}

impl<S> Connection<S> {
    pub(super) fn new(
        stream: S,
        state: ConnectionState,
        errors: ErrorResponder,
        timeouts: ConnectionTimeouts,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let (reading, writing) = (DeadlineTimer::default(), DeadlineTimer::default());
        Self {
            stream,
            state,
            errors,
            timeouts,
            phase,
            reading,
            writing,
            error_response: Bytes::new(),
        }
    }

    /// Records the error format of a head, in case the library rejects the head.
    fn note_protocol(&self, passed: &mut [u8]) {
        let mut state = self.state.lock();
        if state.progress != RequestProgress::None {
            return;
        }
        if let Some(form) = (self.errors.in_head)(passed) {
            state.form = Some(form);
        }
        if state.requests_started > 0 {
            return;
        }
        state.prefix.push(passed);
        // The library closes without a response when it sees the whole HTTP/2 preface. With another
        // first letter it is an unreadable head, and is answered.
        if state.prefix.is_http_2()
            && passed.starts_with(b"PRI ")
            && let Some(first) = passed.first_mut()
        {
            *first = b'X';
        }
    }

    /// Records that the library rejects a head.
    fn note_error_response(&self, error: HttpError) {
        let state = self.state.lock();
        if state.requests_started > 0 {
            return;
        }
        let of_http = match error {
            HttpError::HeaderTooLarge => ConnectionFailure::header_too_large,
            _ => ConnectionFailure::malformed_request,
        };
        let failure = state.prefix.failure().unwrap_or(of_http);
        drop(state);
        self.state.fail(failure);
    }

    /// Waits for the next bytes, with a timeout. While the server closes, a connection without a
    /// request ends as if its client had closed it. Only this function knows that, because the
    /// system has just reported that no bytes have arrived.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.lock();
        if state.progress != RequestProgress::None {
            return Poll::Pending;
        }
        let is_closing = *self.phase.borrow() == Phase::Closing;
        if is_closing && !state.is_unflushed && !state.splitter.is_before_request() {
            if state.requests_started == 0 {
                ready!(self.reading.poll(cx, (Wait::FirstRequestGrace, 0), NEW_CONNECTION_GRACE));
            }
            return Poll::Ready(Ok(()));
        }
        let (wait, limit) = self.timeouts.of_wait(&state);
        ready!(self.reading.poll(cx, (wait, state.requests_started), limit));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads, and passes on the bytes that may pass; `Ok(None)` if none may pass yet.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<()>>> {
        let mut state = self.state.lock();
        let splitter = &mut state.splitter;
        if splitter.pass(out) > 0 {
            return Poll::Ready(Ok(Some(())));
        }
        if splitter.is_holding() {
            let held = splitter.held_mut();
            let before = held.len();
            held.resize(before + MORE_BYTES, 0);
            let mut more = ReadBuf::new(held.get_mut(before..).unwrap_or_default());
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut more);
            let count = more.filled().len();
            held.truncate(before + count);
            ready!(polled)?;
            if count == 0 {
                splitter.end();
            }
            return Poll::Ready(Ok(None));
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        let arrived = out.filled().get(before..).unwrap_or_default();
        if arrived.is_empty() {
            return Poll::Ready(Ok(Some(())));
        }
        let passed = splitter.arrive(arrived);
        out.set_filled(before + passed);
        Poll::Ready(Ok((passed > 0).then_some(())))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads into an empty buffer until some bytes may pass.
    fn poll_part(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.read(cx, out) {
                Poll::Pending => return self.wait(cx),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(done) => {
                    self.note_protocol(out.filled_mut());
                    return Poll::Ready(done.map(drop));
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // The library passes its whole buffer as uninitialized, also what an earlier request left there:
        // it is overwritten, as far as it was used.
        let room = this.state.lock().room().min(out.remaining());
        let used = if room == LONGEST_READ_BYTES { out.remaining() } else { room };
        let spare = out.initialize_unfilled_to(used);
        let mut part = ReadBuf::new(spare.get_mut(..room).unwrap_or_default());
        let polled = this.poll_part(cx, &mut part);
        let count = part.filled().len();
        out.advance(count);
        this.state.lock().note_passed(count, polled.is_pending());
        polled
    }
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    /// Waits for a write, with a timeout from the first wait until everything is flushed, so that a
    /// client gains nothing by reading a response byte by byte.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        ready!(self.writing.poll(cx, (), self.timeouts.write));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes the rest of the gateway's error response.
    fn write_error_response(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.error_response.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, &self.error_response);
            let count = ready!(self.written(cx, polled))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.error_response.advance(count.min(self.error_response.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write_error_response(cx))?;
        if let [only] = slices
            && let Some(error) = refusal_of_library(only)
        {
            this.note_error_response(error);
            let form = this.state.lock().form.unwrap_or_else(|| this.errors.default_form());
            this.error_response = written(&form.response("", error));
            return Poll::Ready(Ok(only.len()));
        }
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_error_response(cx))?;
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        ready!(this.written(cx, polled))?;
        this.writing.disarm();
        {
            let mut state = this.state.lock();
            state.is_unflushed &= state.progress != RequestProgress::None;
        }
        // The library does not poll again for bytes that it requested while it was serving, so the
        // idle time begins here. When the timer fires, the library polls and gets the error.
        if this.wait(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_error_response(cx))?;
        let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(cx, polled)
    }
}

/// A timer that starts with a wait and keeps running as long as the wait is the same.
struct DeadlineTimer<K> {
    set_for: Option<K>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<K> Default for DeadlineTimer<K> {
    fn default() -> Self {
        Self { set_for: None, sleep: None }
    }
}

impl<K: PartialEq> DeadlineTimer<K> {
    fn poll(&mut self, cx: &mut Context<'_>, key: K, limit: Duration) -> Poll<()> {
        let is_set = self.set_for.as_ref() == Some(&key);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !is_set {
            sleep.as_mut().reset(clock::timer() + limit);
            self.set_for = Some(key);
        }
        sleep.as_mut().poll(cx)
    }

    fn disarm(&mut self) {
        self.set_for = None;
    }
}
