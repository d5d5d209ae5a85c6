//! `hsmgate client-key create|list|delete`.

mod create;
mod delete;
pub(super) mod files;
mod list;

use clap::Subcommand;

use self::create::Create;
use self::delete::Delete;
use self::list::List;

#[derive(Debug, Subcommand)]
pub(super) enum ClientKey {
    /// Make a client key for an application that uses a KMS instance SDK
    Create(Create),
    /// List all client keys, with the hour of their last use
    List(List),
    /// Delete a client key
    Delete(Delete),
}

impl ClientKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Delete(delete) => delete.run(),
        }
    }
}
