//! The token time of a request: its limit, and the time used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::clock;

/// The time that one request may wait for the token, over all of its calls, and the time that token
/// threads worked for it. Clones share both.
#[derive(Debug, Clone)]
pub struct Budget {
    deadline: Instant,
    spent: Arc<Spent>,
}

/// What was used of a budget.
#[derive(Debug, Default)]
struct Spent {
    nanoseconds: AtomicU64,
    /// The name of the last token, if there are several.
    token: Mutex<Option<Arc<str>>>,
}

impl Budget {
    /// Creates a budget that ends after `limit` from now.
    pub fn new(limit: Duration) -> Self {
        let now = clock::monotonic();
        Self { deadline: now.checked_add(limit).unwrap_or(now), spent: Arc::default() }
    }

    /// When waiting ends.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time that token threads have worked for this budget, without waiting.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.nanoseconds.load(Ordering::Relaxed))
    }

    /// Adds to the time used.
    pub(super) fn add(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.spent.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The name of the token that has worked for this budget last, if there are several.
    pub fn token_name(&self) -> Option<Arc<str>> {
        self.spent.token.lock().clone()
    }

    /// Records which of several tokens works for it.
    pub(super) fn note_token(&self, name: &Arc<str>) {
        *self.spent.token.lock() = Some(Arc::clone(name));
    }
}
