//! Manners of production HSMs: what a token does differently from SoftHSM2, where PKCS#11 leaves a
//! choice or where vendors differ from it.
//!
//! A file for each family of manners. Its hooks stand before the functions of the module (see
//! `module.rs`): a hook answers the call in its place, or lets it pass.

pub(crate) mod attributes;
pub(crate) mod creation;
pub(crate) mod foreign;
pub(crate) mod functions;
pub(crate) mod iv;
pub(crate) mod mechanisms;
pub(crate) mod messages;
mod name;
mod objects;
pub(crate) mod random;
pub(crate) mod tokens;
pub(crate) mod unwrapping;
mod value;
pub(crate) mod wear;

pub use name::{CLOUD_HSM, Manner};
pub use value::{AttributeType, MechanismType, ReturnCode};

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};

use crate::inner_module::InnerModule;

/// One call of the module, as the hooks see it.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) inner: &'a InnerModule,
    pub(crate) manners: &'a [Manner],
    pub(crate) state: &'a MannerState,
}

impl Call<'_> {
    /// Whether a manner is in force.
    pub(crate) fn has(&self, manner: Manner) -> bool {
        self.manners.contains(&manner)
    }
}

/// What the manners remember between calls.
#[derive(Default)]
pub(crate) struct MannerState {
    /// Encryptions under way with an IV that the token has made.
    encryptions: Mutex<HashMap<CK_SESSION_HANDLE, iv::TokenIv>>,
    /// The operations under way that encrypt or decrypt messages.
    message_keys: Mutex<HashMap<CK_SESSION_HANDLE, messages::MessageKeys>>,
    /// The foreign objects that a search has found and not yet given.
    found: Mutex<HashMap<CK_SESSION_HANDLE, Vec<CK_OBJECT_HANDLE>>>,
    /// Uses of keys by their CKA_ID.
    uses: Mutex<HashMap<Vec<u8>, u64>>,
}

impl MannerState {
    pub(crate) fn encryptions(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, iv::TokenIv>> {
        lock(&self.encryptions)
    }

    fn message_keys(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, messages::MessageKeys>> {
        lock(&self.message_keys)
    }

    fn found(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, Vec<CK_OBJECT_HANDLE>>> {
        lock(&self.found)
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<Vec<u8>, u64>> {
        lock(&self.uses)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
