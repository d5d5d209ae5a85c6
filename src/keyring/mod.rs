//! Keys and versions to token objects: which version, which state, which bound data.
//!
//! Takes an [`AuthorizedKey`], never a key id. Knows nothing of wires.

mod data_key_pair;
pub mod error;
mod import;
mod lifecycle;
mod mac;
mod pair;
mod public_key;
mod reconcile;
mod rotation;
mod state;
mod symmetric;

use std::sync::Arc;
use std::time::Duration;

pub use data_key_pair::{DataKeyPair, PairForm};
pub use error::KeyringError;
pub use import::{WrappedMaterial, WrappingKey};
pub use lifecycle::NewKey;
pub use public_key::{RecipientKey, signature_from_der, signature_to_der};
pub use state::Use;

use crate::store::Store;
use crate::token::Token;

/// The keys of this gateway.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    token: Token,
    times: TokenTimes,
    /// Held while imported material changes.
    material: Arc<tokio::sync::Mutex<()>>,
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
        Self { store, token, times, material: Arc::default() }
    }

    /// How long the token may take.
    pub fn times(&self) -> TokenTimes {
        self.times
    }
}
