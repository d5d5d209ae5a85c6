//! UpdateKeyDescription: replaces a key's description. An empty or absent text clears it: the API
//! marks the parameter as required, but Terraform omits it after its user has removed it.

use super::description;
use crate::ops::prelude::*;

operation! {
    pub struct UpdateKeyDescription: CanManage {
        key: KeyRef = "KeyId",
        description: Option<String> = with(description),
    }
}

impl Operation for UpdateKeyDescription {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let description = self.description.unwrap_or_default();
        cx.change::<Self>(&self.key, KeyAction::Annotate, |key| key.description = description).await
    }
}
