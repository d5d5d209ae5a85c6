//! Authorization of client keys by the policies of their access point.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Permission;
use crate::model::policy::{KeyPolicy, Resource, ResourceName};
use crate::model::{
    AccessName, AccessPoint, AccessPolicy, AccessResource, AccountId, ClientKeyId, ClientKeyRecord,
    KeyRecord, NetworkRule, PermissionTemplate, SecretName,
};
use crate::store::Store;

/// The permissions of `CryptoServiceKeyUser` on a key, each with the actions of the public API that
/// do the same. A key pair encrypts and decrypts with the permissions of a symmetric key.
const KEY_PERMISSIONS: [(&str, &[&str]); 8] = [
    ("kms:Encrypt", &["kms:Encrypt", "kms:AsymmetricEncrypt"]),
    ("kms:Decrypt", &["kms:Decrypt", "kms:AsymmetricDecrypt"]),
    ("kms:GenerateDataKey", &["kms:GenerateDataKey"]),
    ("kms:GenerateDataKeyPair", &["kms:GenerateDataKey"]),
    ("kms:GenerateDataKeyPairWithoutPlaintext", &["kms:GenerateDataKey"]),
    ("kms:Sign", &["kms:AsymmetricSign"]),
    ("kms:Verify", &["kms:AsymmetricVerify"]),
    ("kms:GetPublicKey", &["kms:GetPublicKey"]),
];

/// The actions of the public API that `CryptoServiceSecretUser` permits with a secret.
pub(super) const SECRET_ACTIONS: [&str; 1] = ["kms:GetSecretValue"];

const KEY_USER: PermissionTemplate = PermissionTemplate::CryptoServiceKeyUser;
const SECRET_USER: PermissionTemplate = PermissionTemplate::CryptoServiceSecretUser;

/// A request with a client key.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientKeyRequest<'a> {
    /// The access point of the client key.
    pub(super) access_point: &'a AccessName,
    /// The client key; `None` in a simulation for any client key of the access point.
    pub(super) id: Option<ClientKeyId>,
    /// The source address of the request.
    pub(super) source: IpAddr,
}

impl<'a> ClientKeyRequest<'a> {
    /// A request that this client key has signed.
    pub(super) fn of(client_key: &'a ClientKeyRecord, source: IpAddr) -> Self {
        Self { access_point: &client_key.access_point, id: Some(client_key.id), source }
    }

    /// Whether a key policy denies the client key something.
    pub(super) fn is_named_by(&self, key_policy: &KeyPolicy, account: &AccountId) -> bool {
        let mut statements = key_policy.statements().iter();
        statements.any(|one| one.denies_client_key(account, self.access_point, self.id))
    }
}

/// The actions of the public API that do the same as a permission of client keys. The `Advance`
/// form of a permission differs only in the layout of the ciphertext.
pub(super) fn same_actions(permission: &str) -> &'static [&'static str] {
    let plain = permission.strip_prefix("kms:Advance").unwrap_or_default();
    let is_same = |name: &str| name == permission || name.strip_prefix("kms:") == Some(plain);
    let found = KEY_PERMISSIONS.iter().find(|(name, _actions)| is_same(name));
    found.map_or(&[], |(_name, actions)| actions)
}

/// The names with which a key policy can deny a call of a client key: the action, the permission,
/// and the actions that do the same.
pub(super) fn names_of<'a>(action: &'a str, permission: &'a str) -> impl Iterator<Item = &'a str> {
    [action, permission].into_iter().chain(same_actions(permission).iter().copied())
}

/// All actions of the public API that `CryptoServiceKeyUser` permits with a key.
pub(super) fn granted_actions() -> BTreeSet<&'static str> {
    KEY_PERMISSIONS.iter().flat_map(|(_name, actions)| actions.iter().copied()).collect()
}

/// Whether one of the policies allows `P` with the key, or without a key, from the request's
/// address. Every permission for client keys is in `CryptoServiceKeyUser`.
pub(super) fn allows<P: Permission>(
    store: &Store,
    request: ClientKeyRequest<'_>,
    key: Option<&KeyRecord>,
) -> bool {
    P::CLIENT_KEYS.is_some() && allowing_policy(store, request, key).is_some()
}

/// The first policy that grants `CryptoServiceKeyUser` with the key, or without a key, from the
/// request's address.
pub(super) fn allowing_policy(
    store: &Store,
    request: ClientKeyRequest<'_>,
    key: Option<&KeyRecord>,
) -> Option<Arc<AccessPolicy>> {
    let id = key.map(|key| key.id.as_str());
    let is_about_it = |policy: &AccessPolicy| match id {
        Some(id) => is_any(policy, |one| one.matches_key(id)),
        None => !policy.resources.is_empty(),
    };
    find_policy(store, request, KEY_USER, is_about_it)
}

/// Whether `P` is a permission for client keys, and a policy grants `CryptoServiceSecretUser` with
/// the secret from the request's address.
pub(super) fn allows_secret<P: Permission>(
    store: &Store,
    request: ClientKeyRequest<'_>,
    name: &SecretName,
) -> bool {
    P::CLIENT_KEYS.is_some() && allowing_secret_policy(store, request, name).is_some()
}

/// The first policy that grants `CryptoServiceSecretUser` with the secret from the request's address.
pub(super) fn allowing_secret_policy(
    store: &Store,
    request: ClientKeyRequest<'_>,
    name: &SecretName,
) -> Option<Arc<AccessPolicy>> {
    let is_about_it =
        |policy: &AccessPolicy| is_any(policy, |one| one.matches_secret(name.as_str()));
    find_policy(store, request, SECRET_USER, is_about_it)
}

/// Whether the requester may learn that the key does not exist.
pub(super) fn may_know(
    store: &Store,
    request: ClientKeyRequest<'_>,
    resource: &Resource<'_>,
) -> bool {
    let id = match resource.name {
        ResourceName::Key(id) => Some(id.as_str().to_owned()),
        ResourceName::Other(name) => name.strip_prefix("key/").map(str::to_owned),
        ResourceName::Secret(name) => {
            return allowing_secret_policy(store, request, name).is_some();
        }
        ResourceName::Alias(_) | ResourceName::Role(_) => None,
    };
    let policy = find_policy(store, request, KEY_USER, |policy| match &id {
        Some(id) => is_any(policy, |one| one.matches_key(id)),
        None => is_any(policy, AccessResource::matches_every_key),
    });
    policy.is_some()
}

/// The first policy that covers the resource and allows the request. An access point or policy
/// without a document allows nothing.
fn find_policy(
    store: &Store,
    request: ClientKeyRequest<'_>,
    template: PermissionTemplate,
    is_about: impl Fn(&AccessPolicy) -> bool,
) -> Option<Arc<AccessPolicy>> {
    let point = store.document::<AccessPoint>(request.access_point.as_str())?;
    let mut policies = point.policies.iter().filter_map(|name| store.document(name.as_str()));
    policies.find(|policy: &Arc<AccessPolicy>| {
        policy.permissions.contains(&template)
            && is_about(policy)
            && network_allows(store, policy, request.source)
    })
}

/// Whether a policy grants the permissions on keys.
pub(super) fn permits_key_use(policy: &AccessPolicy) -> bool {
    policy.permissions.contains(&KEY_USER)
}

/// Whether a policy grants the permissions on secrets.
pub(super) fn permits_secret_use(policy: &AccessPolicy) -> bool {
    policy.permissions.contains(&SECRET_USER)
}

/// Whether any resource of a policy matches.
fn is_any(policy: &AccessPolicy, is_such: impl Fn(&AccessResource) -> bool) -> bool {
    policy.resources.iter().any(is_such)
}

/// A policy without network rules admits every address; otherwise the address must match one of its
/// rules. A missing rule has no addresses, but counts as a rule.
fn network_allows(store: &Store, policy: &AccessPolicy, source: IpAddr) -> bool {
    let names = &policy.rules.network_rules;
    let mut rules = names.iter().filter_map(|name| store.document(name.as_str()));
    names.is_empty()
        || rules.any(|rule: Arc<NetworkRule>| {
            rule.source_private_ip.iter().any(|range| range.contains(source))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::model::clock;
    use crate::model::{KeySpec, KeyUsage, Origin, ProtectionLevel, RegionAccount};

    struct ForClientKeys;

    impl Permission for ForClientKeys {
        const ACTION: &'static str = "kms:AsymmetricSign";
        const CLIENT_KEYS: Option<&'static str> = Some("kms:Sign");
    }

    struct ForUsers;

    impl Permission for ForUsers {
        const ACTION: &'static str = "kms:CreateKey";
    }

    /// A store with the access point `shop`, whose policies are `policies`, and the rules `here`
    /// (10.0.0.0/8) and `nowhere`.
    async fn shop(policies: &[serde_json::Value]) -> (TempDir, Store, Arc<ClientKeyRecord>) {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}", directory.path().join("db").display());
        let store = crate::store::tests::open(&url).await.unwrap();
        let created = clock::now();
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

    fn record(id: &str) -> KeyRecord {
        let (spec, usage) = (KeySpec::Aes256, KeyUsage::EncryptDecrypt);
        let (origin, level) = (Origin::AliyunKms, ProtectionLevel::Hsm);
        let record = KeyRecord::new(spec, usage, origin, level, clock::now());
        KeyRecord { id: id.parse().unwrap(), ..record }
    }

    #[tokio::test]
    async fn only_a_client_key_that_may_use_a_key_learns_that_it_does_not_exist() {
        let user = "CryptoServiceKeyUser";
        for (resources, known) in [
            (&["key/*"][..], [true; 3]),
            (&[&format!("key/{KEY}")], [true, false, false]),
            (&["key/x*"], [false, true, false]),
            (&["key/key-*", "secret/*"], [true, false, false]),
            (&[], [false; 3]),
        ] {
            let (_directory, store, key) = shop(&[policy(user, resources, &[])]).await;
            let request = ClientKeyRequest::of(&key, "::1".parse().unwrap());
            let region_account = RegionAccount {
                region: "cn-hangzhou".parse().unwrap(),
                account: "1234567890123456".parse().unwrap(),
            };
            let learns = |name| may_know(&store, request, &Resource::new(&region_account, name));
            let alias = "alias/x".parse().unwrap();
            let names = [
                ResourceName::Key(KEY.parse().unwrap()),
                ResourceName::Other("key/x"),
                ResourceName::Alias(&alias),
            ];
            assert_eq!(names.map(learns), known, "{resources:?}");
            store.close().await;
        }
    }

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
            (vec![policy(user, &["key/*"], &["not-there"])], "10.1.2.3", [false; 3]),
            (vec![policy(user, &["key/*"], &["not-there", "not-there"])], "::1", [false; 3]),
            (vec![policy(user, &["key/*"], &["not-there", "here"])], "10.1.2.3", [true; 3]),
            (vec![policy(user, &["key/*"], &["not-there", "here"])], "11.1.2.3", [false; 3]),
            (vec![policy(user, &["key/key-hzz630494463ejqjx1*"], &[])], "::1", [true, false, true]),
            (vec![policy(user, &["key/key-hzz*"], &[])], "::1", [true; 3]),
            (vec![policy(user, &["key/a*"], &[])], "::1", [false, false, true]),
            (vec![policy(user, &[], &[])], "::1", [false; 3]),
            (vec![policy(user, &["key/*", "key/*"], &["here", "here"])], "10.1.2.3", [true; 3]),
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
            let request = ClientKeyRequest::of(&key, source);
            let decision = |key| allows::<ForClientKeys>(&store, request, key);
            let verdicts =
                [decision(Some(&record(KEY))), decision(Some(&record(OTHER))), decision(None)];
            assert_eq!(verdicts, allowed, "{policies:?} {address}");
            assert!(!allows::<ForUsers>(&store, request, Some(&record(KEY))));
            assert!(!allows::<ForUsers>(&store, request, None));
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_reference_to_a_missing_document_allows_nothing_until_it_exists() {
        let user = "CryptoServiceKeyUser";
        let (_directory, store, key) = shop(&[policy(user, &["key/*"], &["later"])]).await;
        let request = ClientKeyRequest::of(&key, "10.1.2.3".parse().unwrap());
        let is_let_in = || allows::<ForClientKeys>(&store, request, Some(&record(KEY)));
        assert!(!is_let_in());
        let rule = json!({"name": "later", "source_private_ip": ["10.0.0.0/8"], "description": "",
            "created": clock::now()});
        store.insert_document::<NetworkRule>(from_value(rule.clone()).unwrap()).await.unwrap();
        assert!(is_let_in(), "names are resolved when they are used");
        store.remove_document::<NetworkRule>("later").await.unwrap();
        assert!(!is_let_in());
        store.insert_document::<NetworkRule>(from_value(rule).unwrap()).await.unwrap();
        store.remove_document::<AccessPolicy>("0").await.unwrap();
        assert!(!is_let_in());
        store.remove_document::<AccessPoint>("shop").await.unwrap();
        assert!(!is_let_in());
        store.close().await;
    }

    /// A Deny for an action of the public API would otherwise not bind a call of the other protocol
    /// that does the same.
    #[test]
    fn every_permission_of_client_keys_has_an_action_of_the_public_api() {
        let public = crate::api::rpc::table::TABLE.iter().filter_map(|entry| entry.client_keys);
        let instance = crate::api::instance::table::TABLE.iter();
        let granted = public.chain(instance.filter_map(|entry| entry.client_keys));
        for permission in granted {
            let actions = same_actions(permission);
            // Neither is about a key.
            let is_other = matches!(permission, "kms:GenerateRandom" | "kms:GetSecretValue");
            assert_eq!(actions.is_empty(), is_other, "{permission}");
            for action in actions {
                let mut names = crate::api::rpc::table::TABLE.iter().map(|entry| entry.permission);
                assert!(names.any(|name| name == *action), "{action}");
            }
        }
    }

    #[tokio::test]
    async fn a_policy_without_permissions_allows_nothing() {
        let nothing = json!({"permissions": [], "resources": ["key/*"],
            "rules": {"NetworkRules": []}});
        let (_directory, store, key) = shop(&[nothing]).await;
        let request = ClientKeyRequest::of(&key, "::1".parse().unwrap());
        for key in [Some(&record(KEY)), None] {
            assert!(!allows::<ForClientKeys>(&store, request, key));
        }
        store.close().await;
    }
}
