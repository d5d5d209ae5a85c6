//! DescribeSecret: returns the metadata of a secret, also while its deletion is scheduled.

use super::response::{GENERIC, GivenOnly, SecretTag, tags};
use crate::model::{SecretName, SecretRef, Time};
use crate::ops::prelude::*;

operation! {
    pub struct DescribeSecret -> SecretMetadata {
        secret: SecretRef = "SecretName",
        fetches_tags: bool = "FetchTags" or(false),
    }

    /// The response.
    pub struct SecretMetadata {
        arn: String,
        secret_name: SecretName,
        secret_type: &'static str,
        description: String,
        create_time: Time,
        update_time: Time,
        #[serde(flatten)]
        given: GivenOnly,
        #[serde(skip_serializing_if = "Option::is_none")]
        planned_delete_time: Option<Time>,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        tags: Option<Rows<SecretTag>>,
    }
}

impl Operation for DescribeSecret {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<SecretMetadata, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        let record = secret.record();
        Ok(SecretMetadata {
            arn: cx.region_account().arn(format_args!("secret/{}", record.name)),
            secret_name: record.name.clone(),
            secret_type: GENERIC,
            description: record.description.clone(),
            create_time: record.created,
            update_time: record.updated,
            given: GivenOnly::of(record),
            planned_delete_time: record.delete_at,
            tags: tags(record, self.fetches_tags),
        })
    }
}
