//! A request body with a time limit.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connection::ConnectionState;
use crate::model::clock;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

/// The connection was closed to make room for another one before the body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is being closed")]
struct Closed;

/// A body that ends with an error if it is not complete in time, even if bytes keep arriving.
pub(super) struct TimedBody {
    body: Incoming,
    state: ConnectionState,
    deadline: Instant,
    /// Created with the first wait: most bodies arrive with their head.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    /// Wraps `body`, which has `limit` from now on.
    pub(super) fn new(body: Incoming, state: ConnectionState, limit: Duration) -> Self {
        Self { body, state, deadline: clock::timer() + limit, sleep: None }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if this.sleep.is_some() && !this.state.await_body(false) {
                return Poll::Ready(Some(Err(Closed.into())));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        this.state.await_body(true);
        let deadline = this.deadline;
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
