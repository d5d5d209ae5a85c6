//! DescribeKeyVersion: what is known of one version of a key.

use super::{KeyVersion, OneVersion};
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::{ApiError, ErrorCode};
use crate::model::{FromParams, KeyRef, ParamError, Params, VersionRef};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct DescribeKeyVersion {
    key: KeyRef,
    version: VersionRef,
}

impl FromParams for DescribeKeyVersion {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, version: params.required("KeyVersionId")? })
    }
}

impl Permission for DescribeKeyVersion {
    const ACTION: &'static str = "kms:DescribeKeyVersion";
}

impl Operation for DescribeKeyVersion {
    const NAME: &'static str = "DescribeKeyVersion";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = OneVersion;

    async fn run(self, cx: &Context) -> Result<OneVersion, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let version = self.version.id().and_then(|id| record.version(id));
        let version = version.ok_or(ErrorCode::KeyVersionNotFound)?;
        cx.note_version(version.id);
        Ok(OneVersion { key_version: KeyVersion::of(version, record) })
    }
}
