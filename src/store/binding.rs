//! What a store belongs to: one token, one region and account, and the KMS instance that it is.
//!
//! With another token its keys would all be missing, in another region or account its ARNs would be
//! wrong.

use super::{MetadataValue, Store, StoreError};
use crate::model::{Instance, InstanceId, RegionAccount, clock};

/// The name of the metadata with the id of the instance.
pub const INSTANCE_ID: &str = "instance-id";
const INSTANCE_CREATED: &str = "instance-created";
/// The name of the metadata with the serial number of the token.
pub const TOKEN_SERIAL: &str = "token-serial";
const TOKEN_LABEL: &str = "token-label";
const REGION: &str = "region";
const ACCOUNT: &str = "account";
/// The names of the metadata that is the same in every copy of one store.
pub const BINDING_METADATA: &[&str] = &[TOKEN_SERIAL, REGION, ACCOUNT, INSTANCE_ID];

/// How store and token are opened without serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// Nothing is changed; other processes may use the store, which has to exist.
    ReadOnly,
    /// No gateway may change the store meanwhile; a store that does not exist is created.
    ReadWrite,
}

/// The texts by which a token is recognized.
#[derive(Debug, Clone, Copy)]
pub struct TokenTexts<'a> {
    /// Its serial number.
    pub serial: &'a str,
    /// Its label.
    pub label: &'a str,
}

/// Why a store does not belong to what it is used with.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// It cannot be read or written.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// It belongs to another token, region or account.
    #[error("the store belongs to {what} {stored:?}, not to {given:?}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What the store says.
        stored: String,
        /// What the configuration or the token says.
        given: String,
    },
}

impl Store {
    /// Whether the store belongs to this region and account, for commands that do without the token.
    /// Metadata that cannot be read passes, so that rights can still be revoked; the log
    /// names it.
    ///
    /// # Errors
    /// When the store belongs to another region or account, or cannot be read.
    pub async fn check_region_account(
        &self,
        region_account: &RegionAccount,
    ) -> Result<(), BindingError> {
        for (what, name, given) in metadata_of(region_account) {
            self.compare(what, name, &given).await?;
        }
        Ok(())
    }

    /// The metadata with this name, unless it differs from what is given.
    async fn compare(
        &self,
        what: &'static str,
        name: &str,
        given: &str,
    ) -> Result<MetadataValue<String>, BindingError> {
        match self.read_metadata(name, |text| Some(text.to_owned())).await? {
            MetadataValue::Read(stored) if stored != given => {
                Err(BindingError::Mismatch { what, stored, given: given.to_owned() })
            }
            same => Ok(same),
        }
    }

    /// The serial number of the store's token, if it differs from that of this token and the label does
    /// not. The two may be one token: a group of HSMs shows the number of the member that responds. A
    /// key that identifies the token decides.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn other_serial(&self, token: TokenTexts<'_>) -> Result<Option<String>, StoreError> {
        let text = |text: &str| Some(text.to_owned());
        let serial = self.read_metadata(TOKEN_SERIAL, text).await?.value();
        let label = self.read_metadata(TOKEN_LABEL, text).await?.value();
        let has_label = label.is_none_or(|label| label == token.label);
        Ok(serial.filter(|serial| serial != token.serial && has_label))
    }

    /// Binds the store to this token, which has the key that identifies it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn bind_to_token(&self, token: TokenTexts<'_>) -> Result<(), StoreError> {
        let entries =
            [(TOKEN_SERIAL, token.serial.to_owned()), (TOKEN_LABEL, token.label.to_owned())];
        self.set_metadata_entries(&entries).await
    }

    /// Whether the store belongs to the token with this serial number, and to this region and
    /// account. With [`AccessMode::ReadWrite`] a new store is bound to them, and metadata that cannot
    /// be read is written again where other metadata proves the binding.
    ///
    /// # Errors
    /// When it belongs to others, or cannot be read.
    pub async fn check_binding(
        &self,
        token: TokenTexts<'_>,
        region_account: &RegionAccount,
        mode: AccessMode,
    ) -> Result<(), BindingError> {
        self.check_metadata(token.serial, region_account, mode).await?;
        if mode == AccessMode::ReadWrite {
            self.note_label(token.label).await?;
        }
        Ok(())
    }

    /// Records the label of the store's token, which its owner may change.
    async fn note_label(&self, label: &str) -> Result<(), StoreError> {
        let known = self.read_metadata(TOKEN_LABEL, |text| Some(text.to_owned())).await?;
        if known.value().is_some_and(|known| known == label) {
            return Ok(());
        }
        self.set_metadata(TOKEN_LABEL, label).await
    }

    async fn check_metadata(
        &self,
        token_serial: &str,
        region_account: &RegionAccount,
        mode: AccessMode,
    ) -> Result<(), BindingError> {
        let serial = ("token serial", TOKEN_SERIAL, token_serial.to_owned());
        let (mut is_bound, mut damaged) = (false, Vec::new());
        for (what, name, given) in std::iter::once(serial).chain(metadata_of(region_account)) {
            match self.compare(what, name, &given).await? {
                MetadataValue::Read(_) => is_bound = true,
                MetadataValue::Damaged => damaged.push((name, given)),
                MetadataValue::Absent if mode == AccessMode::ReadOnly => {}
                MetadataValue::Absent => self.set_metadata(name, &given).await?,
            }
        }
        for (name, given) in damaged {
            if !is_bound {
                // Says that it is damaged.
                self.metadata(name).await?;
            } else if mode == AccessMode::ReadWrite {
                self.set_metadata(name, &given).await?;
            }
        }
        Ok(())
    }

    /// The KMS instance that the store is, named by the first start. Secrets are encrypted for this id, and
    /// clients name it, so a lost id is not replaced by another one. A lost date is.
    ///
    /// # Errors
    /// [`StoreError::InstanceLost`]; when the database cannot be read or written.
    pub async fn instance(&self) -> Result<Instance, StoreError> {
        let known = self.known_instance().await?;
        let created = self.read_metadata(INSTANCE_CREATED, |text| text.parse().ok()).await?.value();
        let mut entries = Vec::new();
        let instance = Instance {
            id: known.clone().unwrap_or_else(InstanceId::random),
            created: created.unwrap_or_else(clock::now),
        };
        if created.is_none() {
            entries.push((INSTANCE_CREATED, instance.created.to_string()));
        }
        if known.is_none() {
            entries.push((INSTANCE_ID, instance.id.to_string()));
        }
        if !entries.is_empty() {
            self.set_metadata_entries(&entries).await?;
        }
        Ok(instance)
    }

    /// The id of the instance. `None` before the first start of a gateway.
    ///
    /// # Errors
    /// [`StoreError::InstanceLost`] when the store had an id and does not have it now; when the database
    /// cannot be read.
    pub async fn known_instance(&self) -> Result<Option<InstanceId>, StoreError> {
        match self.read_metadata(INSTANCE_ID, |text| text.parse().ok()).await? {
            MetadataValue::Read(id) => Ok(Some(id)),
            MetadataValue::Absent if !self.had_instance().await? => Ok(None),
            MetadataValue::Absent | MetadataValue::Damaged => Err(StoreError::InstanceLost),
        }
    }

    /// Whether the store shows without the id that it had one. A new store may have keys, those that
    /// `recover` has brought back, but no date.
    async fn had_instance(&self) -> Result<bool, StoreError> {
        let created = self.read_metadata(INSTANCE_CREATED, |text| Some(text.to_owned())).await?;
        let was_started = created != MetadataValue::Absent;
        let is_damaged = !self.damaged_rows().is_empty();
        Ok(is_damaged || !self.secrets().is_empty() || was_started && !self.keys().is_empty())
    }

    /// Whether a gateway has ever started with this store, which names the instance.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn has_instance(&self) -> Result<bool, StoreError> {
        let id = self.read_metadata(INSTANCE_ID, |text| Some(text.to_owned())).await?;
        Ok(id != MetadataValue::Absent)
    }
}

fn metadata_of(region_account: &RegionAccount) -> [(&'static str, &'static str, String); 2] {
    [
        ("region", REGION, region_account.region.to_string()),
        ("account", ACCOUNT, region_account.account.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

    #[tokio::test]
    async fn a_new_store_gets_an_id_and_keeps_it() {
        let Bench { store, .. } = &Bench::new().await;
        assert_eq!(store.known_instance().await.unwrap(), None);
        // As by recover.
        store.insert_key(sample_key()).await.unwrap();
        let instance = store.instance().await.unwrap();
        assert_eq!(store.instance().await.unwrap(), instance);
        assert_eq!(store.known_instance().await.unwrap(), Some(instance.id));
    }

    #[tokio::test]
    async fn a_lost_id_is_not_replaced() {
        let bench = Bench::new().await;
        let store = &bench.store;
        store.instance().await.unwrap();
        store.insert_key(sample_key()).await.unwrap();
        for value in ["x", "kst-"] {
            store.set_metadata(INSTANCE_ID, value).await.unwrap();
            assert!(matches!(store.instance().await, Err(StoreError::InstanceLost)), "{value}");
            assert!(matches!(store.known_instance().await, Err(StoreError::InstanceLost)));
        }
        assert_eq!(store.metadata(INSTANCE_ID).await.unwrap().as_deref(), Some("kst-"));
        bench.change("DELETE FROM facts WHERE name = 'instance-id'").await;
        assert!(matches!(store.instance().await, Err(StoreError::InstanceLost)));
    }

    #[tokio::test]
    async fn a_lost_date_is_replaced() {
        let Bench { store, .. } = &Bench::new().await;
        let id = store.instance().await.unwrap().id;
        store.set_metadata(INSTANCE_CREATED, "x").await.unwrap();
        assert_eq!(store.instance().await.unwrap().id, id);
        let again = store.instance().await.unwrap();
        assert_eq!(store.instance().await.unwrap(), again);
    }
}
