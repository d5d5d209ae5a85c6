//! Replaces the checkpoint key after the token has lost it.
//!
//! The lost key cannot sign its replacement. Therefore a record names both keys, the new key signs
//! the next checkpoint, and a verifier must get the new public key from another source.

use super::AuditError;
use super::checkpoint::{AuditKey, NamedKey};
use super::checkpointer::{self, Signer};
use super::metadata::{
    CHANGE_METADATA, KeyChange, NEXT_METADATA, PUBLIC_KEY_METADATA, RETIRED_KEYS_METADATA,
    StoredHead,
};
use crate::model::{KeyVersionId, clock};
use crate::store::{MetadataValue, Store};
use crate::token::{ServiceKey, Token};

/// Generates a new checkpoint key on the token, if the current one is unusable. The next start of
/// the audit log records it. Can be repeated after a failure.
///
/// # Errors
/// [`AuditError::KeyWhole`] when the key is usable, [`AuditError::NoKey`] when there was none yet,
/// and when token or store fail.
pub async fn replace_key(
    store: &Store,
    token: &Token,
    operator: String,
) -> Result<KeyChange, AuditError> {
    let old_public = StoredHead::public_key(store).await?;
    if old_public == MetadataValue::Absent {
        return Err(AuditError::NoKey);
    }
    let old = checkpointer::find_key(store, token, &old_public).await?;
    let old_public = old_public.value();
    if let Some(old) = old
        && checkpointer::is_usable(token, old, old_public.as_ref()).await?
    {
        return Err(AuditError::KeyWhole(old.to_string()));
    }
    let mut retired = StoredHead::retired_keys(store).await?;
    retired.extend(old_public.clone());
    let new = next_name(store).await?;
    let number = u32::try_from(retired.len()).unwrap_or(u32::MAX).saturating_add(1);
    let new_public = Signer::make(token, new, number).await?;
    // If the database has lost both, the record has no information about them.
    let named = |key: Option<KeyVersionId>, public: Option<&AuditKey>| NamedKey {
        key_id: key.map(|key| key.to_string()).unwrap_or_default(),
        public_key: public.map(AuditKey::to_pem).unwrap_or_default(),
    };
    let change = KeyChange {
        time: clock::now().to_string(),
        operator,
        old_key: named(old, old_public.as_ref()),
        new_key: named(Some(new), Some(&new_public)),
    };
    let retired: Vec<_> = retired.iter().map(AuditKey::to_pem).collect();
    let text = |value: serde_json::Result<String>| value.map_err(|_form| AuditError::Damaged);
    let entries = [
        (ServiceKey::CHECKPOINT_KEY, new.to_string()),
        (PUBLIC_KEY_METADATA, new_public.to_pem()),
        (RETIRED_KEYS_METADATA, text(serde_json::to_string(&retired))?),
        (CHANGE_METADATA, text(serde_json::to_string(&change))?),
        (NEXT_METADATA, String::new()),
    ];
    store.set_metadata_entries(&entries).await?;
    // An incomplete pair would be reported by every later check of the token.
    if let Some(old) = old {
        checkpointer::destroy(token, old).await?;
    }
    Ok(change)
}

/// The id of the new key, stored before the key is generated, so that an interrupted attempt is
/// repeated with the same id.
async fn next_name(store: &Store) -> Result<KeyVersionId, AuditError> {
    let read = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    if let MetadataValue::Read(Some(name)) = store.read_metadata(NEXT_METADATA, read).await? {
        return Ok(name);
    }
    let name = KeyVersionId::random();
    store.set_metadata(NEXT_METADATA, &name.to_string()).await?;
    Ok(name)
}
