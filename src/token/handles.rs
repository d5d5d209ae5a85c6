//! From a key's id to its handles: the cache first, a search only where it must be.

use std::time::Instant;

use cryptoki::object::ObjectHandle;

use super::cache::{Handles, HotCopy, Term};
use super::error::{ErrorClass, TokenError};
use super::name::KeyIdentity;
use super::objects::query::{self, EMPTIED, Found};
use super::worker::Worker;

/// Known keys that are looked for before a key counts as absent. Each may have been destroyed
/// by another process; all of them at once is another matter.
const WITNESSES: usize = 3;

impl Worker<'_> {
    /// The handles of a key.
    pub(super) fn handles(&mut self, key: KeyIdentity) -> Result<Handles, TokenError> {
        match self.hub.keys.handles(key, self.term()) {
            Some(handles) if handles.is_stale() => self.look_again(key, handles),
            Some(handles) if handles.copy == HotCopy::Wanted => Ok(self.copied(key, handles)),
            Some(handles) => Ok(handles),
            None => self.with_objects(|worker| worker.resolve(key)),
        }
    }

    /// Finds a key, so that the next use need not.
    ///
    /// # Errors
    /// `NotFound` when the token does not hold it.
    pub(super) fn look_up(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.steady(Some(key), |worker| worker.handles(key).map(drop))
    }

    /// Keeps the handles of a key that was just made.
    pub(super) fn adopt(
        &mut self,
        key: KeyIdentity,
        found: Found,
        term: Term,
    ) -> Result<(), TokenError> {
        self.admit(key, found, term).map(drop)
    }

    /// Searches for a key, under the object lock.
    fn resolve(&mut self, key: KeyIdentity) -> Result<Handles, TokenError> {
        // Another thread may have found it while this one waited for the lock.
        let term = self.term();
        if let Some(handles) = self.hub.keys.handles(key, term)
            && !handles.is_stale()
        {
            return Ok(handles);
        }
        let found = self.find(key)?;
        self.admit(key, found, term)
    }

    /// Searches; "nothing found" is believed only of a session that is logged in.
    pub(super) fn find(&mut self, key: KeyIdentity) -> Result<Found, TokenError> {
        self.find_logged_in(key).inspect_err(|error| {
            if matches!(error, TokenError::OtherKey { .. }) {
                self.hub.report_other(key, error);
            }
        })
    }

    fn find_logged_in(&mut self, key: KeyIdentity) -> Result<Found, TokenError> {
        let found = query::search(self.session()?, key)?;
        if found.has_key() {
            return Ok(found);
        }
        let found = self.look_logged_in(|session| query::search(session, key))?;
        if !found.has_key() {
            self.vouch_for_absence(key)?;
        }
        Ok(found)
    }

    /// Believes that a key is absent only of a token that still shows other keys that it had:
    /// SoftHSM whose storage went away shows nothing at all, and says so without an error.
    pub(super) fn vouch_for_absence(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        let others = self.hub.keys.others(key, self.term(), WITNESSES);
        let session = self.session()?;
        let is_seen = |(key, object): &(KeyIdentity, ObjectHandle)| {
            query::check_named(session, *object, *key).is_ok()
        };
        if others.is_empty() {
            self.vouch_for_token()
        } else if others.iter().any(is_seen) {
            Ok(())
        } else {
            Err(TokenError::Untrusted(EMPTIED))
        }
    }

    fn admit(&mut self, key: KeyIdentity, found: Found, term: Term) -> Result<Handles, TokenError> {
        let handles = Handles::of(found, term, self.instance.copies).ok_or(TokenError::NotFound)?;
        let handles = self.with_copy(handles);
        self.hub.keys.keep(key, handles);
        Ok(handles)
    }

    /// Makes the copy of a key that has none yet. While somebody makes or destroys objects the original
    /// serves.
    fn copied(&mut self, key: KeyIdentity, handles: Handles) -> Handles {
        let made = self.with_objects_at_once(|worker| {
            // Another thread may have been faster.
            let known = worker.hub.keys.handles(key, handles.term);
            if let Some(known) = known.filter(|known| known.copy != HotCopy::Wanted) {
                return known;
            }
            let handles = worker.with_copy(handles);
            worker.hub.keys.keep(key, handles);
            handles
        });
        made.unwrap_or(handles)
    }

    fn with_copy(&self, handles: Handles) -> Handles {
        if handles.copy != HotCopy::Wanted {
            return handles;
        }
        let made = self.instance.with_anchor(|anchor| query::copy(anchor, handles.main));
        let copy = made.map_or(HotCopy::Never, HotCopy::Made);
        Handles { copy, is_copy_proven: false, seen: Instant::now(), ..handles }
    }

    /// Looks whether the original of a copy is still there.
    fn look_again(&mut self, key: KeyIdentity, handles: Handles) -> Result<Handles, TokenError> {
        match query::check_named(self.session()?, handles.main, key) {
            Ok(()) => {
                let handles = Handles { seen: Instant::now(), ..handles };
                self.hub.keys.keep(key, handles);
                Ok(handles)
            }
            Err(error) if is_about_the_handle(&error) => self.with_objects(|worker| {
                worker.drop_copy(key);
                worker.resolve(key)
            }),
            Err(error) => Err(error),
        }
    }

    /// Forgets a key and destroys its copy, which would outlive it.
    pub(super) fn drop_copy(&mut self, key: KeyIdentity) {
        let term = self.term();
        let known = self.hub.keys.forget(key).filter(|handles| handles.term == term);
        if let Some(copy) = known.and_then(|handles| handles.made_copy())
            && let Ok(session) = self.session()
        {
            // A copy that is gone already is what is wanted.
            let _ = session.destroy_object(copy);
        }
    }
}

fn is_about_the_handle(error: &TokenError) -> bool {
    matches!(error, TokenError::WrongAttributes(_)) || error.class() == ErrorClass::HandleGone
}
