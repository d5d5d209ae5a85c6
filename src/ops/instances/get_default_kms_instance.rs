//! GetDefaultKmsInstance: returns the instance in which keys are created by default.

use crate::model::InstanceId;
use crate::ops::prelude::*;

operation! {
    pub struct GetDefaultKmsInstance -> DefaultKmsInstance {}

    /// The response.
    pub struct DefaultKmsInstance {
        default_kms_instance_id: InstanceId,
    }
}

impl Operation for GetDefaultKmsInstance {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<DefaultKmsInstance, ApiError> {
        cx.account::<Self>("keystore")?;
        Ok(DefaultKmsInstance { default_kms_instance_id: cx.instance().id.clone() })
    }
}
