//! CountKeyVersions: how many versions a key has.

use crate::ops::prelude::*;

operation! {
    pub struct CountKeyVersions -> KeyVersionCount {
        key: KeyRef = "KeyId",
    }

    /// The response.
    pub struct KeyVersionCount {
        total_count: usize,
    }
}

impl Operation for CountKeyVersions {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<KeyVersionCount, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        Ok(KeyVersionCount { total_count: key.record().live_versions().count() })
    }
}
