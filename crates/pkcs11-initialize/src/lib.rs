//! C_Initialize with an argument in `pReserved`, which some modules require: NSS.
//!
//! The binding has only an unsafe function for it, because it accepts any pointer. A text that
//! lives as long as the process is always a valid one, so this crate needs one `unsafe` block and
//! its callers need none.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;

/// Calls C_Initialize with these flags, and with the argument in `pReserved` if there is one.
///
/// # Errors
/// As C_Initialize. SoftHSM and other modules refuse every argument with CKR_ARGUMENTS_BAD.
pub fn initialize(
    pkcs11: &Pkcs11,
    flags: CInitializeFlags,
    argument: Option<&'static CStr>,
) -> Result<(), Error> {
    let Some(argument) = argument else { return pkcs11.initialize(CInitializeArgs::new(flags)) };
    let pointer = NonNull::from(argument).cast::<c_void>();
    // SAFETY: the pointer is that of a text with a zero byte at its end, which is neither changed
    // nor freed while the process lives. A module that expects an argument reads it as such a text.
    let arguments = unsafe { CInitializeArgs::new_with_reserved(flags, pointer) };
    pkcs11.initialize(arguments)
}
