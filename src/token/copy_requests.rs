//! The keys whose session copies are to be made. Calls use the original meanwhile.

use flume::{Receiver, Sender};

use super::objects::name::KeyIdentity;

/// The maximum number of waiting keys. Those beyond it are requested again when they are next used.
const MAX_WAITING: usize = 1_024;

/// The queue of keys, from the threads that use keys to the thread for changes.
pub(super) struct CopyRequests {
    sender: Sender<KeyIdentity>,
    receiver: Receiver<KeyIdentity>,
}

impl Default for CopyRequests {
    fn default() -> Self {
        let (sender, receiver) = flume::bounded(MAX_WAITING);
        Self { sender, receiver }
    }
}

impl CopyRequests {
    /// Requests the copy of a key. False if too many keys wait.
    pub(super) fn send(&self, key: KeyIdentity) -> bool {
        self.sender.try_send(key).is_ok()
    }

    /// The keys, in the order of their requests.
    pub(super) fn keys(&self) -> &Receiver<KeyIdentity> {
        &self.receiver
    }
}
