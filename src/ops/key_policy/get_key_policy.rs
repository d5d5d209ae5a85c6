//! GetKeyPolicy: returns a key's policy as it was set, or the default one.

use super::{names_default, no_such_policy};
use crate::model::policy::KeyPolicy as Document;
use crate::ops::prelude::*;

operation! {
    pub struct GetKeyPolicy -> KeyPolicy {
        key: KeyRef = "KeyId",
        is_default: bool = with(names_default),
    }

    /// The response.
    pub struct KeyPolicy {
        policy: String,
    }
}

impl Operation for GetKeyPolicy {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<KeyPolicy, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        if !self.is_default {
            return Err(no_such_policy());
        }
        let own = key.record().policy.clone();
        Ok(KeyPolicy {
            policy: own.unwrap_or_else(|| Document::default_text(&cx.region_account().account)),
        })
    }
}
