//! ListSecrets: lists the secrets of the account by name, also those whose deletion is scheduled.

use super::filters::Filters;
use super::response::{GENERIC, SecretTag, tags};
use crate::model::{SecretName, Time};
use crate::ops::page_of_rows;
use crate::ops::prelude::*;

operation! {
    pub struct ListSecrets -> Paged<ListedSecret> {
        page: Page = with(|params| page_of_rows(params, 10)),
        filters: Filters = "Filters" or(Filters::default()),
        fetches_tags: bool = "FetchTags" or(false),
    }

    /// A row of the list.
    pub struct ListedSecret in SecretList.Secret {
        secret_name: SecretName,
        secret_type: &'static str,
        create_time: Time,
        update_time: Time,
        #[serde(skip_serializing_if = "Option::is_none")]
        planned_delete_time: Option<Time>,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        tags: Option<Rows<SecretTag>>,
    }
}

impl Operation for ListSecrets {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<Self::Output, ApiError> {
        cx.account::<Self>("secret")?;
        let secrets = cx.store().secrets();
        let account = cx.region_account().account.as_str();
        let listed = secrets.iter().filter(|secret| self.filters.are_met_by(secret, account));
        Ok(Paged::of(self.page, listed, |secret| ListedSecret {
            secret_name: secret.name.clone(),
            secret_type: GENERIC,
            create_time: secret.created,
            update_time: secret.updated,
            planned_delete_time: secret.delete_at,
            tags: tags(secret, self.fetches_tags),
        }))
    }
}
