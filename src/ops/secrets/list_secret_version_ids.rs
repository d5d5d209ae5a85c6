//! ListSecretVersionIds: lists the versions of a secret, newest first.

use super::response::stages;
use crate::model::{SecretName, SecretRef, SecretVersionId, Time, VersionStage};
use crate::ops::page_of_rows;
use crate::ops::prelude::*;

operation! {
    pub struct ListSecretVersionIds -> SecretVersions {
        secret: SecretRef = "SecretName",
        page: Page = with(|params| page_of_rows(params, 20)),
        includes_deprecated: bool = "IncludeDeprecated" or(false),
    }

    /// The response.
    pub struct SecretVersions {
        secret_name: SecretName,
        #[serde(flatten)]
        versions: Paged<ListedVersion>,
    }

    /// A row of the list.
    pub struct ListedVersion in VersionIds.VersionId {
        create_time: Time,
        version_id: SecretVersionId,
        #[serde(flatten)]
        version_stages: Rows<VersionStage>,
    }
}

impl Operation for ListSecretVersionIds {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<SecretVersions, ApiError> {
        let secret = cx.secret::<Self>(&self.secret).await?;
        let record = secret.record();
        let versions = record.versions.iter().rev();
        let versions =
            versions.filter(|version| self.includes_deprecated || !version.stages.is_empty());
        let versions = Paged::of(self.page, versions, |version| ListedVersion {
            create_time: version.created,
            version_id: version.id.clone(),
            version_stages: stages(&version.stages),
        });
        Ok(SecretVersions { secret_name: record.name.clone(), versions })
    }
}
