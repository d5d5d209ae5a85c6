//! AdvanceGenerateDataKeyPair: a key pair for the caller, with its private half encrypted by the
//! primary version, which the ciphertext names.

use super::{DataKeyPair, DataKeyPairInput, Layout, new_pair};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceGenerateDataKeyPair(pub DataKeyPairInput);

impl Permission for AdvanceGenerateDataKeyPair {
    const ACTION: &'static str = "kms:AdvanceGenerateDataKeyPair";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for AdvanceGenerateDataKeyPair {}

impl Operation for AdvanceGenerateDataKeyPair {
    const NAME: &'static str = "AdvanceGenerateDataKeyPair";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Generate;
    const IS_LIMITED: bool = true;
    type Output = DataKeyPair;

    async fn run(self, cx: &Context) -> Result<DataKeyPair, ApiError> {
        new_pair::<Self>(self.0, Layout::Framed, cx).await
    }
}
