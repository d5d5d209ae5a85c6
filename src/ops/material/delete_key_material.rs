//! DeleteKeyMaterial: takes imported material out of the token.

use crate::ops::prelude::*;

operation! {
    pub struct DeleteKeyMaterial: Imports {
        key: KeyRef = "KeyId",
    }
}

impl Operation for DeleteKeyMaterial {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const LOAD: Load = Load::Generate;
    type Output = Done;

    async fn run(self, cx: &Context) -> Result<Done, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().delete_material(&key, cx.budget()).await?;
        Ok(Done {})
    }
}
