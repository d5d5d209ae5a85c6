//! CreateKeyVersion: a new version of a key, the primary one from now on if the key is symmetric.

use super::{KeyVersion, OneVersion};
use crate::ops::prelude::*;

operation! {
    pub struct CreateKeyVersion: Changes {
        key: KeyRef = "KeyId",
    }
}

impl Operation for CreateKeyVersion {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const LOAD: Load = Load::Generate;
    type Output = OneVersion;

    async fn run(self, cx: &Context) -> Result<OneVersion, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let version = cx.keyring().add_version(&key, cx.now(), cx.budget()).await?;
        cx.note_version(version.id);
        Ok(OneVersion { key_version: KeyVersion::of(&version, key.record()) })
    }
}
