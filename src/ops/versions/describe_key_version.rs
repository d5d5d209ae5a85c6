//! DescribeKeyVersion: returns the metadata of one version of a key.

use super::{KeyVersion, KeyVersionResponse};
use crate::model::VersionRef;
use crate::ops::prelude::*;

operation! {
    pub struct DescribeKeyVersion -> KeyVersionResponse {
        key: KeyRef = "KeyId",
        version: VersionRef = "KeyVersionId",
    }
}

impl Operation for DescribeKeyVersion {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<KeyVersionResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let version = self.version.id().and_then(|id| record.version(id));
        let version = version.ok_or(ErrorCode::KeyVersionNotFound)?;
        cx.note_version(version.id);
        Ok(KeyVersionResponse { key_version: KeyVersion::of(version, record) })
    }
}
