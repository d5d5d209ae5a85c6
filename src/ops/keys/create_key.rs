//! CreateKey: makes a key with its initial version in the token, or a key that waits for imported
//! material.

use super::{description, rotation};
use crate::keyring::NewKey;
use crate::model::{KeySpec, KeyStorage, KeyUsage, Origin, ProtectionLevel, Rotation, TagList};
use crate::ops::key_policy::PolicyText;
use crate::ops::prelude::*;
use crate::ops::{KeyMetadata, no_sm2};

operation! {
    pub struct CreateKey {
        spec: KeySpec,
        usage: KeyUsage,
        origin: Origin,
        protection: ProtectionLevel,
        storage: KeyStorage,
        description: String,
        instance: Option<String>,
        rotation: Option<Rotation>,
        tags: TagList,
        policy: Option<PolicyText>,
    }

    /// The answer.
    pub struct CreatedKey {
        key_metadata: KeyMetadata,
    }
}

impl FromParams for CreateKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let spec: KeySpec = params.optional("KeySpec")?.unwrap_or(KeySpec::Aes256);
        let usage = match params.optional("KeyUsage")? {
            None => spec.usages().first().copied(),
            Some(usage) => spec.usages().iter().copied().find(|possible| *possible == usage),
        };
        let rotates = params.optional("EnableAutomaticRotation")?.unwrap_or_default();
        Ok(Self {
            spec,
            usage: usage.ok_or(ParamError::invalid("KeyUsage"))?,
            origin: params.optional("Origin")?.unwrap_or(Origin::AliyunKms),
            protection: params.optional("ProtectionLevel")?.unwrap_or(ProtectionLevel::Software),
            storage: params.optional("KeyStorageMechanism")?.unwrap_or(KeyStorage::HsmInternal),
            description: description(params)?.unwrap_or_default(),
            instance: params.optional("DKMSInstanceId")?,
            rotation: rotation(params, rotates)?,
            tags: params.optional("Tags")?.unwrap_or_default(),
            policy: params.optional("Policy")?,
        })
    }
}

impl CreateKey {
    /// Whether such a key can be, as far as that is known without the token: only a symmetric
    /// key's material can be imported, only one that is made here rotates, and all are kept in
    /// the token.
    ///
    /// # Errors
    /// `UnsupportedOperation` by the name of the parameter.
    fn check(&self) -> Result<(), ApiError> {
        let is_external = self.origin == Origin::External;
        let is_cipher = self.spec.is_symmetric_cipher();
        if matches!(self.spec, KeySpec::Sm4 | KeySpec::EcSm2) {
            return Err(no_sm2("KeySpec"));
        }
        let refused = if self.storage != KeyStorage::HsmInternal {
            ("KeyStorageMechanism", "every key is kept in the token, HsmInternal")
        } else if is_external && !is_cipher {
            ("Origin", "material is imported for symmetric encryption keys alone")
        } else if self.rotation.is_some() && (is_external || !is_cipher) {
            (
                "EnableAutomaticRotation",
                "only symmetric encryption keys whose material is made here rotate by themselves",
            )
        } else {
            return Ok(());
        };
        Err(ApiError::unsupported_parameter(refused.0, refused.1))
    }
}

impl Operation for CreateKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Generate;
    type Output = CreatedKey;

    async fn run(self, cx: &Context) -> Result<CreatedKey, ApiError> {
        let grant = cx.account::<Self>("key")?;
        let instance = cx.instance().id.clone();
        if self.instance.as_ref().is_some_and(|named| named != instance.as_str()) {
            return Err(ErrorCode::InstanceNotFound.into());
        }
        self.check()?;
        let tags = self.tags.parse()?;
        let policy = self.policy.map(|policy| policy.checked(cx)).transpose()?;
        let new = NewKey {
            spec: self.spec,
            usage: self.usage,
            origin: self.origin,
            protection: self.protection,
            instance: self.instance.map(|_same| instance),
            description: self.description,
            tags,
            rotation: self.rotation,
            policy,
        };
        let record = cx
            .keyring()
            .create(&grant, new, cx.now(), cx.execution()?)
            .await
            .map_err(|error| error.of_parameter("KeySpec"))?;
        cx.note_key(record.id);
        Ok(CreatedKey { key_metadata: KeyMetadata::of(&record, cx.region_account()) })
    }
}
