//! Encryption and data keys.

mod encryption;
mod iv_budget;
mod token_iv;
