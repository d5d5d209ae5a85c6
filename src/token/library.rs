//! The PKCS#11 module as a shared library: loads it, calls C_Initialize, lists its tokens.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::slot::Slot;
use parking_lot::Mutex;

use super::error::TokenError;

/// The modules that this process has loaded. They stay loaded until it ends: a thread that has called
/// a module executes destructors of the module's libraries when it ends. Without the module they can
/// crash (openCryptoki 3.23 with OpenSSL 3.5).
static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// A loaded module.
pub(super) struct Library {
    pub(super) pkcs11: Pkcs11,
    /// The argument of C_Initialize. The module may keep the pointer, so the text is never freed.
    init_arguments: Option<&'static CStr>,
}

impl Library {
    /// Loads the module, unless it is loaded.
    pub(super) fn load(module: &Path, init_arguments: Option<&str>) -> Result<Self, TokenError> {
        let init_arguments = init_arguments.map(kept).transpose()?;
        let pkcs11 = match LOADED.lock().entry(module.to_owned()) {
            Entry::Occupied(loaded) => loaded.get().clone(),
            Entry::Vacant(place) => {
                let load = Pkcs11::new(module).map_err(|error| TokenError::Module {
                    path: module.to_owned(),
                    source: loading(error),
                });
                place.insert(load?).clone()
            }
        };
        Ok(Self { pkcs11, init_arguments })
    }

    /// Initializes the module. True if it was not initialized before, so that this process must
    /// finalize it.
    pub(super) fn initialize(&self) -> Result<bool, TokenError> {
        let flags = CInitializeFlags::OS_LOCKING_OK;
        match pkcs11_initialize::initialize(&self.pkcs11, flags, self.init_arguments) {
            Ok(()) => Ok(true),
            Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
            Err(Pkcs11Error::Pkcs11(RvError::ArgumentsBad, _)) => Err(TokenError::InitArguments),
            Err(error) => Err(error.into()),
        }
    }

    /// Initializes the module, and finalizes it first if this process initialized it: a lost module
    /// may have rejected C_Finalize, and would keep the old sessions and handles.
    pub(super) fn initialize_again(&self, was_initialized_by_us: bool) -> Result<bool, TokenError> {
        if self.initialize()? {
            return Ok(true);
        }
        if was_initialized_by_us {
            self.pkcs11.clone().finalize()?;
            self.initialize()?;
        }
        Ok(was_initialized_by_us)
    }
}

/// The cause of a failure to load a module. The error of the binding repeats the text of its source.
fn loading(error: Pkcs11Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        Pkcs11Error::LibraryLoading(source) => source.into(),
        error => error.into(),
    }
}

fn kept(text: &str) -> Result<&'static CStr, TokenError> {
    let text = CString::new(text).map_err(|_zero| {
        TokenError::BadInput("the argument of C_Initialize must not contain a zero byte")
    })?;
    Ok(Box::leak(text.into_boxed_c_str()))
}

/// Every slot with a readable token. An unreadable slot must not hide the others.
pub(super) fn tokens(
    pkcs11: &Pkcs11,
) -> Result<Vec<(Slot, cryptoki::slot::TokenInfo)>, TokenError> {
    let mut tokens = Vec::new();
    for slot in pkcs11.get_slots_with_token()? {
        match pkcs11.get_token_info(slot) {
            Ok(info) => tokens.push((slot, info)),
            Err(error) => {
                tracing::warn!(
                    event = "token.slot_skipped",
                    slot = slot.id(),
                    %error,
                    "skipped a slot that cannot be read"
                );
            }
        }
    }
    Ok(tokens)
}
