//! ListKeyVersions: lists the versions of a key, the initial one first.

use super::KeyVersion;
use crate::ops::prelude::*;

operation! {
    pub struct ListKeyVersions -> Paged<KeyVersion> {
        key: KeyRef = "KeyId",
        page: Page = with(|params| Page::from_params(params, 10, 101)),
    }
}

impl Operation for ListKeyVersions {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        Ok(Paged::of(self.page, record.live_versions(), |version| KeyVersion::of(version, record)))
    }
}
