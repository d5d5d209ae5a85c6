//! The handles of keys by their id. A handle is a cached value and may die at any time.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;

use super::locks::{read, write};
use crate::model::{IV_BYTES, KeyVersionId};

/// How long a session copy is used before its original is looked at: a copy outlives the
/// destruction of its original by another process, and D9 bounds that to 5 s.
const COPY_TRUST: Duration = Duration::from_secs(5);

/// The handles of one key, good within one initialisation of the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handles {
    /// The initialisation of the module that they belong to.
    pub(super) epoch: u64,
    /// The secret or private key in the token.
    pub(super) main: ObjectHandle,
    /// The public key of a pair.
    pub(super) public: Option<ObjectHandle>,
    /// A session copy of `main`, which spares the token its disk.
    pub(super) copy: Option<ObjectHandle>,
    /// When `main` was last seen in the token.
    pub(super) seen: Instant,
}

impl Handles {
    /// The handle for the hot path.
    pub(super) fn hot(&self) -> ObjectHandle {
        self.copy.unwrap_or(self.main)
    }

    /// Whether the original has to be looked at before the copy may be used again.
    pub(super) fn is_stale(&self) -> bool {
        self.copy.is_some() && self.seen.elapsed() > COPY_TRUST
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
pub(super) struct KeyCache(RwLock<HashMap<KeyVersionId, Entry>>);

impl KeyCache {
    /// The handles of a key, if they are of this epoch.
    pub(super) fn handles(&self, key: KeyVersionId, epoch: u64) -> Option<Handles> {
        let keys = read(&self.0);
        keys.get(&key).map(|entry| entry.handles).filter(|handles| handles.epoch == epoch)
    }

    /// A few keys of this epoch beside `key`, with their handles in the token.
    pub(super) fn others(
        &self,
        key: KeyVersionId,
        epoch: u64,
        most: usize,
    ) -> Vec<(KeyVersionId, ObjectHandle)> {
        let keys = read(&self.0);
        let others = keys.iter().filter(|(id, entry)| **id != key && entry.handles.epoch == epoch);
        others.map(|(id, entry)| (*id, entry.handles.main)).take(most).collect()
    }

    /// Keeps the handles of a key, and its control message if it has one.
    pub(super) fn keep(&self, key: KeyVersionId, handles: Handles) {
        let mut keys = write(&self.0);
        let control = keys.remove(&key).and_then(|entry| entry.control);
        keys.insert(key, Entry { handles, control });
    }

    /// Forgets a key.
    pub(super) fn forget(&self, key: KeyVersionId) -> Option<Handles> {
        write(&self.0).remove(&key).map(|entry| entry.handles)
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        write(&self.0).clear();
    }

    /// The control message of a key.
    pub(super) fn control(&self, key: KeyVersionId) -> Option<Control> {
        read(&self.0).get(&key).and_then(|entry| entry.control.clone())
    }

    /// Keeps a control message, if the key is still known.
    pub(super) fn keep_control(&self, key: KeyVersionId, control: Control) {
        if let Some(entry) = write(&self.0).get_mut(&key) {
            entry.control = Some(control);
        }
    }
}
