//! Policies of access points: permitted actions, resources and source addresses.

use super::NamedDocument as _;
use crate::model::{AccessName, AccessPolicy};
use crate::ops::Context;
use crate::ops::operation::response;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_policy::CreatePolicy,
    delete_policy::DeletePolicy,
    describe_policy::DescribePolicy,
    list_policies::ListPolicies,
    update_policy::UpdatePolicy,
}

response! {
    /// A policy, as described by the API. `P` and `R` are the types of the two lists: JSON text in
    /// one response, lists in the other.
    pub struct PolicyDetails<P, R> {
        arn: String,
        name: AccessName,
        description: String,
        kms_instance: String,
        permissions: P,
        resources: R,
        access_control_rules: String,
    }
}

impl<P, R> PolicyDetails<P, R> {
    fn of(policy: &AccessPolicy, permissions: P, resources: R, cx: &Context) -> Self {
        Self {
            arn: AccessPolicy::arn(cx, &policy.name),
            name: policy.name.clone(),
            description: policy.description.clone(),
            kms_instance: policy.kms_instance.clone(),
            permissions,
            resources,
            access_control_rules: policy.rules.text().to_owned(),
        }
    }
}
