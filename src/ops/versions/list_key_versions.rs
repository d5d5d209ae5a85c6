//! ListKeyVersions: the versions of a key, the initial one first.

use super::KeyVersion;
use crate::ops::prelude::*;

operation! {
    pub struct ListKeyVersions {
        key: KeyRef = "KeyId",
        page: Page = with(|params| Page::from_params(params, 10, 101)),
    }

    /// The answer.
    pub struct KeyVersionList {
        key_versions: KeyVersions,
    }

    struct KeyVersions {
        key_version: Vec<KeyVersion>,
    }
}

impl Operation for ListKeyVersions {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = Paged<KeyVersionList>;

    async fn run(self, cx: &Context) -> Result<Paged<KeyVersionList>, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let page = self.page.slice(record.live_versions());
        let rows = page.rows.into_iter().map(|version| KeyVersion::of(version, record));
        let list = KeyVersionList { key_versions: KeyVersions { key_version: rows.collect() } };
        Ok(Paged::new(self.page, page.total, list))
    }
}
