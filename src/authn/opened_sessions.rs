//! Sessions whose token was decrypted before. A use of one costs no decryption, and everything that the
//! session was made of is checked again all the same.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

/// The maximum number of sessions, of about 2 KiB each.
const SESSIONS: usize = 16_384;

/// The sessions `S` that were used last, by AccessKey id.
pub(super) struct OpenedSessions<S>(Cache<String, Arc<Opened<S>>>);

struct Opened<S> {
    token: Zeroizing<String>,
    session: Arc<S>,
}

impl<S> Default for OpenedSessions<S> {
    fn default() -> Self {
        Self(Cache::new(SESSIONS))
    }
}

impl<S> OpenedSessions<S> {
    /// The session with this AccessKey id, if it was decrypted from this token.
    pub(super) fn find(&self, id: &str, token: &str) -> Option<Arc<S>> {
        let opened = self.0.get(id)?;
        let is_same = verify_slices_are_equal(opened.token.as_bytes(), token.as_bytes());
        is_same.is_ok().then(|| Arc::clone(&opened.session))
    }

    /// Remembers what was decrypted from a token.
    pub(super) fn insert(&self, id: &str, token: &str, session: Arc<S>) {
        let token = Zeroizing::new(token.to_owned());
        self.0.insert(id.to_owned(), Arc::new(Opened { token, session }));
    }
}
