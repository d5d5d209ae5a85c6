//! AdvanceGenerateDataKeyPair: a key pair for the caller, with its private half sealed by the
//! primary version, which the ciphertext names.

use super::{DataKeyPair, Layout, PairWanted, new_pair};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct AdvanceGenerateDataKeyPair(pub PairWanted);

impl Permission for AdvanceGenerateDataKeyPair {
    const ACTION: &'static str = "kms:AdvanceGenerateDataKeyPair";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for AdvanceGenerateDataKeyPair {}

impl Operation for AdvanceGenerateDataKeyPair {
    const NAME: &'static str = "AdvanceGenerateDataKeyPair";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Generate;
    const IS_LIMITED: bool = true;
    type Output = DataKeyPair;

    async fn run(self, cx: &Context) -> Result<DataKeyPair, ApiError> {
        new_pair::<Self>(self.0, Layout::Framed, cx).await
    }
}
