//! UpdateKeyDescription: replaces a key's description. An empty text clears it, and so does none: the API
//! marks the parameter as required, but Terraform leaves it out when its user has taken it away.

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
    type Output = EmptyResponse;

    async fn run(self, cx: &Context) -> Result<EmptyResponse, ApiError> {
        let description = self.description.unwrap_or_default();
        cx.change::<Self>(&self.key, KeyAction::Annotate, |key| key.description = description).await
    }
}
