//! Keys and versions to token objects: which version, which state, which bound data.
//!
//! Takes an [`AuthorizedKey`], never a key id. Knows nothing of wires.

pub mod error;
mod import;
mod lifecycle;
mod mac;
mod pair;
mod public_key;
mod reconcile;
mod state;
mod symmetric;

use std::time::Duration;

pub use error::KeyringError;
pub use import::{WrappedMaterial, WrappingKey};
pub use lifecycle::NewKey;
pub use public_key::RecipientKey;
pub use state::Use;

use crate::store::Store;
use crate::token::Token;

/// The keys of this gateway.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    token: Token,
    times: TokenTimes,
}

/// How long the token may take.
#[derive(Debug, Clone, Copy)]
pub struct TokenTimes {
    /// For a call that uses a key.
    pub call: Duration,
    /// For making a key; RSA pairs take seconds.
    pub generate: Duration,
}

impl Keyring {
    /// A keyring over a store and the token that the store belongs to.
    pub fn new(store: Store, token: Token, times: TokenTimes) -> Self {
        Self { store, token, times }
    }

    /// How long the token may take.
    pub fn times(&self) -> TokenTimes {
        self.times
    }
}
