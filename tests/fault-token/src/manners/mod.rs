//! Manners of production HSMs: what a token does differently from SoftHSM2, where PKCS#11 leaves a
//! choice or where vendors differ from it.
//!
//! A file for each family of manners. Its hooks stand before the functions of the module (see
//! `module.rs`): a hook answers the call in its place, or lets it pass.

pub(crate) mod attributes;
pub(crate) mod creation;
pub(crate) mod functions;
pub(crate) mod iv;
mod name;
mod objects;
pub(crate) mod random;
pub(crate) mod unwrapping;

pub use name::{CLOUD_HSM, Manner};

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE};

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
}

impl MannerState {
    pub(crate) fn encryptions(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, iv::TokenIv>> {
        self.encryptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// C_Initialize of the inner module with variables of its own.
///
/// # Safety
/// The argument is that of the function.
pub(crate) unsafe fn initialize(call: Call<'_>, args: *mut std::ffi::c_void) -> Option<CK_RV> {
    // SAFETY: by the contract above.
    unsafe { call.inner.initialize(args) }
}
