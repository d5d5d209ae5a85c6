//! Permission to do more than checks, which a dry run does not get.

use crate::error::ErrorCode;
use crate::token::Budget;

/// A request is to be executed: it is no dry run. It holds the request's time in the token.
///
/// Every method of [`Keyring`](super::Keyring) that counts an IV, changes a key or gives out what a key
/// makes takes one, and a dry run cannot get one. So an operation that takes DryRun has come to the end of
/// its checks where it asks for it, and one that does not ask has nothing to answer:
///
/// ```
/// # use hsmgate::authz::AuthorizedKey;
/// # use hsmgate::keyring::{Execution, Keyring, VersionSelector};
/// # use hsmgate::ops::crypto::encrypt::Encrypt;
/// # async fn encrypt(keyring: Keyring, key: AuthorizedKey<Encrypt>, execution: Execution<'_>) {
/// let version = keyring.encryption_version(&key, VersionSelector::Primary).unwrap();
/// let blob = keyring.encrypt(&version, None, Vec::new().into(), Vec::new(), execution).await;
/// # }
/// ```
///
/// The time alone, which checks such as a decryption take, is not enough:
///
/// ```compile_fail,E0308
/// # use hsmgate::authz::AuthorizedKey;
/// # use hsmgate::keyring::{Keyring, VersionSelector};
/// # use hsmgate::ops::crypto::encrypt::Encrypt;
/// # use hsmgate::token::Budget;
/// # async fn encrypt(keyring: Keyring, key: AuthorizedKey<Encrypt>, budget: &Budget) {
/// let version = keyring.encryption_version(&key, VersionSelector::Primary).unwrap();
/// let blob = keyring.encrypt(&version, None, Vec::new().into(), Vec::new(), budget).await;
/// # }
/// ```
///
/// Nor can one be made by hand, since its field is private:
///
/// ```compile_fail,E0423
/// # use hsmgate::{keyring::Execution, token::Budget};
/// fn forge(budget: &Budget) -> Execution<'_> {
///     Execution(budget)
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Execution<'a>(&'a Budget);

impl<'a> Execution<'a> {
    /// That of a request with this time in the token. Only the context of an operation asks for it
    /// (`tests/architecture.rs`).
    ///
    /// # Errors
    /// `DryRunOperationError` for a dry run: every check has passed.
    pub(crate) fn unless(is_dry_run: bool, budget: &'a Budget) -> Result<Self, ErrorCode> {
        if is_dry_run { Err(ErrorCode::DryRunOperation) } else { Ok(Self(budget)) }
    }

    /// The request's time in the token.
    pub(super) const fn budget(self) -> &'a Budget {
        self.0
    }
}
