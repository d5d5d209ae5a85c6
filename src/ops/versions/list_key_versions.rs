//! ListKeyVersions: the versions of a key, the initial one first.

use serde::Serialize;

use super::KeyVersion;
use crate::audit::ActionEffect;
use crate::authz::Permission;
use crate::error::ApiError;
use crate::model::{FromParams, KeyRef, Page, ParamError, Params};
use crate::ops::{Context, Operation};

/// The request.
#[derive(Debug)]
pub struct ListKeyVersions {
    key: KeyRef,
    page: Page,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyVersionList {
    key_versions: KeyVersions,
    page_number: u32,
    page_size: u32,
    total_count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyVersions {
    key_version: Vec<KeyVersion>,
}

impl FromParams for ListKeyVersions {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self { key: params.required("KeyId")?, page: Page::from_params(params, 10, 101)? })
    }
}

impl Permission for ListKeyVersions {
    const ACTION: &'static str = "kms:ListKeyVersions";
}

impl Operation for ListKeyVersions {
    const NAME: &'static str = "ListKeyVersions";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    type Output = KeyVersionList;

    async fn run(self, cx: &Context) -> Result<KeyVersionList, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let record = key.record();
        let page = self.page.cut(record.live_versions());
        let rows = page.rows.into_iter().map(|version| KeyVersion::of(version, record));
        Ok(KeyVersionList {
            key_versions: KeyVersions { key_version: rows.collect() },
            page_number: self.page.number,
            page_size: self.page.size,
            total_count: page.total,
        })
    }
}
