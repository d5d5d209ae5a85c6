//! Encrypts the data keys of secrets again, by the primary version of their key. The values stay as
//! they are. What has been done is in the rows, so it can be interrupted and continued.

use std::sync::Arc;

use super::{Keyring, KeyringError, LastCall, identity};
use crate::error::ErrorCode;
use crate::keyring::state::{self, KeyAction};
use crate::model::{
    Base64Bytes, CiphertextBlob, InstanceId, KeyId, KeyRecord, KeyVersion, RegionAccount,
    SecretBinding, SecretRecord, SecretVersion, SecretVersionId,
};
use crate::store::{Store, StoreError};
use crate::token::{Budget, EncryptOptions, Worker};

/// The data keys of secrets, with what they are bound to.
#[derive(Clone)]
pub struct SecretDataKeys {
    keyring: Keyring,
    instance: InstanceId,
    region_account: RegionAccount,
}

/// A data key that was encrypted again.
struct Rewrapped {
    version: SecretVersionId,
    before: Base64Bytes,
    after: Base64Bytes,
}

impl SecretDataKeys {
    /// Those of a gateway.
    pub fn new(keyring: Keyring, instance: InstanceId, region_account: RegionAccount) -> Self {
        Self { keyring, instance, region_account }
    }

    /// The same data keys, with the store of a job or of an operator.
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        Self { keyring: self.keyring.with_store(store), ..self.clone() }
    }

    /// The secrets with a data key that an older version of their key encrypts, sorted by name. Those
    /// of a key that cannot be used now are left out. `key`: only those of this key.
    pub fn outdated(&self, key: Option<KeyId>) -> Vec<Arc<SecretRecord>> {
        let store = &self.keyring.store;
        let mut secrets = store.secrets();
        secrets.retain(|secret| {
            let is_wanted = key.is_none_or(|wanted| wanted == secret.key);
            let key = store.key(secret.key).filter(|_key| is_wanted);
            key.is_some_and(|key| {
                let mut versions = secret.versions.iter();
                usable(&key).is_ok()
                    && versions.any(|version| Outdated::of(version, &key).is_some())
            })
        });
        secrets
    }

    /// Encrypts the outdated data keys of a secret again, and returns their number. A version that was
    /// added or dropped meanwhile stays as it is.
    ///
    /// # Errors
    /// [`KeyringError::DamagedSecret`]; when the key cannot be used, or token or store fail. Then
    /// nothing of the secret is changed.
    pub async fn rewrap(&self, secret: &SecretRecord) -> Result<usize, KeyringError> {
        let store = &self.keyring.store;
        let key = store.key(secret.key).ok_or(ErrorCode::KeyNotFound)?;
        let mut rewrapped = Vec::new();
        for version in &secret.versions {
            rewrapped.extend(self.rewrap_version(secret, version, &key).await?);
        }
        let mut count = 0;
        let change = |record: &mut SecretRecord| {
            for Rewrapped { version, before, after } in rewrapped {
                let mut versions = record.versions.iter_mut();
                let found = versions.find(|one| one.id == version && one.wrapped_key == before);
                if let Some(found) = found {
                    found.wrapped_key = after;
                    count += 1;
                }
            }
            Ok::<_, KeyringError>(())
        };
        match store.change_secret(secret, None, change).await {
            Ok(_changed) => Ok(count),
            // It was deleted meanwhile.
            Err(KeyringError::Store(StoreError::NotFound)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// `None` if the primary version encrypts its data key.
    async fn rewrap_version(
        &self,
        secret: &SecretRecord,
        version: &SecretVersion,
        key: &KeyRecord,
    ) -> Result<Option<Rewrapped>, KeyringError> {
        let primary = usable(key)?;
        let Some(Outdated { blob, former }) = Outdated::of(version, key) else { return Ok(None) };
        let binding = SecretBinding {
            instance: &self.instance,
            region_account: &self.region_account,
            name: &secret.name,
            row: secret.row,
            version: &version.id,
            data_type: version.data_type,
            key: secret.key,
        };
        let (former, primary) = (identity(key, former), identity(key, primary));
        let blob = blob.with_iv_length(former.name.iv_length);
        let blob = blob.map_err(|_too_short| KeyringError::DamagedSecret)?;
        let aad = binding.associated_data();
        let budget = Budget::new(self.keyring.timeouts.call);
        let decrypt = {
            let aad = aad.clone();
            move |worker: &mut Worker<'_>| {
                worker.decrypt(former, &blob.iv, Some(&aad), &blob.ciphertext)
            }
        };
        let data_key = self.keyring.token.run_with(former, &budget, decrypt).await;
        let data_key = data_key.map_err(super::secret::of_secret)?;
        let options = EncryptOptions { iv: None, is_verified: true };
        let call = LastCall::new(&budget, None);
        let after = self.keyring.encrypt_as(primary, options, data_key, aad, call).await?;
        Ok(Some(Rewrapped {
            version: version.id.clone(),
            before: version.wrapped_key.clone(),
            after: Base64Bytes(after.to_bytes()),
        }))
    }
}

/// The primary version of a key that can be used now.
fn usable(key: &KeyRecord) -> Result<&KeyVersion, ErrorCode> {
    state::check(key.state, KeyAction::Cryptographic)?;
    key.primary_version().ok_or(ErrorCode::KeyUnavailable)
}

/// A data key that an older version of its key encrypts.
struct Outdated<'a> {
    blob: CiphertextBlob,
    former: &'a KeyVersion,
}

impl<'a> Outdated<'a> {
    /// `None` if the primary version encrypts it, or if it cannot be decrypted, which doctor reports.
    fn of(version: &SecretVersion, key: &'a KeyRecord) -> Option<Self> {
        let blob = CiphertextBlob::from_bytes(&version.wrapped_key.0).ok()?;
        let is_outdated = key.primary_version().is_some_and(|primary| primary.id != blob.version);
        let former = key.version(blob.version).filter(|_former| is_outdated)?;
        Some(Self { blob, former })
    }
}
