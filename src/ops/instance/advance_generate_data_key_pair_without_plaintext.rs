//! AdvanceGenerateDataKeyPairWithoutPlaintext: as AdvanceGenerateDataKeyPair, without the private
//! half in clear.

use super::{DataKeyPair, DataKeyPairInput, Layout, new_pair};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceGenerateDataKeyPairWithoutPlaintext(pub DataKeyPairInput);

impl Permission for AdvanceGenerateDataKeyPairWithoutPlaintext {
    const ACTION: &'static str = "kms:AdvanceGenerateDataKeyPairWithoutPlaintext";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for AdvanceGenerateDataKeyPairWithoutPlaintext {}

impl Operation for AdvanceGenerateDataKeyPairWithoutPlaintext {
    const NAME: &'static str = "AdvanceGenerateDataKeyPairWithoutPlaintext";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Generate;
    const IS_LIMITED: bool = true;
    type Output = DataKeyPair;

    async fn run(self, cx: &Context) -> Result<DataKeyPair, ApiError> {
        new_pair::<Self>(self.0, Layout::Framed, cx).await
    }
}
