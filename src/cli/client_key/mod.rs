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
