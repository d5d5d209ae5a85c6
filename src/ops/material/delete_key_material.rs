//! DeleteKeyMaterial: deletes imported material from the token.

use crate::ops::prelude::*;

operation! {
    pub struct DeleteKeyMaterial: CanImport {
        key: KeyRef = "KeyId",
    }
}

impl Operation for DeleteKeyMaterial {
    const EFFECT: ActionEffect = ActionEffect::Changes;
    const COST_CLASS: CostClass = CostClass::Generate;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        cx.keyring().delete_material(&key, cx.execution()?).await?;
        Ok(EmptyResponse {})
    }
}
