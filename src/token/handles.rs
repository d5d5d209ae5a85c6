//! From a key's id to its handles: the cache first, a search only where it must be.

use std::time::Instant;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::cache::{Handles, HotCopy, Term};
use super::error::{ErrorClass, TokenError};
use super::name::{KeyClass, KeyIdentity};
use super::template::{self, Copies};
use super::worker::Worker;

/// Known keys that are looked for before a key counts as absent. Each may have been destroyed
/// by another process; all of them at once is another matter.
const WITNESSES: usize = 3;

/// What is told of a label that is not ours.
const LONGEST_LABEL: usize = 128;

/// Why a token that answers is not the one that it was.
const EMPTIED: &str = "it no longer shows the keys that it had";

/// The objects that have one `CKA_ID`.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Found {
    secret: Option<ObjectHandle>,
    private: Option<ObjectHandle>,
    public: Option<ObjectHandle>,
}

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
        let found = search(self.session()?, key)?;
        if found.has_key() {
            return Ok(found);
        }
        let found = self.look_logged_in(|session| search(session, key))?;
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
            check_named(session, *object, *key).is_ok()
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
        let handles = found.handles(term, self.instance.copies).ok_or(TokenError::NotFound)?;
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
        let made = self.instance.with_anchor(|anchor| copy(anchor, handles.main));
        let copy = made.map_or(HotCopy::Never, HotCopy::Made);
        Handles { copy, is_copy_proven: false, seen: Instant::now(), ..handles }
    }

    /// Looks whether the original of a copy is still there.
    fn look_again(&mut self, key: KeyIdentity, handles: Handles) -> Result<Handles, TokenError> {
        match check_named(self.session()?, handles.main, key) {
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

impl Found {
    /// A secret key alone.
    pub(super) fn secret(secret: ObjectHandle) -> Self {
        Self { secret: Some(secret), ..Self::default() }
    }

    /// A key pair.
    pub(super) fn pair(public: ObjectHandle, private: ObjectHandle) -> Self {
        Self { public: Some(public), private: Some(private), ..Self::default() }
    }

    /// Adds an object of this class.
    ///
    /// # Errors
    /// `Duplicate` when there is one: two are an error, not a choice.
    pub(super) fn add(
        &mut self,
        class: Option<ObjectClass>,
        object: ObjectHandle,
    ) -> Result<(), TokenError> {
        let place = match class {
            Some(ObjectClass::SECRET_KEY) => &mut self.secret,
            Some(ObjectClass::PRIVATE_KEY) => &mut self.private,
            Some(ObjectClass::PUBLIC_KEY) => &mut self.public,
            _ => return Ok(()),
        };
        if place.replace(object).is_some() { Err(TokenError::Duplicate) } else { Ok(()) }
    }

    /// The handles to use it by, if there is a key that can be used. Only with secret keys does a
    /// copy pay: a private key's arithmetic outweighs it.
    pub(super) fn handles(self, term: Term, copies: Copies) -> Option<Handles> {
        let main = self.secret.or(self.private)?;
        let pays = self.secret.is_some() && copies.are_used();
        let copy = if pays { HotCopy::Wanted } else { HotCopy::Never };
        Some(Handles {
            term,
            main,
            public: self.public,
            copy,
            is_copy_proven: false,
            seen: Instant::now(),
        })
    }

    /// Every one of them.
    pub(super) fn objects(self) -> impl Iterator<Item = ObjectHandle> {
        [self.secret, self.private, self.public].into_iter().flatten()
    }

    /// Whether it is a secret key, or both halves of a pair.
    pub(super) fn is_whole(self) -> bool {
        self.secret.is_some() != (self.private.is_some() && self.public.is_some())
    }

    /// What class of key it is, if it is of one.
    pub(super) fn class(self) -> Option<KeyClass> {
        match (self.secret, self.private, self.public) {
            (Some(_), None, None) => Some(KeyClass::Secret),
            (None, Some(_), _) => Some(KeyClass::Pair),
            _ => None,
        }
    }

    /// Whether there is a key that can be used.
    pub(super) fn has_key(self) -> bool {
        self.secret.or(self.private).is_some()
    }
}

/// Every object of the token with the key's id, of whatever class. A short template: some
/// tokens search five times slower with a longer one.
pub(super) fn search_all(
    session: &Session,
    key: KeyIdentity,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let id = Attribute::Id(key.id().as_bytes().to_vec());
    Ok(session.find_objects(&[Attribute::Token(true), id])?)
}

/// Looks for the key that the token is known by.
pub(super) fn vouch(session: &Session, witness: KeyIdentity) -> Result<(), TokenError> {
    if search_all(session, witness)?.is_empty() {
        Err(TokenError::Untrusted(EMPTIED))
    } else {
        Ok(())
    }
}

/// The objects of a key. Objects with its id whose label or class is another key's are not used,
/// whatever a database says.
fn search(session: &Session, key: KeyIdentity) -> Result<Found, TokenError> {
    let mut found = Found::default();
    let mut other = None;
    for object in search_all(session, key)? {
        let told = session.get_attributes(object, &[AttributeType::Class, AttributeType::Label])?;
        let Some(class) = class_in(&told) else { continue };
        found.add(Some(class), object)?;
        let label = label_in(&told);
        if !key.is_told_by(label) {
            other = Some(label.to_vec());
        }
    }
    match other {
        Some(label) if found.has_key() => Err(other_key(key, &label)),
        None if found.has_key() && found.class() != Some(key.class) => {
            Err(other_key(key, format!("{} of another class", key.name).as_bytes()))
        }
        _ => Ok(found),
    }
}

/// Fails when an object is not of this key, as its id and label say.
fn check_named(
    session: &Session,
    object: ObjectHandle,
    key: KeyIdentity,
) -> Result<(), TokenError> {
    let told = session.get_attributes(object, &[AttributeType::Id, AttributeType::Label])?;
    let has_id = told.contains(&Attribute::Id(key.id().as_bytes().to_vec()));
    if has_id && key.is_told_by(label_in(&told)) {
        Ok(())
    } else {
        Err(TokenError::WrongAttributes("CKA_ID, CKA_LABEL".to_owned()))
    }
}

/// The label among these attributes; empty if there is none.
pub(super) fn label_in(told: &[Attribute]) -> &[u8] {
    let label = told.iter().find_map(|attribute| match attribute {
        Attribute::Label(label) => Some(label.as_slice()),
        _ => None,
    });
    label.unwrap_or_default()
}

/// The error for objects with a key's id and this label.
pub(super) fn other_key(key: KeyIdentity, label: &[u8]) -> TokenError {
    let label = String::from_utf8_lossy(label).chars().take(LONGEST_LABEL).collect();
    TokenError::OtherKey { wanted: key.name, label }
}

/// The class among these attributes.
pub(super) fn class_in(told: &[Attribute]) -> Option<ObjectClass> {
    told.iter().find_map(|attribute| match attribute {
        Attribute::Class(class) => Some(*class),
        _ => None,
    })
}

/// A copy in the session, no less closed than its original, or none.
pub(super) fn copy(session: &Session, key: ObjectHandle) -> Result<ObjectHandle, TokenError> {
    // TOKEN alone may stand here: with PRIVATE=false some tokens open the copy up.
    let copy = session.copy_object(key, &[Attribute::Token(false)])?;
    let closed =
        [Attribute::Token(false), Attribute::Sensitive(true), Attribute::Extractable(false)];
    match template::check(session, copy, &closed) {
        Ok(()) => Ok(copy),
        Err(error) => {
            session.destroy_object(copy)?;
            Err(error)
        }
    }
}
