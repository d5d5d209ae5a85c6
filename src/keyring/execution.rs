//! The permission to execute, which a dry run does not get, and the last call of an operation.

use crate::error::ErrorCode;
use crate::token::{Budget, Completion};

/// Permits the execution of a request that is not a dry run. It has the request's token budget.
///
/// Every method of [`Keyring`](super::Keyring) that counts an IV, changes a key or returns the
/// output of a key requires one, and a dry run cannot get one. So an operation with DryRun has
/// finished its checks when it requests an `Execution`, and an operation without one has no output
/// to return:
///
/// ```
/// # use hsmgate::authz::AuthorizedKey;
/// # use hsmgate::keyring::{Execution, Keyring, LastExecution, VersionSelector};
/// # use hsmgate::ops::crypto::encrypt::Encrypt;
/// # async fn encrypt(keyring: Keyring, key: AuthorizedKey<Encrypt>, execution: LastExecution<'_>) {
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

/// The token call with which an operation ends: its token budget, and what happens to the result
/// before the operation gets it.
#[derive(Debug)]
pub struct LastCall<'a> {
    pub(super) budget: &'a Budget,
    pub(super) completion: Option<Completion>,
}

/// An [`Execution`] whose token call is the last step of its operation that can fail. The record of
/// its success may be written before the operation gets the result.
#[derive(Debug)]
pub struct LastExecution<'a>(LastCall<'a>);

impl<'a> LastCall<'a> {
    /// A call with this budget. Without a completion, the operation gets the result at once.
    pub fn new(budget: &'a Budget, completion: Option<Completion>) -> Self {
        Self { budget, completion }
    }
}

/// For an operation that continues after the call.
impl<'a> From<Execution<'a>> for LastExecution<'a> {
    fn from(Execution(budget): Execution<'a>) -> Self {
        Self(LastCall::new(budget, None))
    }
}

impl<'a> Execution<'a> {
    /// The execution of the last call of an operation.
    pub fn ending_with(self, completion: Option<Completion>) -> LastExecution<'a> {
        LastExecution(LastCall::new(self.0, completion))
    }
}

impl<'a> LastExecution<'a> {
    /// The last call of the operation.
    pub(super) fn into_call(self) -> LastCall<'a> {
        self.0
    }
}
