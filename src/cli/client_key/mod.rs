//! `hsmgate client-key create|list|delete`.

mod create;
mod delete;
pub(super) mod files;
mod list;

use self::create::Create;
use self::delete::Delete;
use self::list::List;

pub(super) use self::delete::DeleteClientKey;
pub(super) use self::list::ListClientKeys;

/// Ten years, the maximum validity in days.
pub(super) const MAX_DAYS: i64 = 3650;
/// The validity in days unless it is given: five years (CreateClientKey).
pub(super) const DEFAULT_DAYS: i64 = 5 * 365;

commands! {
    pub(super) enum ClientKey {
        /// Create a client key for an application that uses a KMS instance SDK
        Create(Create);
        /// List all client keys, with the hour of their last use
        List(List);
        /// Delete a client key
        Delete(Delete);
    }
}
