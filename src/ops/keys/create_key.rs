//! CreateKey: creates a key with its initial version in the token, or a key that is pending import
//! of its material.

use super::{description, rotation};
use crate::keyring::NewKey;
use crate::model::{KeySpec, KeyStorage, KeyUsage, Origin, ProtectionLevel, Rotation, TagList};
use crate::ops::key_policy::PolicyText;
use crate::ops::prelude::*;
use crate::ops::{KeyMetadata, no_sm2};

operation! {
    pub struct CreateKey -> CreatedKey {
        spec: KeySpec = with(spec),
        usage: KeyUsage = with(usage),
        origin: Origin = "Origin" or(Origin::AliyunKms),
        protection: ProtectionLevel = "ProtectionLevel" or(ProtectionLevel::Software),
        storage: KeyStorage = "KeyStorageMechanism" or(KeyStorage::HsmInternal),
        description: Option<String> = with(description),
        instance: Option<String> = "DKMSInstanceId",
        rotation: Option<Rotation> = with(rotation_if_wanted),
        tags: TagList = "Tags" or(TagList::default()),
        policy: Option<PolicyText> = "Policy",
        /// No parameter of the API.
        id: Option<KeyId> = with(|_params| Ok(None)),
    }

    /// The response.
    pub struct CreatedKey {
        key_metadata: KeyMetadata,
    }
}

fn spec(params: &Params<'_>) -> Result<KeySpec, ParamError> {
    Ok(params.optional("KeySpec")?.unwrap_or(KeySpec::Aes256))
}

/// One of the usages of the key spec, the first unless the caller names one.
fn usage(params: &Params<'_>) -> Result<KeyUsage, ParamError> {
    let named: Option<KeyUsage> = params.optional("KeyUsage")?;
    let mut usages = spec(params)?.usages().iter().copied();
    let usage = usages.find(|usage| named.is_none_or(|named| named == *usage));
    usage.ok_or(ParamError::invalid("KeyUsage"))
}

fn rotation_if_wanted(params: &Params<'_>) -> Result<Option<Rotation>, ParamError> {
    rotation(params, params.optional("EnableAutomaticRotation")?.unwrap_or_default())
}

impl CreateKey {
    /// The key gets this id, which no key has had.
    #[must_use]
    pub fn with_id(self, id: KeyId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Checks that such a key is possible, as far as known without the token: material can be
    /// imported only for a symmetric key, only a key generated in the token rotates, and all are
    /// stored in the token.
    ///
    /// # Errors
    /// `UnsupportedOperation` with the name of the parameter.
    fn check(&self) -> Result<(), ApiError> {
        let is_external = self.origin == Origin::External;
        let is_cipher = self.spec.is_symmetric_cipher();
        if matches!(self.spec, KeySpec::Sm4 | KeySpec::EcSm2) {
            return Err(no_sm2("KeySpec"));
        }
        let refused = if self.storage != KeyStorage::HsmInternal {
            ("KeyStorageMechanism", "every key is stored in the token, HsmInternal")
        } else if is_external && !is_cipher {
            ("Origin", "material is imported for symmetric encryption keys only")
        } else if self.rotation.is_some() && (is_external || !is_cipher) {
            (
                "EnableAutomaticRotation",
                "only symmetric encryption keys with material from the token rotate automatically",
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
            id: self.id,
            spec: self.spec,
            usage: self.usage,
            origin: self.origin,
            protection: self.protection,
            instance: self.instance.map(|_same| instance),
            description: self.description.unwrap_or_default(),
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
