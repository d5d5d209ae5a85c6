//! Resolves the handles of a key: from the cache, or by a search.

use cryptoki::object::ObjectHandle;

use super::cache::{Handles, LoginEpoch, SessionCopy};
use super::error::{ErrorClass, TokenError};
use super::objects::name::KeyIdentity;
use super::objects::query::{self, KEYS_MISSING, KeyObjects};
use super::worker::Worker;
use crate::model::clock;

/// The number of known keys that are checked before a key counts as absent. Another process may
/// have destroyed each of them, but hardly all of them at once.
const OTHER_KEYS_CHECKED: usize = 3;

impl Worker<'_> {
    /// The handles of a key, whose copy may be used.
    pub(super) fn handles(&mut self, key: KeyIdentity) -> Result<Handles, TokenError> {
        let handles = self.known_handles(key)?;
        self.check_original(key, handles)
    }

    /// The handles of a key. Before a stale copy is used, the original must be checked or used.
    pub(super) fn known_handles(&mut self, key: KeyIdentity) -> Result<Handles, TokenError> {
        let handles = match self.cached(key) {
            Some(handles) => {
                self.request_copy(key, handles);
                handles
            }
            None => self.with_objects(|worker| worker.resolve(key))?,
        };
        self.check_compared(key, handles)
    }

    /// Checks the original of a stale copy.
    pub(super) fn check_original(
        &mut self,
        key: KeyIdentity,
        handles: Handles,
    ) -> Result<Handles, TokenError> {
        if handles.is_stale() { self.revalidate(key, handles) } else { Ok(handles) }
    }

    /// The handles of the key may have become invalid in a job that uses it, and the key found again. In a
    /// group, the other tokens are asked then; a single token compares the key here.
    fn check_compared(
        &mut self,
        key: KeyIdentity,
        handles: Handles,
    ) -> Result<Handles, TokenError> {
        if !self.requires_comparison {
            return Ok(handles);
        }
        let object = (key, handles.login_epoch, handles.main);
        if handles.is_compared {
            self.compared = Some(object);
            return Ok(handles);
        }
        if self.is_of_group() {
            return Err(TokenError::NotCompared);
        }
        // A retry has found the same object again.
        if self.compared == Some(object) {
            self.state.keys.note_compared(key, handles);
            return Ok(Handles { is_compared: true, ..handles });
        }
        self.requires_comparison = false;
        let compared = self.compare_with_known(key).and_then(|()| self.handles(key));
        self.requires_comparison = true;
        compared
    }

    fn is_of_group(&self) -> bool {
        self.state.module.name().is_some()
    }

    /// From now on this job uses only keys that give their known answer.
    pub(super) fn require_comparison(&mut self) {
        self.requires_comparison = self.must_be_compared();
    }

    /// Whether a key of the token must give its known answer before it is used.
    fn must_be_compared(&self) -> bool {
        self.is_of_group() || self.state.has_known_answers()
    }

    /// Requests the session copy of a key that lacks one and is in frequent use. The original is used
    /// meanwhile: calls would wait for the copy, which takes some tokens longer than a hundred calls. The
    /// comparison of a key is no use of it.
    fn request_copy(&self, key: KeyIdentity, handles: Handles) {
        let is_compared = handles.is_compared || !self.must_be_compared();
        if handles.copy != SessionCopy::Wanted || !is_compared {
            return;
        }
        if !handles.is_in_frequent_use() {
            self.state.keys.note_use(key, handles);
        } else if self.state.copy_requests.send(key) {
            self.state.keys.note_copy_requested(key, handles);
        }
    }

    /// Looks up a key in the cache before a job that uses it. False if its handles are not cached, or, in a
    /// group, the key was not compared.
    pub(super) fn fetch_handles(&mut self, key: KeyIdentity) -> bool {
        self.require_comparison();
        let requires = self.is_of_group();
        let usable = self.cached(key).filter(|handles| !requires || handles.is_compared);
        self.fetched = usable.map(|handles| (key, handles));
        self.fetched.is_some()
    }

    /// The cached handles of a key; those that were fetched before the job are used once.
    fn cached(&mut self, key: KeyIdentity) -> Option<Handles> {
        match self.fetched.take() {
            Some((fetched, handles))
                if fetched == key && handles.login_epoch == self.login_epoch() =>
            {
                Some(handles)
            }
            _ => self.state.keys.handles(key, self.login_epoch()),
        }
    }

    /// Finds a key and caches it for the next use.
    ///
    /// # Errors
    /// `NotFound` when it is not in the token.
    pub(super) fn look_up(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.with_retry(Some(key), |worker| worker.handles(key).map(drop))
    }

    /// Records that this key gives its known answer.
    pub(super) fn note_compared(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        let handles = self.handles(key)?;
        self.state.keys.note_compared(key, handles);
        Ok(())
    }

    /// Whether this key is in the token and usable. Does not trust the cache, but keeps what it finds: a
    /// search takes long in a token with many objects, and the key is used next.
    ///
    /// # Errors
    /// When the token cannot be searched; `KeyMismatch` when another key has its id.
    pub fn exists(&mut self, key: KeyIdentity) -> Result<bool, TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(Some(key), |worker| {
                let login_epoch = worker.login_epoch();
                let found = worker.find(key)?;
                if found.is_complete() {
                    let handles = worker.handles_of(found, login_epoch)?;
                    worker.state.keys.insert_missing(std::iter::once((key, handles)));
                }
                Ok(found.has_key())
            })
        })
    }

    /// Searches for a key, under the object lock.
    fn resolve(&mut self, key: KeyIdentity) -> Result<Handles, TokenError> {
        // Another thread may have found it while this one waited for the lock.
        let login_epoch = self.login_epoch();
        if let Some(handles) = self.state.keys.handles(key, login_epoch)
            && !handles.is_stale()
        {
            return Ok(handles);
        }
        let found = self.find(key)?;
        let handles = self.handles_of(found, login_epoch)?;
        self.state.keys.keep(key, handles);
        Ok(handles)
    }

    fn handles_of(
        &self,
        found: KeyObjects,
        login_epoch: LoginEpoch,
    ) -> Result<Handles, TokenError> {
        let copies = self.initialization.behavior.copies;
        Handles::of(found, login_epoch, copies).ok_or(TokenError::NotFound)
    }

    /// Searches; an empty result is accepted only from a session that is logged in.
    pub(super) fn find(&mut self, key: KeyIdentity) -> Result<KeyObjects, TokenError> {
        let found = self.find_logged_in(key);
        found.inspect_err(|error| self.state.report_key_mismatch(key, error))
    }

    fn find_logged_in(&mut self, key: KeyIdentity) -> Result<KeyObjects, TokenError> {
        let found = query::search(self.session()?, key)?;
        if found.has_key() {
            return Ok(found);
        }
        let found = self.search_while_logged_in(|session| query::search(session, key))?;
        if !found.has_key() {
            self.verify_absence(key)?;
        }
        Ok(found)
    }

    /// Accepts that a key is absent only from a token that still shows other known keys: SoftHSM
    /// whose storage became inaccessible shows nothing, without an error.
    pub(super) fn verify_absence(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        let others = self.state.keys.others(key, self.login_epoch(), OTHER_KEYS_CHECKED);
        let session = self.session()?;
        let is_seen = |(key, object): &(KeyIdentity, ObjectHandle)| {
            query::check_id_and_label(session, *object, *key).is_ok()
        };
        if others.is_empty() {
            self.verify_token_identity()
        } else if others.iter().any(is_seen) {
            Ok(())
        } else {
            Err(TokenError::Untrusted(KEYS_MISSING))
        }
    }

    /// Keeps the handles of a new key, with a copy of it.
    pub(super) fn cache_new_key(
        &mut self,
        key: KeyIdentity,
        made: KeyObjects,
        login_epoch: LoginEpoch,
    ) -> Result<(), TokenError> {
        let handles = self.handles_of(made, login_epoch)?;
        self.state.keys.keep(key, self.with_copy(handles));
        Ok(())
    }

    /// Makes the session copy of a key that was requested, unless the key is gone or has one. Called
    /// by the thread for changes, under the object lock.
    pub(super) fn make_requested_copy(&mut self, key: KeyIdentity) {
        let copied = self.state.without_login(|| {
            let known = self.state.keys.handles(key, self.login_epoch());
            known.filter(Handles::lacks_copy).map(|handles| self.with_copy(handles))
        });
        let Some(copied) = copied else { return };
        if !self.state.keys.keep_copy(key, copied)
            && let Some(copy) = copied.made_copy()
        {
            // Its session may be gone, and the copy with it.
            let _ = self.initialization.with_anchor(|anchor| Ok(anchor.destroy_object(copy)?));
        }
    }

    fn with_copy(&self, handles: Handles) -> Handles {
        if !handles.lacks_copy() {
            return handles;
        }
        let made = self.initialization.with_anchor(|anchor| query::copy(anchor, handles.main));
        let copy = made.map_or(SessionCopy::Never, SessionCopy::Made);
        Handles { copy, is_copy_verified: false, seen: clock::monotonic(), ..handles }
    }

    /// Checks that the original of a copy still exists. Its label was checked when it was found.
    fn revalidate(&mut self, key: KeyIdentity, handles: Handles) -> Result<Handles, TokenError> {
        match query::check_id(self.session()?, handles.main, key) {
            Ok(()) => {
                let handles = Handles { seen: clock::monotonic(), ..handles };
                self.state.keys.keep(key, handles);
                Ok(handles)
            }
            Err(error) if is_handle_fault(&error) => {
                let handles = self.with_objects(|worker| {
                    worker.drop_copy(key);
                    worker.resolve(key)
                })?;
                self.check_compared(key, handles)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets a key that another process has destroyed, and destroys its copy.
    pub fn forget_key(&mut self, key: KeyIdentity) {
        self.drop_copy(key);
    }

    /// Removes a key from the cache and destroys its copy, which would outlive it.
    pub(super) fn drop_copy(&mut self, key: KeyIdentity) {
        let login_epoch = self.login_epoch();
        let known =
            self.state.keys.forget(key).filter(|handles| handles.login_epoch == login_epoch);
        if let Some(copy) = known.and_then(|handles| handles.made_copy())
            && let Ok(session) = self.session()
        {
            // It does not matter if the copy is gone already.
            let _ = session.destroy_object(copy);
        }
    }
}

fn is_handle_fault(error: &TokenError) -> bool {
    matches!(error, TokenError::WrongAttributes(_)) || error.class() == ErrorClass::HandleGone
}
