//! ReEncrypt: opens a blob and seals its text anew, which never leaves the gateway in between.

use serde::Serialize;

use super::end_dry_run;
use crate::authz::{Opens, Permission, Seals};
use crate::error::{ApiError, ErrorCode};
use crate::model::{
    CiphertextBlob, EncryptionContext, FromParams, KeyId, KeyRef, KeyVersionId, ParamError, Params,
};
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct ReEncrypt {
    blob: CiphertextBlob,
    source_context: EncryptionContext,
    source_is_asymmetric: bool,
    destination: KeyRef,
    destination_context: EncryptionContext,
    dry_run: bool,
}

/// The answer. Key and version are those that opened the source, as the API documents.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReEncrypted {
    ciphertext_blob: CiphertextBlob,
    key_id: KeyId,
    key_version_id: KeyVersionId,
}

impl FromParams for ReEncrypt {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            blob: params.required("CiphertextBlob")?,
            source_context: EncryptionContext::from_params(params, "SourceEncryptionContext")?,
            source_is_asymmetric: params.optional::<String>("SourceEncryptionAlgorithm")?.is_some(),
            destination: params.required("DestinationKeyId")?,
            destination_context: EncryptionContext::from_params(
                params,
                "DestinationEncryptionContext",
            )?,
            dry_run: params.optional("DryRun")?.unwrap_or_default(),
        })
    }
}

/// Leave to open the source.
impl Permission for ReEncrypt {
    const ACTION: &'static str = "kms:ReEncryptFrom";
}

impl Opens for ReEncrypt {}

/// Leave to seal with the destination key.
#[derive(Debug)]
pub struct ReEncryptTo;

impl Permission for ReEncryptTo {
    const ACTION: &'static str = "kms:ReEncryptTo";
}

impl Seals for ReEncryptTo {}

impl Operation for ReEncrypt {
    const NAME: &'static str = "ReEncrypt";
    const LOAD: Load = Load::Cryptographic;
    type Output = ReEncrypted;

    async fn run(self, cx: &Context) -> Result<ReEncrypted, ApiError> {
        if self.source_is_asymmetric {
            return Err(ErrorCode::UnsupportedOperation.into());
        }
        let version = self.blob.version;
        let source = cx.key_of_version_in::<Self>(&self.source_context, version)?;
        cx.note_version(version);
        let destination = cx.key_in::<ReEncryptTo>(&self.destination_context, &self.destination)?;
        cx.keyring().sealing_version(&destination)?;
        let text = cx.keyring().open(&source, self.blob, &self.source_context, cx.budget()).await?;
        end_dry_run(self.dry_run)?;
        let blob =
            cx.keyring().seal(&destination, text, &self.destination_context, cx.budget()).await?;
        Ok(ReEncrypted {
            ciphertext_blob: blob,
            key_id: source.record().id,
            key_version_id: version,
        })
    }
}
