//! Client keys: the certificates with which applications come in.

mod mint;

pub use mint::{MintError, Minted, mint};
