//! GetKmsInstanceQuotaInfos: returns the usage and the quotas of the instance.

use super::{NO_LIMIT, instance};
use crate::model::{AccessPoint, AccessPolicy, ClientKeyRecord, ImportParameters, NetworkRule};
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
    let (store, quotas) = (cx.store(), cx.store().quotas());
    let (quota, used) = match resource_type {
        "key" => (quotas.keys, store.key_count()),
        "alias" => (quotas.aliases, store.alias_count()),
        "importtoken" => (quotas.import_tokens, store.documents::<ImportParameters>().len()),
        "network" => (quotas.network_rules, store.documents::<NetworkRule>().len()),
        "policy" => (quotas.policies, store.documents::<AccessPolicy>().len()),
        "applicationaccesspoint" => (quotas.access_points, store.documents::<AccessPoint>().len()),
        "clientkey" => (quotas.client_keys, store.documents::<ClientKeyRecord>().len()),
        // Calls are limited for each operation, if at all, and not for the instance.
        "qps" => return (NO_LIMIT, 0),
        _ => return (0, 0),
    };
    (quota.most, used)
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
