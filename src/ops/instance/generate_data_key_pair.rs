//! GenerateDataKeyPair: a key pair for the caller, with its private half encrypted by the initial
//! version.

use super::{DataKeyPair, DataKeyPairInput, Layout, new_pair};
use crate::audit::ActionEffect;
use crate::authz::{CanEncrypt, Permission};
use crate::error::ApiError;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKeyPair(pub DataKeyPairInput);

impl Permission for GenerateDataKeyPair {
    const ACTION: &'static str = "kms:GenerateDataKeyPair";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl CanEncrypt for GenerateDataKeyPair {}

impl Operation for GenerateDataKeyPair {
    const NAME: &'static str = "GenerateDataKeyPair";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Generate;
    const IS_LIMITED: bool = true;
    type Output = DataKeyPair;

    async fn run(self, cx: &Context) -> Result<DataKeyPair, ApiError> {
        new_pair::<Self>(self.0, Layout::Plain, cx).await
    }
}
