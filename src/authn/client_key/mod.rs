//! Client keys: the certificates with which applications authenticate.

mod issue;
mod verify;

pub use issue::{IssueError, IssuedClientKey, issue};
pub use verify::{ClientKeyClaim, ClientKeys, is_claim_signature_valid, is_rsa_signature_valid};
