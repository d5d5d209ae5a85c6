//! CreateSecret: stores a value under a new name. Its data key is encrypted by the key that the caller
//! names, or by a key of the gateway.

use super::error::{SecretError, only_generic, require_live};
use super::parameters::{SecretPolicyText, SentValue, WrapDataKey, checked_value, sent_value};
use super::response::GENERIC;
use crate::authz::{AccountGrant, AuthorizedKey};
use crate::model::{
    Base64Bytes, SecretDataType, SecretName, SecretRecord, SecretRowId, SecretType, SecretVersion,
    SecretVersionId, TagList, VersionStages,
};
use crate::ops::keys::description;
use crate::ops::prelude::*;
use crate::store::NewValue;

operation! {
    pub struct CreateSecret: CanUseSecretValue -> CreatedSecret {
        name: SecretName = "SecretName",
        version: SecretVersionId = "VersionId",
        value: SentValue = with(sent_value),
        data_type: SecretDataType = "SecretDataType" or(SecretDataType::Text),
        secret_type: SecretType = "SecretType" or(SecretType::Generic),
        key: Option<KeyRef> = "EncryptionKeyId",
        instance: Option<String> = "DKMSInstanceId",
        description: Option<String> = with(description),
        tags: TagList = "Tags" or(TagList::default()),
        policy: Option<SecretPolicyText> = "Policy",
        rotates: bool = "EnableAutomaticRotation" or(false),
    }

    /// The response.
    pub struct CreatedSecret {
        arn: String,
        secret_name: SecretName,
        version_id: SecretVersionId,
        secret_type: &'static str,
        /// Only if the caller named it.
        #[serde(rename = "DKMSInstanceId", skip_serializing_if = "Option::is_none")]
        dkms_instance_id: Option<String>,
    }
}

impl Operation for CreateSecret {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    const EXTRA_PERMISSIONS: &'static [&'static str] = &["kms:GenerateDataKey"];

    async fn run(self, cx: &Context) -> Result<CreatedSecret, ApiError> {
        cx.note_secret(&self.name);
        let grant = cx.account::<Self>("secret")?;
        self.check(cx)?;
        let value = checked_value(self.value)?;
        let tags = self.tags.parse()?;
        let account = &cx.region_account().account;
        let policy = self.policy.map(|policy| policy.checked(account)).transpose()?;
        require_free(&self.name, cx).await?;
        let key = key(&grant, self.key.as_ref(), cx).await?;
        let encrypting = cx.keyring().encryption_version(&key, VersionSelector::Primary)?;
        cx.note_version(encrypting.id());
        let mut version = SecretVersion {
            id: self.version,
            created: cx.now(),
            data_type: self.data_type,
            stages: VersionStages::default().0,
            wrapped_key: Base64Bytes(Vec::new()),
        };
        let mut record = SecretRecord {
            name: self.name,
            row: SecretRowId::random(),
            key: key.record().id,
            names_key: self.key.is_some(),
            instance: self.instance.as_ref().map(|_same| cx.instance().id.clone()),
            description: self.description.unwrap_or_default(),
            tags,
            policy,
            created: cx.now(),
            updated: cx.now(),
            delete_at: None,
            versions: Vec::new(),
        };
        let binding = cx.binding(&record, &version).associated_data();
        let encrypted =
            cx.keyring().encrypt_secret(&encrypting, value, binding, cx.execution()?).await?;
        version.wrapped_key = Base64Bytes(encrypted.wrapped_key.to_bytes());
        cx.note_secret_version(&version);
        let new = NewValue { version: version.id.clone(), encrypted: encrypted.value };
        record.versions.push(version);
        let record = cx.store().insert_secret(record, new).await.map_err(SecretError::from)?;
        Ok(CreatedSecret {
            arn: cx.region_account().arn(format_args!("secret/{}", record.name)),
            secret_name: record.name.clone(),
            version_id: record.versions.first().map_or_else(
                || Err(ApiError::from(ErrorCode::InternalFailure)),
                |version| Ok(version.id.clone()),
            )?,
            secret_type: GENERIC,
            dkms_instance_id: record.instance.as_ref().map(ToString::to_string),
        })
    }
}

impl CreateSecret {
    /// Refuses what only managed secrets have, and another instance.
    fn check(&self, cx: &Context) -> Result<(), ApiError> {
        if self.secret_type != SecretType::Generic {
            let reason = format!(
                "This gateway changes no passwords of other products, as the SecretType \"{}\" requires. \
                 Create a generic secret, and store new values with PutSecretValue.",
                self.secret_type
            );
            return Err(only_generic(&reason));
        }
        if self.rotates {
            return Err(only_generic(
                "A generic secret is not rotated automatically. Store new values with PutSecretValue.",
            ));
        }
        if self.instance.as_ref().is_some_and(|named| named != cx.instance().id.as_str()) {
            return Err(ErrorCode::InstanceNotFound.into());
        }
        Ok(())
    }
}

/// Refuses a name that is taken, before the token is used.
async fn require_free(name: &SecretName, cx: &Context) -> Result<(), ApiError> {
    match cx.store().secret(name).await.map_err(SecretError::from)? {
        None => Ok(()),
        Some(record) => {
            require_live(&record)?;
            Err(ErrorCode::ResourceExist.into())
        }
    }
}

/// The key that the caller names, or a key of the gateway.
async fn key(
    grant: &AccountGrant<CreateSecret>,
    named: Option<&KeyRef>,
    cx: &Context,
) -> Result<AuthorizedKey<WrapDataKey>, ApiError> {
    let Some(named) = named else {
        let record = cx.keyring().internal_key(grant, cx.now(), cx.execution()?).await?;
        return cx.internal_key(grant, record);
    };
    let key = cx.named_key::<WrapDataKey>(named)?;
    if key.record().spec.is_symmetric_cipher() {
        Ok(key)
    } else {
        Err(ApiError::invalid_parameter("EncryptionKeyId"))
    }
}
