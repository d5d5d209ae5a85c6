//! GenerateRandom: random bytes from the token.

use zeroize::Zeroizing;

use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::ops::{Context, CostClass, Operation};

/// The request.
#[derive(Debug)]
pub struct GenerateRandom {
    /// How many bytes, 1 to 64.
    pub bytes: usize,
}

impl Permission for GenerateRandom {
    const ACTION: &'static str = "kms:GenerateRandom";
    const CLIENT_KEYS: Option<&'static str> = Some(Self::ACTION);
}

impl Operation for GenerateRandom {
    const NAME: &'static str = "GenerateRandom";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    type Output = Zeroizing<Vec<u8>>;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let grant = cx.account::<Self>("random")?;
        Ok(cx.keyring().random(&grant, self.bytes, cx.execution()?).await?)
    }
}
