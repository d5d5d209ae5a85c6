//! Initializes a new token in a free slot.

use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::error::TokenError;
use super::library::{self, Library};
use super::settings::TokenInfo;

/// The size of the label in CK_TOKEN_INFO, in bytes.
const LABEL_BYTES: usize = 32;

/// Initializes a token with this label unless it exists. True if it did not.
pub(super) fn run(
    module: &Path,
    init_arguments: Option<&str>,
    label: &str,
    so_pin: &SecretString,
    pin: &SecretString,
) -> Result<bool, TokenError> {
    if label.is_empty() || label.len() > LABEL_BYTES || label.trim() != label {
        return Err(TokenError::BadInput("a token label has 1 to 32 bytes and no outer spaces"));
    }
    let library = Library::load(module, init_arguments)?;
    let initialized_by_us = library.initialize()?;
    let result = provision(&library.pkcs11, label, so_pin, pin);
    if initialized_by_us {
        library.pkcs11.finalize()?;
    }
    result
}

fn provision(
    pkcs11: &Pkcs11,
    label: &str,
    so_pin: &SecretString,
    pin: &SecretString,
) -> Result<bool, TokenError> {
    let tokens = library::tokens(pkcs11)?;
    let same = |info: &cryptoki::slot::TokenInfo| {
        info.token_initialized() && TokenInfo::from(info).label == label
    };
    if let Some((slot, info)) = tokens.iter().find(|(_slot, info)| same(info)) {
        // A run that was killed between the two steps left a token without a user PIN.
        if !info.user_pin_initialized() {
            set_user_pin(pkcs11, *slot, so_pin, pin)?;
        }
        return Ok(false);
    }
    let free = tokens.iter().find(|(_slot, info)| !info.token_initialized());
    let (slot, _info) =
        free.ok_or(TokenError::Unsupported("another token in its module (no slot is free)"))?;
    pkcs11.init_token(*slot, so_pin, label)?;
    set_user_pin(pkcs11, *slot, so_pin, pin)?;
    Ok(true)
}

fn set_user_pin(
    pkcs11: &Pkcs11,
    slot: Slot,
    so_pin: &SecretString,
    pin: &SecretString,
) -> Result<(), TokenError> {
    let session = pkcs11.open_rw_session(slot)?;
    match session.login(UserType::So, Some(so_pin)) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => return Err(error.into()),
    }
    let set = session.init_pin(pin);
    session.logout()?;
    Ok(set?)
}
