//! CreateKey: makes a key with its initial version in the token.

use serde::Serialize;

use super::description;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::keyring::NewKey;
use crate::model::{FromParams, KeySpec, KeyUsage, Origin, ParamError, Params, ProtectionLevel};
use crate::ops::{Context, KeyMetadata, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct CreateKey {
    spec: KeySpec,
    usage: KeyUsage,
    origin: Origin,
    protection: ProtectionLevel,
    description: String,
    instance: Option<String>,
    rotates: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedKey {
    key_metadata: KeyMetadata,
}

impl FromParams for CreateKey {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let spec: KeySpec = params.optional("KeySpec")?.unwrap_or(KeySpec::Aes256);
        let usage = match params.optional("KeyUsage")? {
            None => spec.usages().first().copied(),
            Some(usage) => spec.usages().iter().copied().find(|possible| *possible == usage),
        };
        Ok(Self {
            spec,
            usage: usage.ok_or(ParamError::invalid("KeyUsage"))?,
            origin: params.optional("Origin")?.unwrap_or(Origin::AliyunKms),
            protection: params.optional("ProtectionLevel")?.unwrap_or(ProtectionLevel::Software),
            description: description(params)?.unwrap_or_default(),
            instance: params.optional("DKMSInstanceId")?,
            rotates: params.optional("EnableAutomaticRotation")?.unwrap_or_default(),
        })
    }
}

impl Permission for CreateKey {
    const ACTION: &'static str = "kms:CreateKey";
}

impl Operation for CreateKey {
    const NAME: &'static str = "CreateKey";
    const LOAD: Load = Load::Generate;
    type Output = CreatedKey;

    async fn run(self, cx: &Context) -> Result<CreatedKey, ApiError> {
        let grant = cx.account::<Self>("key")?;
        if self.instance.is_some() {
            return Err(ErrorCode::InstanceNotFound.into());
        }
        if self.spec != KeySpec::Aes256 || self.origin != Origin::AliyunKms || self.rotates {
            return Err(ErrorCode::UnsupportedOperation.into());
        }
        let new = NewKey {
            spec: self.spec,
            usage: self.usage,
            protection: self.protection,
            description: self.description,
        };
        let record = cx.keyring().create(&grant, new, cx.now(), cx.budget()).await?;
        cx.note_key(record.id);
        Ok(CreatedKey { key_metadata: KeyMetadata::of(&record, cx.place()) })
    }
}
