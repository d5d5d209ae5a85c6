//! A cache of object handles by key id. A handle may become invalid at any time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;
use parking_lot::RwLock;

use super::behavior::Copies;
use super::crypto::public_key::PublicKey;
use super::objects::name::{KeyClass, KeyIdentity};
use super::objects::query::KeyObjects;
use crate::model::{Iv, clock};

/// How long a session copy is used before its original is checked: a copy outlives the destruction
/// of its original by another process, and D9 limits that to 5 s. The same holds for a public key that
/// was read.
const COPY_MAX_AGE: Duration = Duration::from_secs(5);

/// The validity of handles: they become invalid with the initialization of the module and with the
/// login, and their numbers may be reused for other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginEpoch {
    /// The number of the initialization.
    pub(super) epoch: u64,
    /// How often a thread had to log in again.
    pub(super) logins: u64,
}

/// The session copy of a key, which saves the token a disk access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionCopy {
    /// It would be no faster, or the token cannot copy keys.
    Never,
    /// To be requested when the key is in frequent use. Each copy takes memory of the token, with SoftHSM2
    /// 7 KB, and the check of one that was not used for a while takes as long as a use of the original.
    Wanted,
    /// The thread for changes makes it as soon as it has no change to make.
    Requested,
    /// The handle of the copy.
    Made(ObjectHandle),
}

/// The handles of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handles {
    /// Their validity.
    pub(super) login_epoch: LoginEpoch,
    /// The secret or private key in the token.
    pub(super) main: ObjectHandle,
    /// The public key of a pair.
    pub(super) public: Option<ObjectHandle>,
    /// The copy of `main`.
    pub(super) copy: SessionCopy,
    /// Whether a ciphertext of the copy was decrypted with `main`. Only of a copy that was made.
    pub(super) is_copy_verified: bool,
    /// Whether the key gives its known answer.
    pub(super) is_compared: bool,
    /// When `main` was last seen in the token.
    pub(super) seen: Instant,
    /// When the key was last used, while a copy is wanted.
    pub(super) used: Option<Instant>,
}

impl Handles {
    /// The handles of a key's objects, if they are a usable key. Only secret keys are copied: the
    /// computation with a private key takes longer than a copy saves.
    pub(super) fn of(found: KeyObjects, login_epoch: LoginEpoch, copies: Copies) -> Option<Self> {
        let pays = found.class() == Some(KeyClass::Secret) && copies.are_used();
        Some(Self {
            login_epoch,
            main: found.main()?,
            public: found.public,
            copy: if pays { SessionCopy::Wanted } else { SessionCopy::Never },
            is_copy_verified: false,
            is_compared: false,
            seen: clock::monotonic(),
            used: None,
        })
    }

    /// Whether a key without a copy is in such frequent use that a copy pays.
    pub(super) fn is_in_frequent_use(&self) -> bool {
        self.used.is_some_and(|used| clock::since(used) <= COPY_MAX_AGE)
    }

    /// The handle for the hot path.
    pub(super) fn preferred(&self) -> ObjectHandle {
        self.made_copy().unwrap_or(self.main)
    }

    /// Whether a copy is to be made, and was not made yet.
    pub(super) fn lacks_copy(&self) -> bool {
        matches!(self.copy, SessionCopy::Wanted | SessionCopy::Requested)
    }

    /// The handle to decrypt a new ciphertext with. The first ciphertext of a copy is decrypted
    /// with the original: if the copy were another key, no one could decrypt its ciphertexts later.
    pub(super) fn verification_handle(&self) -> ObjectHandle {
        if self.is_copy_verified { self.preferred() } else { self.main }
    }

    /// Whether the original has to be checked, or used, before the copy may be used again.
    pub(super) fn is_stale(&self) -> bool {
        self.made_copy().is_some() && clock::since(self.seen) > COPY_MAX_AGE
    }

    /// The copy, if it was made.
    pub(super) fn made_copy(&self) -> Option<ObjectHandle> {
        match self.copy {
            SessionCopy::Made(copy) => Some(copy),
            SessionCopy::Never | SessionCopy::Wanted | SessionCopy::Requested => None,
        }
    }
}

/// A ciphertext with known plaintext, to distinguish a bad ciphertext from a failing token.
#[derive(Debug, Clone)]
pub(super) struct KnownAnswer {
    pub(super) iv: Iv,
    pub(super) ciphertext: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    handles: Handles,
    known_answer: Option<KnownAnswer>,
    /// The public key of a pair, and when it was read.
    public_key: Option<(PublicKey, Instant)>,
    /// The length of the modulus of an RSA key.
    modulus_bytes: Option<usize>,
}

impl Entry {
    fn new(handles: Handles) -> Self {
        Self { handles, known_answer: None, public_key: None, modulus_bytes: None }
    }
}

/// All known handles, shared by the token threads.
#[derive(Debug, Default)]
pub(super) struct KeyCache(RwLock<HashMap<KeyIdentity, Entry>>);

impl KeyCache {
    /// The handles of a key, if they are valid in this login epoch.
    pub(super) fn handles(&self, key: KeyIdentity, login_epoch: LoginEpoch) -> Option<Handles> {
        let keys = self.0.read();
        keys.get(&key)
            .map(|entry| entry.handles)
            .filter(|handles| handles.login_epoch == login_epoch)
    }

    /// A few other keys of this login epoch than `key`, with their handles in the token.
    pub(super) fn others(
        &self,
        key: KeyIdentity,
        login_epoch: LoginEpoch,
        most: usize,
    ) -> Vec<(KeyIdentity, ObjectHandle)> {
        let keys = self.0.read();
        let others = keys
            .iter()
            .filter(|(id, entry)| **id != key && entry.handles.login_epoch == login_epoch);
        others.map(|(id, entry)| (*id, entry.handles.main)).take(most).collect()
    }

    /// Stores the handles of a key; keeps its known answer.
    pub(super) fn keep(&self, key: KeyIdentity, handles: Handles) {
        let mut keys = self.0.write();
        let known = keys.remove(&key).unwrap_or_else(|| Entry::new(handles));
        keys.insert(key, Entry { handles, ..known });
    }

    /// Changes the handles of a key, if it still has these objects. Returns whether it has.
    fn change(&self, key: KeyIdentity, of: Handles, change: impl FnOnce(&mut Handles)) -> bool {
        let mut keys = self.0.write();
        let known = keys.get_mut(&key).map(|entry| &mut entry.handles);
        let same =
            known.filter(|known| known.login_epoch == of.login_epoch && known.main == of.main);
        same.map(change).is_some()
    }

    /// Records a use of a key without a copy.
    pub(super) fn note_use(&self, key: KeyIdentity, handles: Handles) {
        self.change(key, handles, |known| known.used = Some(clock::monotonic()));
    }

    /// Records that the copy of a key was requested.
    pub(super) fn note_copy_requested(&self, key: KeyIdentity, handles: Handles) {
        self.change(key, handles, |known| {
            if known.copy == SessionCopy::Wanted {
                known.copy = SessionCopy::Requested;
            }
        });
    }

    /// Stores handles with a new copy. False if the key has other objects now, or a copy.
    pub(super) fn keep_copy(&self, key: KeyIdentity, handles: Handles) -> bool {
        let mut is_kept = false;
        self.change(key, handles, |known| {
            is_kept = known.lacks_copy();
            if is_kept {
                // It may have been compared since.
                *known = Handles { is_compared: known.is_compared, ..handles };
            }
        });
        is_kept
    }

    /// Records that the original of a copy was used.
    pub(super) fn note_seen(&self, key: KeyIdentity, handles: Handles) {
        self.change(key, handles, |known| known.seen = clock::monotonic());
    }

    /// Records that a ciphertext of the copy in these handles was decrypted with the original.
    pub(super) fn note_copy_verified(&self, key: KeyIdentity, handles: Handles) {
        self.change(key, handles, |known| {
            known.is_copy_verified |= known.made_copy().is_some() && known.copy == handles.copy;
        });
    }

    /// Records that the key with these handles gives its known answer.
    pub(super) fn note_compared(&self, key: KeyIdentity, handles: Handles) {
        self.change(key, handles, |known| known.is_compared = true);
    }

    /// The key is compared again before its next use.
    pub(super) fn forget_comparison(&self, key: KeyIdentity) {
        if let Some(entry) = self.0.write().get_mut(&key) {
            entry.handles.is_compared = false;
        }
    }

    /// Stores handles that a listing has found, unless the key is known in that login epoch.
    pub(super) fn insert_missing(&self, found: impl Iterator<Item = (KeyIdentity, Handles)>) {
        let mut keys = self.0.write();
        for (key, handles) in found {
            let known = keys.get(&key).map(|entry| entry.handles.login_epoch);
            if known != Some(handles.login_epoch) {
                keys.insert(key, Entry::new(handles));
            }
        }
    }

    /// Removes a key.
    pub(super) fn forget(&self, key: KeyIdentity) -> Option<Handles> {
        self.0.write().remove(&key).map(|entry| entry.handles)
    }

    /// Removes all keys.
    pub(super) fn clear(&self) {
        self.0.write().clear();
    }

    /// The known answer of a key.
    pub(super) fn known_answer(&self, key: KeyIdentity) -> Option<KnownAnswer> {
        self.0.read().get(&key).and_then(|entry| entry.known_answer.clone())
    }

    /// The public key of a pair, if it was read in this login epoch and not long ago.
    pub(super) fn public_key(
        &self,
        key: KeyIdentity,
        login_epoch: LoginEpoch,
    ) -> Option<PublicKey> {
        let keys = self.0.read();
        let entry = keys.get(&key).filter(|entry| entry.handles.login_epoch == login_epoch)?;
        let (public_key, read) = entry.public_key.as_ref()?;
        (clock::since(*read) <= COPY_MAX_AGE).then(|| public_key.clone())
    }

    /// Stores the public key of a pair, if the key is still known.
    pub(super) fn keep_public_key(&self, key: KeyIdentity, public_key: PublicKey) {
        if let Some(entry) = self.0.write().get_mut(&key) {
            entry.public_key = Some((public_key, clock::monotonic()));
        }
    }

    /// The length of the modulus of an RSA key, if it was read in this login epoch.
    pub(super) fn modulus_bytes(&self, key: KeyIdentity, login_epoch: LoginEpoch) -> Option<usize> {
        let keys = self.0.read();
        let entry = keys.get(&key).filter(|entry| entry.handles.login_epoch == login_epoch)?;
        entry.modulus_bytes
    }

    /// Stores the length of the modulus of an RSA key, if the key is still known.
    pub(super) fn keep_modulus_bytes(&self, key: KeyIdentity, bytes: usize) {
        if let Some(entry) = self.0.write().get_mut(&key) {
            entry.modulus_bytes = Some(bytes);
        }
    }

    /// Stores a known answer, if the key is still known.
    pub(super) fn keep_known_answer(&self, key: KeyIdentity, known_answer: KnownAnswer) {
        if let Some(entry) = self.0.write().get_mut(&key) {
            entry.known_answer = Some(known_answer);
        }
    }
}
