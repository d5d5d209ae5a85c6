//! CreateKeyVersion: creates a new version of a key, which becomes the primary one of a symmetric
//! key.

use super::{KeyVersion, KeyVersionResponse};
use crate::ops::prelude::*;

operation! {
    pub struct CreateKeyVersion: CanManage -> KeyVersionResponse {
        key: KeyRef = "KeyId",
    }
}

impl Operation for CreateKeyVersion {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Generate;

    async fn run(self, cx: &Context) -> Result<KeyVersionResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().add_version(&key, cx.now(), cx.execution()?).await?;
        cx.note_version(version.id);
        Ok(KeyVersionResponse { key_version: KeyVersion::of(&version, key.record()) })
    }
}
