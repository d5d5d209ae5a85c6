//! GetKmsInstanceQuotaInfos: returns the usage and the quotas of the instance.

use super::{NO_LIMIT, instance};
use crate::ops::prelude::*;

/// The kinds of quota in the API, and those that only this gateway has.
const TYPES: [&str; 10] = [
    "key",
    "secret",
    "qps",
    "vpc",
    "alias",
    "importtoken",
    "network",
    "policy",
    "applicationaccesspoint",
    "clientkey",
];

operation! {
    pub struct GetKmsInstanceQuotaInfos -> KmsInstanceQuotas {
        types: Vec<&'static str> = with(types),
        instance: Option<String> = "KmsInstanceId",
    }

    /// The response; its list is not wrapped.
    pub struct KmsInstanceQuotas {
        kms_instance_id: String,
        kms_instance_quota_infos: Vec<QuotaInfo>,
    }

    struct QuotaInfo {
        resource_type: &'static str,
        resource_quota: u32,
        used_quantity: usize,
    }
}

fn types(params: &Params<'_>) -> Result<Vec<&'static str>, ParamError> {
    let wanted: Option<String> = params.optional("ResourceType")?;
    let is_wanted = |one: &&str| wanted.as_ref().is_none_or(|wanted| wanted == one);
    let types: Vec<_> = TYPES.into_iter().filter(is_wanted).collect();
    if types.is_empty() { Err(ParamError::invalid("ResourceType")) } else { Ok(types) }
}

fn quota_and_use(cx: &Context, resource_type: &str) -> (u32, usize) {
    let setting = match resource_type {
        "key" => "quotas.keys",
        "secret" => "quotas.secrets",
        "alias" => "quotas.aliases",
        "importtoken" => "quotas.import_tokens",
        "network" => "quotas.network_rules",
        "policy" => "quotas.policies",
        "applicationaccesspoint" => "quotas.access_points",
        "clientkey" => "quotas.client_keys",
        // Calls are limited for each operation, if at all, and not for the instance.
        "qps" => return (NO_LIMIT, 0),
        // The instance is in no network of the cloud.
        _ => return (0, 0),
    };
    let found = cx.store().quota_uses().into_iter().find(|one| one.quota.setting == setting);
    found.map_or((0, 0), |one| (one.quota.most, one.used))
}

impl Operation for GetKmsInstanceQuotaInfos {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<KmsInstanceQuotas, ApiError> {
        let named = self.instance.unwrap_or_else(|| cx.instance().id.to_string());
        instance::<Self>(cx, &named)?;
        let quota = |resource_type| {
            let (resource_quota, used_quantity) = quota_and_use(cx, resource_type);
            QuotaInfo { resource_type, resource_quota, used_quantity }
        };
        Ok(KmsInstanceQuotas {
            kms_instance_id: named,
            kms_instance_quota_infos: self.types.into_iter().map(quota).collect(),
        })
    }
}
