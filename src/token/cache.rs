//! The handles of keys by their id. A handle is a cached value and may die at any time.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::locks::{read, write};
use super::name::{KeyClass, KeyIdentity};
use super::objects::query::Found;
use super::template::Copies;
use crate::model::IV_BYTES;

/// How long a session copy is used before its original is looked at: a copy outlives the
/// destruction of its original by another process, and D9 bounds that to 5 s.
const COPY_TRUST: Duration = Duration::from_secs(5);

/// What handles hold under: they die with the initialisation of the module and with the login, and
/// their numbers may come to name other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    /// The initialisation.
    pub(super) epoch: u64,
    /// How often somebody had to log in again.
    pub(super) logins: u64,
}

/// A session copy of a key, which spares the token its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HotCopy {
    /// It would not pay, or the token makes none.
    Never,
    /// To be made when the key is first used.
    Wanted,
    /// Made.
    Made(ObjectHandle),
}

/// The handles of one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handles {
    /// What they hold under.
    pub(super) term: Term,
    /// The secret or private key in the token.
    pub(super) main: ObjectHandle,
    /// The public key of a pair.
    pub(super) public: Option<ObjectHandle>,
    /// The copy of `main`.
    pub(super) copy: HotCopy,
    /// Whether a ciphertext of the copy was seen to open with `main`.
    pub(super) is_copy_proven: bool,
    /// When `main` was last seen in the token.
    pub(super) seen: Instant,
}

impl Handles {
    /// Those of the objects of a key, if there is a key that can be used. Only with secret keys does a
    /// copy pay: a private key's arithmetic outweighs it.
    pub(super) fn of(found: Found, term: Term, copies: Copies) -> Option<Self> {
        let pays = found.class() == Some(KeyClass::Secret) && copies.are_used();
        Some(Self {
            term,
            main: found.main()?,
            public: found.public(),
            copy: if pays { HotCopy::Wanted } else { HotCopy::Never },
            is_copy_proven: false,
            seen: Instant::now(),
        })
    }

    /// The handle for the hot path.
    pub(super) fn hot(&self) -> ObjectHandle {
        self.made_copy().unwrap_or(self.main)
    }

    /// The handle to open a fresh ciphertext by. The first of a copy is opened with the original: one
    /// that is not the same key would open what nobody else can open.
    pub(super) fn verifying(&self) -> ObjectHandle {
        if self.is_copy_proven { self.hot() } else { self.main }
    }

    /// Whether the original has to be looked at before the copy may be used again.
    pub(super) fn is_stale(&self) -> bool {
        self.made_copy().is_some() && self.seen.elapsed() > COPY_TRUST
    }

    /// The copy, if there is one.
    pub(super) fn made_copy(&self) -> Option<ObjectHandle> {
        match self.copy {
            HotCopy::Made(copy) => Some(copy),
            HotCopy::Never | HotCopy::Wanted => None,
        }
    }
}

/// A ciphertext whose plaintext is known, for telling a bad ciphertext from a bad token.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) iv: [u8; IV_BYTES],
    pub(super) sealed: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    handles: Handles,
    control: Option<Control>,
}

/// All known handles, shared by the token threads.
#[derive(Debug, Default)]
pub(super) struct KeyCache(RwLock<HashMap<KeyIdentity, Entry>>);

impl KeyCache {
    /// The handles of a key, if they hold in this term.
    pub(super) fn handles(&self, key: KeyIdentity, term: Term) -> Option<Handles> {
        let keys = read(&self.0);
        keys.get(&key).map(|entry| entry.handles).filter(|handles| handles.term == term)
    }

    /// A few keys of this term beside `key`, with their handles in the token.
    pub(super) fn others(
        &self,
        key: KeyIdentity,
        term: Term,
        most: usize,
    ) -> Vec<(KeyIdentity, ObjectHandle)> {
        let keys = read(&self.0);
        let others = keys.iter().filter(|(id, entry)| **id != key && entry.handles.term == term);
        others.map(|(id, entry)| (*id, entry.handles.main)).take(most).collect()
    }

    /// Keeps the handles of a key, and its control message if it has one.
    pub(super) fn keep(&self, key: KeyIdentity, handles: Handles) {
        let mut keys = write(&self.0);
        let control = keys.remove(&key).and_then(|entry| entry.control);
        keys.insert(key, Entry { handles, control });
    }

    /// Keeps what was found in passing, unless the key is known in that term.
    pub(super) fn learn(&self, found: impl Iterator<Item = (KeyIdentity, Handles)>) {
        let mut keys = write(&self.0);
        for (key, handles) in found {
            let known = keys.get(&key).map(|entry| entry.handles.term);
            if known != Some(handles.term) {
                keys.insert(key, Entry { handles, control: None });
            }
        }
    }

    /// Forgets a key.
    pub(super) fn forget(&self, key: KeyIdentity) -> Option<Handles> {
        write(&self.0).remove(&key).map(|entry| entry.handles)
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        write(&self.0).clear();
    }

    /// The control message of a key.
    pub(super) fn control(&self, key: KeyIdentity) -> Option<Control> {
        read(&self.0).get(&key).and_then(|entry| entry.control.clone())
    }

    /// Keeps a control message, if the key is still known.
    pub(super) fn keep_control(&self, key: KeyIdentity, control: Control) {
        if let Some(entry) = write(&self.0).get_mut(&key) {
            entry.control = Some(control);
        }
    }
}
