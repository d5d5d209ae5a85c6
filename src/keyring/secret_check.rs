//! Decrypts stored values without a keyring, for a check by an operator.

use std::time::Duration;

use super::secret::{decrypt_value, of_secret};
use super::{KeyringError, identity};
use crate::model::{
    CiphertextBlob, InstanceId, KeyState, RegionAccount, SecretBinding, SecretRecord,
    SecretVersion, SelectedVersion,
};
use crate::store::{Store, StoreError};
use crate::token::{Budget, Token, Worker};

/// The timeout of one call.
const CALL: Duration = Duration::from_secs(30);

/// Checks whether values can be decrypted.
pub struct SecretCheck<'a> {
    store: &'a Store,
    token: &'a Token,
    /// `None` before the first start of a gateway.
    instance: Option<InstanceId>,
    region_account: &'a RegionAccount,
}

impl<'a> SecretCheck<'a> {
    /// A check of a store with its token.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(
        store: &'a Store,
        token: &'a Token,
        region_account: &'a RegionAccount,
    ) -> Result<Self, StoreError> {
        let instance = store.known_instance().await?;
        Ok(Self { store, token, instance, region_account })
    }

    /// Decrypts the value of a version. `false` if it was not tried: its key cannot be used now, or it
    /// was deleted meanwhile.
    ///
    /// # Errors
    /// [`KeyringError::DamagedSecret`]; when store or token fail.
    pub async fn decrypt(
        &self,
        secret: &SecretRecord,
        version: &SecretVersion,
    ) -> Result<bool, KeyringError> {
        let key = self.store.key(secret.key).filter(|key| key.state == KeyState::Enabled);
        let (Some(key), Some(instance)) = (key, &self.instance) else { return Ok(false) };
        let selected = SelectedVersion::Id(version.id.clone());
        let found = self.store.secret_with_value(&secret.name, &selected).await?;
        let Some((record, value)) = found.and_then(|found| Some((found.record, found.value?)))
        else {
            return Ok(false);
        };
        let Some(version) = record.version(&value.version) else { return Ok(false) };
        let damaged = KeyringError::DamagedSecret;
        let Ok(blob) = CiphertextBlob::from_bytes(&version.wrapped_key.0) else {
            return Err(damaged);
        };
        let Some(of_key) = key.version(blob.version) else { return Err(damaged) };
        let of_key = identity(&key, of_key);
        let Ok(blob) = blob.with_iv_length(of_key.name.iv_length) else { return Err(damaged) };
        let binding = SecretBinding {
            instance,
            region_account: self.region_account,
            name: &record.name,
            row: record.row,
            version: &version.id,
            data_type: version.data_type,
            key: record.key,
        };
        let aad = binding.associated_data();
        let job = move |worker: &mut Worker<'_>| {
            let data_key = worker.decrypt(of_key, &blob.iv, Some(&aad), &blob.ciphertext)?;
            Ok(decrypt_value(&data_key, &aad, &value.encrypted).is_ok())
        };
        let budget = Budget::new(CALL);
        let is_whole = self.token.run_with(of_key, &budget, job).await.map_err(of_secret)?;
        if is_whole { Ok(true) } else { Err(damaged) }
    }
}
