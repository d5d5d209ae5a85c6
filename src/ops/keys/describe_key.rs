//! DescribeKey: returns the metadata of a key.

use crate::ops::KeyMetadata;
use crate::ops::prelude::*;

operation! {
    pub struct DescribeKey -> DescribedKey {
        key: KeyRef = "KeyId",
    }

    /// The response.
    pub struct DescribedKey {
        key_metadata: KeyMetadata,
    }
}

impl Operation for DescribeKey {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<DescribedKey, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        Ok(DescribedKey { key_metadata: KeyMetadata::in_full(key.record(), cx.region_account()) })
    }
}
