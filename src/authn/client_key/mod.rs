//! Client keys: the certificates with which applications come in.

mod mint;
mod verify;

pub use mint::{MintError, Minted, mint};
pub use verify::{ClientKeyClaim, ClientKeys, is_signed, is_signed_by};
