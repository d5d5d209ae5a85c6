//! PutSecretValue: stores a value as a new version of a secret. A repeated request changes nothing.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::error::{SecretError, of_stages, require_live};
use super::parameters::{SentValue, WrapDataKey, checked_value, sent_value};
use super::read::decrypt;
use super::response::stages;
use crate::authz::AuthorizedSecret;
use crate::model::{
    Base64Bytes, SecretData, SecretDataType, SecretName, SecretRecord, SecretRef, SecretVersion,
    SecretVersionId, SelectedVersion, VersionStage, VersionStages,
};
use crate::ops::prelude::*;
use crate::store::{NewValue, StoredValue};

/// How often a request is repeated whose version id was taken meanwhile.
const ATTEMPTS: usize = 2;

operation! {
    pub struct PutSecretValue: CanUseSecretValue, CanChangeSecret -> StoredVersion {
        secret: SecretRef = "SecretName",
        version: SecretVersionId = "VersionId",
        value: SentValue = with(sent_value),
        data_type: SecretDataType = "SecretDataType" or(SecretDataType::Text),
        stages: VersionStages = "VersionStages" or(VersionStages::default()),
    }

    /// The response.
    pub struct StoredVersion {
        secret_name: SecretName,
        version_id: SecretVersionId,
        #[serde(flatten)]
        version_stages: Rows<VersionStage>,
    }
}

impl Operation for PutSecretValue {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    const EXTRA_PERMISSIONS: &'static [&'static str] = &["kms:GenerateDataKey"];

    async fn run(self, cx: &Context) -> Result<StoredVersion, ApiError> {
        let value = checked_value(self.value)?;
        let new = NewVersion {
            id: self.version,
            data_type: self.data_type,
            stages: self.stages.0,
            value,
        };
        let selected = SelectedVersion::Id(new.id.clone());
        for _attempt in 0..ATTEMPTS {
            let (secret, stored) = cx.secret_with_value::<Self>(&self.secret, &selected).await?;
            require_live(secret.record())?;
            if let Some(stored) = stored {
                return new.compare(&secret, stored, cx).await;
            }
            if let Some(version) = new.add(&secret, cx).await? {
                return Ok(response(secret.record(), &version.id, &version.stages));
            }
        }
        Err(ErrorCode::ResourceExist.into())
    }
}

/// The version of a request.
struct NewVersion {
    id: SecretVersionId,
    data_type: SecretDataType,
    stages: BTreeSet<VersionStage>,
    value: SecretData,
}

impl NewVersion {
    /// Compares it with the version that exists under its id.
    async fn compare(
        &self,
        secret: &AuthorizedSecret<PutSecretValue>,
        stored: StoredValue,
        cx: &Context,
    ) -> Result<StoredVersion, ApiError> {
        let row = secret.record().row;
        cx.wrong_values().check(row)?;
        let (version, value) = decrypt::<_, WrapDataKey>(secret, stored, None, cx).await?;
        let are_equal =
            verify_slices_are_equal(value.expose().as_bytes(), self.value.expose().as_bytes());
        if are_equal.is_err() || version.data_type != self.data_type {
            cx.wrong_values().note(row);
            return Err(ErrorCode::ResourceExist.into());
        }
        Ok(response(secret.record(), &version.id, &version.stages))
    }

    /// Encrypts and stores it. `None` if its id was taken meanwhile.
    async fn add(
        &self,
        secret: &AuthorizedSecret<PutSecretValue>,
        cx: &Context,
    ) -> Result<Option<SecretVersion>, ApiError> {
        let key = cx.key_of_secret::<_, WrapDataKey>(secret)?;
        let encrypting = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(encrypting.id());
        let mut version = SecretVersion {
            id: self.id.clone(),
            created: cx.now(),
            data_type: self.data_type,
            stages: self.stages.clone(),
            wrapped_key: Base64Bytes(Vec::new()),
        };
        // Labels that are not possible are refused before the token is used.
        secret.record().as_ref().clone().add_version(version.clone()).map_err(refused)?;
        let binding = cx.binding(secret.record(), &version).associated_data();
        let value = self.value.clone();
        let encrypted =
            cx.keyring().encrypt_secret(&encrypting, value, binding, cx.execution()?).await?;
        version.wrapped_key = Base64Bytes(encrypted.wrapped_key.to_bytes());
        let new = NewValue { version: self.id.clone(), encrypted: encrypted.value };
        let (mut is_taken, now) = (false, cx.now());
        let change = |record: &mut SecretRecord| {
            require_live(record)?;
            is_taken = record.version(&self.id).is_some();
            if !is_taken {
                record.add_version(version.clone()).map_err(refused)?;
                record.updated = now;
            }
            Ok::<_, SecretError>(())
        };
        let record = cx.store().change_secret(secret.record(), Some(new), change).await?;
        let stored = record.version(&self.id).filter(|_version| !is_taken).cloned();
        if let Some(stored) = &stored {
            cx.note_secret_version(stored);
        }
        Ok(stored)
    }
}

fn refused(fault: crate::model::SecretFault) -> ApiError {
    of_stages(fault, "VersionStages")
}

fn response(
    record: &SecretRecord,
    version: &SecretVersionId,
    labels: &BTreeSet<VersionStage>,
) -> StoredVersion {
    StoredVersion {
        secret_name: record.name.clone(),
        version_id: version.clone(),
        version_stages: stages(labels),
    }
}
