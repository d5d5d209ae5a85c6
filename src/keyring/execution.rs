//! The permission to execute, which a dry run does not get.

use crate::error::ErrorCode;
use crate::token::Budget;

/// Permits the execution of a request that is not a dry run. It has the request's token budget.
///
/// Every method of [`Keyring`](super::Keyring) that counts an IV, changes a key or returns the
/// output of a key requires one, and a dry run cannot get one. So an operation with DryRun has
/// finished its checks when it requests an `Execution`, and an operation without one has no output
/// to return:
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
/// The budget alone, which checks such as a decryption use, is not sufficient:
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
/// Nor can it be constructed elsewhere, because its field is private:
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
    /// The execution of a request with this budget. Only the context of an operation calls it
    /// (`tests/architecture.rs`).
    ///
    /// # Errors
    /// `DryRunOperationError` for a dry run: every check has passed.
    pub(crate) fn unless(is_dry_run: bool, budget: &'a Budget) -> Result<Self, ErrorCode> {
        if is_dry_run { Err(ErrorCode::DryRunOperation) } else { Ok(Self(budget)) }
    }

    /// The request's token budget.
    pub(super) const fn budget(self) -> &'a Budget {
        self.0
    }
}
