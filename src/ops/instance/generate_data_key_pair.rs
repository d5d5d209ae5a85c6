//! GenerateDataKeyPair: a key pair for the caller, with its private half sealed by the initial
//! version.

use super::{DataKeyPair, Layout, PairWanted, new_pair};
use crate::audit::ActionEffect;
use crate::authz::{Permission, Seals};
use crate::error::ApiError;
use crate::ops::{Context, Load, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateDataKeyPair(pub PairWanted);

impl Permission for GenerateDataKeyPair {
    const ACTION: &'static str = "kms:GenerateDataKeyPair";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Seals for GenerateDataKeyPair {}

impl Operation for GenerateDataKeyPair {
    const NAME: &'static str = "GenerateDataKeyPair";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const LOAD: Load = Load::Generate;
    const IS_LIMITED: bool = true;
    type Output = DataKeyPair;

    async fn run(self, cx: &Context) -> Result<DataKeyPair, ApiError> {
        new_pair::<Self>(self.0, Layout::Plain, cx).await
    }
}
