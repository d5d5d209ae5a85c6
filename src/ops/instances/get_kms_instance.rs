//! GetKmsInstance: returns the properties of the instance. It cannot be bought, does not expire and
//! has no cloud network, so the properties of these are missing.
//!
//! VswitchIds and ZoneIds are omitted: the Go SDKs up to v3.3.1 declare them as text and cannot
//! decode a response with empty lists.

use super::{NAME, instance};
use crate::model::{InstanceId, Time};
use crate::ops::prelude::*;

operation! {
    pub struct GetKmsInstance -> DescribedInstance {
        instance: String = "KmsInstanceId",
    }

    /// The response.
    pub struct DescribedInstance {
        kms_instance: KmsInstance,
    }

    struct KmsInstance {
        instance_id: InstanceId,
        instance_name: &'static str,
        status: &'static str,
        create_time: Time,
        start_date: Time,
        product_version: &'static str,
        /// The maximum number of keys.
        key_num: u32,
        /// The maximum number of secrets, as text.
        secret_num: String,
        vpc_num: u32,
        bind_vpcs: BindVpcs,
        deletion_protection: bool,
    }

    struct BindVpcs {
        bind_vpc: [&'static str; 0],
    }
}

impl Operation for GetKmsInstance {
    const EFFECT: ActionEffect = ActionEffect::Reads;

    async fn run(self, cx: &Context) -> Result<DescribedInstance, ApiError> {
        instance::<Self>(cx, &self.instance)?;
        let this = cx.instance();
        let kms_instance = KmsInstance {
            instance_id: this.id.clone(),
            instance_name: NAME,
            status: "Connected",
            create_time: this.created,
            start_date: this.created,
            product_version: env!("CARGO_PKG_VERSION"),
            key_num: cx.store().quotas().keys.most,
            secret_num: cx.store().quotas().secrets.most.to_string(),
            vpc_num: 0,
            bind_vpcs: BindVpcs { bind_vpc: [] },
            deletion_protection: false,
        };
        Ok(DescribedInstance { kms_instance })
    }
}
