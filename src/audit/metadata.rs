//! The audit state in the store: the audit head, the checkpoint keys, and a change of the checkpoint
//! key that is not recorded yet.

use serde::{Deserialize, Serialize};

use super::AuditError;
use super::chain::Head;
use super::checkpoint::{AuditKey, Checkpoint, NamedKey};
use crate::store::{MetadataValue, Store, StoreError};
use crate::token::ServiceKey;

/// The metadata entry with the audit head in the store. Each gateway of a cluster has its own.
pub const HEAD_METADATA: &str = "audit-head";
pub(super) const PUBLIC_KEY_METADATA: &str = "audit-public-key";
/// The public keys that were replaced, oldest first: PEM texts as JSON.
pub(super) const RETIRED_KEYS_METADATA: &str = "audit-retired-keys";
/// The metadata entry with a change that is not recorded yet. Empty if there is none.
pub(super) const CHANGE_METADATA: &str = "audit-key-change";
/// The metadata entry with the id of a key that is being generated. Empty if there is none.
pub(super) const NEXT_METADATA: &str = "audit-next-checkpoint-key";

/// The metadata entry that an operator's restore or recovery sets, until the next start: the audit file may
/// be ahead of the database by more than one checkpoint. Empty if it may not.
const OLDER_ACCEPTED_METADATA: &str = "audit-older-database-accepted";

/// Allows the next start to continue an audit file that is ahead of the database. For a command that
/// replaces or accepts an older database.
///
/// # Errors
/// When the database cannot be written.
pub async fn accept_older_database(store: &Store) -> Result<(), StoreError> {
    store.set_metadata(&store.own_entry(OLDER_ACCEPTED_METADATA), "yes").await
}

/// The metadata that a restored store inherits from the newer store that it replaces: the audit
/// state, so that the audit file can continue. Empty if the replaced store is not newer, or cannot
/// be read. `old` returns a metadata entry of the replaced store, `new_head` is [`HEAD_METADATA`]
/// of the restored one.
pub fn metadata_to_keep<'a>(
    old: impl Fn(&str) -> Option<&'a str>,
    new_head: Option<&str>,
) -> Vec<(&'static str, &'a str)> {
    let number = |head: Option<&str>| {
        head.and_then(|text| serde_json::from_str(text).ok())
            .map(|known: StoredHead| known.head.sequence)
    };
    if number(old(HEAD_METADATA)).is_none_or(|old| number(new_head).is_some_and(|new| new > old)) {
        return Vec::new();
    }
    let entries = [
        HEAD_METADATA,
        PUBLIC_KEY_METADATA,
        RETIRED_KEYS_METADATA,
        ServiceKey::CHECKPOINT_KEY,
        CHANGE_METADATA,
        NEXT_METADATA,
    ];
    entries.into_iter().filter_map(|name| Some((name, old(name)?))).collect()
}

/// The last record of a gateway of a cluster that the store knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayHead {
    /// The name of the gateway.
    pub gateway: String,
    /// The record.
    pub known: Head,
}

/// The audit head in the store. The chain never goes back behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredHead {
    /// A record that is on disk.
    pub head: Head,
    /// Whether it was the last record of an orderly shutdown.
    pub is_closed: bool,
    /// Whether a gateway has started since to write after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_opening: bool,
    /// The last checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

impl StoredHead {
    /// The head in the store. Absent before the first checkpoint.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &Store) -> Result<MetadataValue<Self>, AuditError> {
        let name = store.own_entry(HEAD_METADATA);
        Ok(store.read_metadata(&name, |text| serde_json::from_str(text).ok()).await?)
    }

    /// The heads of the other gateways of a cluster. A damaged one is left out: its gateway repairs it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of_other_gateways(store: &Store) -> Result<Vec<GatewayHead>, AuditError> {
        let (Some(own), Some(cluster)) = (store.member(), store.cluster_status().await?) else {
            return Ok(Vec::new());
        };
        let mut heads = Vec::new();
        for other in cluster.members.into_iter().filter(|member| member.name != own) {
            let name = format!("{HEAD_METADATA}/{}", other.name);
            let head = store.read_metadata(&name, |text| serde_json::from_str(text).ok()).await?;
            let head: Option<Self> = head.value();
            heads.extend(head.map(|known| GatewayHead { gateway: other.name, known: known.head }));
        }
        Ok(heads)
    }

    /// Whether an operator accepted that the audit file is ahead of the database.
    pub(super) async fn is_older_accepted(store: &Store) -> Result<bool, AuditError> {
        let read = |text: &str| Some(!text.is_empty());
        let name = store.own_entry(OLDER_ACCEPTED_METADATA);
        Ok(store.read_metadata(&name, read).await?.value().unwrap_or_default())
    }

    /// Saves the head that a start continues, which is not older any more.
    pub(super) async fn save_as_newest(&self, store: &Store) -> Result<(), AuditError> {
        let (head, accepted) =
            (store.own_entry(HEAD_METADATA), store.own_entry(OLDER_ACCEPTED_METADATA));
        let entries = [(&*head, self.to_text()?), (&*accepted, String::new())];
        Ok(store.set_metadata_entries(&entries).await?)
    }

    fn to_text(&self) -> Result<String, AuditError> {
        serde_json::to_string(self).map_err(|_form| AuditError::Damaged)
    }

    pub(super) async fn save(&self, store: &Store) -> Result<(), AuditError> {
        Ok(store.set_metadata(&store.own_entry(HEAD_METADATA), &self.to_text()?).await?)
    }

    /// The key that signs the checkpoints. Absent before the first start with an audit log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn public_key(store: &Store) -> Result<MetadataValue<AuditKey>, AuditError> {
        Ok(store.read_metadata(PUBLIC_KEY_METADATA, |pem| AuditKey::from_pem(pem).ok()).await?)
    }

    /// The replaced checkpoint keys, oldest first. Empty if the entry is damaged; their signatures
    /// are then not trusted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retired_keys(store: &Store) -> Result<Vec<AuditKey>, AuditError> {
        let read = |text: &str| {
            let pems: Vec<String> = serde_json::from_str(text).ok()?;
            pems.iter().map(|pem| AuditKey::from_pem(pem).ok()).collect::<Option<Vec<_>>>()
        };
        Ok(store.read_metadata(RETIRED_KEYS_METADATA, read).await?.value().unwrap_or_default())
    }

    pub(super) async fn save_public_key(store: &Store, key: &AuditKey) -> Result<(), AuditError> {
        Ok(store.set_metadata(PUBLIC_KEY_METADATA, &key.to_pem()).await?)
    }
}

/// A change of the checkpoint key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyChange {
    /// When it was changed.
    pub time: String,
    /// The operator's system account.
    pub operator: String,
    /// The lost key.
    pub old_key: NamedKey,
    /// The key that signs from now on.
    pub new_key: NamedKey,
}

impl KeyChange {
    /// The change that is not recorded yet.
    pub(super) async fn unrecorded(store: &Store) -> Result<Option<Self>, AuditError> {
        let read = |text: &str| {
            if text.is_empty() { Some(None) } else { serde_json::from_str(text).ok().map(Some) }
        };
        Ok(store.read_metadata(CHANGE_METADATA, read).await?.value().flatten())
    }

    /// Deletes the change after it was recorded.
    pub(super) async fn forget(store: &Store) -> Result<(), AuditError> {
        Ok(store.set_metadata(CHANGE_METADATA, "").await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_store_passes_on_its_audit_state() {
        let head = |sequence: u64| {
            let head = Head { sequence, chain: Head::START.chain };
            let known = StoredHead { head, is_closed: true, is_opening: false, checkpoint: None };
            serde_json::to_string(&known).unwrap()
        };
        let (older, newer) = (head(5), head(9));
        let entries = [(HEAD_METADATA, &*newer), (PUBLIC_KEY_METADATA, "pem"), ("other", "x")];
        let old =
            |name: &str| entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value);
        let kept = [(HEAD_METADATA, &*newer), (PUBLIC_KEY_METADATA, "pem")];
        assert_eq!(metadata_to_keep(old, Some(&older)), kept);
        assert_eq!(metadata_to_keep(old, None), kept);
        assert_eq!(metadata_to_keep(old, Some("damaged")), kept);
        assert_eq!(metadata_to_keep(old, Some(&head(10))), []);
        assert_eq!(metadata_to_keep(|_| None, Some(&older)), []);
        let is_damaged = |name: &str| (name == HEAD_METADATA).then_some("damaged");
        assert_eq!(metadata_to_keep(is_damaged, Some(&older)), []);
    }
}
