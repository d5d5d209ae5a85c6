//! How often key versions have been used, as far as the store is to know.

use sqlx::AnyConnection;

use super::StoreError;
use crate::model::KeyId;

/// Makes the use counts of one key's versions unknown, or of all keys' where none is named: after
/// the store was restored or rebuilt, keys were used more often than it says.
///
/// It is called within the transaction that brings the key, or with the file that is restored. The
/// store keeps no such counts yet, so that there is nothing to forget.
#[expect(clippy::unused_async, reason = "it is to write a table")]
pub(super) async fn forget(
    _connection: &mut AnyConnection,
    _key: Option<KeyId>,
) -> Result<(), StoreError> {
    Ok(())
}
