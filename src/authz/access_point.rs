//! What a client key may do: what the policies of its access point say.

use std::sync::Arc;

use crate::authn::Visitor;
use crate::model::{
    AccessPoint, AccessPolicy, AccessResource, KeyId, NetworkRule, PermissionTemplate,
};
use crate::store::Store;

/// What `CryptoServiceKeyUser` stands for: the operations of the KMS instance protocol with keys.
const KEY_USER: &[&str] = &[
    "kms:AdvanceDecrypt",
    "kms:AdvanceEncrypt",
    "kms:AdvanceGenerateDataKey",
    "kms:AdvanceGenerateDataKeyPair",
    "kms:AdvanceGenerateDataKeyPairWithoutPlaintext",
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateRandom",
    "kms:GetPublicKey",
    "kms:Sign",
    "kms:Verify",
];

/// Whether one of the policies lets the visitor in from where it is, to do this with the key, or
/// with no key at all.
pub(super) fn allows(store: &Store, visitor: &Visitor, action: &str, key: Option<KeyId>) -> bool {
    let point = store.document::<AccessPoint>(visitor.key.access_point.as_str());
    let Some(point) = point.filter(|_point| KEY_USER.contains(&action)) else { return false };
    let policies = point.policies.iter().filter_map(|name| store.document(name.as_str()));
    policies.into_iter().any(|policy: Arc<AccessPolicy>| {
        policy.permissions.contains(&PermissionTemplate::CryptoServiceKeyUser)
            && key.is_none_or(|key| is_about(&policy, key))
            && lets_in(store, &policy, visitor)
    })
}

fn is_about(policy: &AccessPolicy, key: KeyId) -> bool {
    policy.resources.iter().any(|resource| match resource {
        AccessResource::AnyKey => true,
        AccessResource::Key(id) => *id == key,
        AccessResource::Secret(_) | AccessResource::AnySecret => false,
    })
}

/// A policy without network rules lets in from everywhere; one with rules where one of them does.
fn lets_in(store: &Store, policy: &AccessPolicy, visitor: &Visitor) -> bool {
    let names = &policy.rules.network_rules;
    let mut rules = names.iter().filter_map(|name| store.document(name.as_str()));
    names.is_empty()
        || rules.any(|rule: Arc<NetworkRule>| {
            rule.source_private_ip.iter().any(|range| range.contains(visitor.source))
        })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::{from_value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::model::{ClientKeyRecord, Time};

    /// A store with the access point `shop`, whose policies are `policies`, and the rules `here`
    /// (10.0.0.0/8) and `nowhere`.
    async fn shop(policies: &[serde_json::Value]) -> (TempDir, Store, Arc<ClientKeyRecord>) {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}", directory.path().join("db").display());
        let store = Store::open(&url).await.unwrap();
        let created = Time::now();
        for (name, addresses) in [("here", json!(["10.0.0.0/8"])), ("nowhere", json!([]))] {
            let rule = json!({"name": name, "source_private_ip": addresses, "description": "",
                "created": created});
            store.insert_document::<NetworkRule>(from_value(rule).unwrap()).await.unwrap();
        }
        for (number, policy) in policies.iter().enumerate() {
            let mut policy = policy.clone();
            policy["name"] = json!(number.to_string());
            policy["kms_instance"] = json!("");
            policy["description"] = json!("");
            policy["created"] = json!(created);
            store.insert_document::<AccessPolicy>(from_value(policy).unwrap()).await.unwrap();
        }
        let names: Vec<_> = (0..policies.len()).map(|number| number.to_string()).collect();
        let point = json!({"name": "shop", "policies": names,
            "authentication_method": "ClientKey", "description": "", "created": created});
        store.insert_document::<AccessPoint>(from_value(point).unwrap()).await.unwrap();
        let key = json!({"id": "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf", "access_point": "shop",
            "certificate_pem": "", "public_key": "", "not_before": created,
            "not_after": created.plus_seconds(9), "created": created, "is_active": true});
        (directory, store, Arc::new(from_value(key).unwrap()))
    }

    fn policy(template: &str, resources: &[&str], rules: &[&str]) -> serde_json::Value {
        json!({"permissions": [format!("RbacPermission/Template/{template}")],
            "resources": resources, "rules": {"NetworkRules": rules}})
    }

    const KEY: &str = "key-hzz630494463ejqjx1234";
    const OTHER: &str = "key-hzz630494463ejqjx9999";

    #[tokio::test]
    async fn one_policy_must_allow_action_key_and_address_alike() {
        let user = "CryptoServiceKeyUser";
        for (policies, address, allowed) in [
            (vec![policy(user, &["key/*"], &[])], "203.0.113.1", [true, true, true]),
            (vec![policy(user, &[&format!("key/{KEY}")], &[])], "::1", [true, false, true]),
            (vec![policy(user, &["secret/*"], &[])], "::1", [false, false, true]),
            (vec![policy("CryptoServiceSecretUser", &["key/*"], &[])], "::1", [false; 3]),
            (vec![policy(user, &["key/*"], &["here"])], "10.1.2.3", [true, true, true]),
            (vec![policy(user, &["key/*"], &["here"])], "11.1.2.3", [false; 3]),
            (vec![policy(user, &["key/*"], &["nowhere"])], "10.1.2.3", [false; 3]),
            (vec![policy(user, &["key/*"], &["nowhere", "here"])], "10.1.2.3", [true; 3]),
            (
                vec![
                    policy(user, &["key/*"], &["nowhere"]),
                    policy(user, &["secret/*"], &["here"]),
                ],
                "10.1.2.3",
                [false, false, true],
            ),
        ] {
            let (_directory, store, key) = shop(&policies).await;
            let source: IpAddr = address.parse().unwrap();
            let visitor = Visitor { key, source };
            let verdict = |key: Option<&str>| {
                let key = key.map(|id| id.parse().unwrap());
                allows(&store, &visitor, "kms:Encrypt", key)
            };
            let verdicts = [verdict(Some(KEY)), verdict(Some(OTHER)), verdict(None)];
            assert_eq!(verdicts, allowed, "{policies:?} {address}");
            assert!(!allows(&store, &visitor, "kms:CreateKey", None));
            store.close().await;
        }
    }
}
