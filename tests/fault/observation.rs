//! Compares the state of a gateway with what clients know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::{Key, Ledger};
use crate::support::gateway::{Gateway, text};
use crate::support::key_model::{KeyFacts, Kind, Proof, Request, State};

/// Of each key, so many proofs are kept.
const MAX_PROOFS: usize = 4;

/// Which keys to look at closely. Whether a key is there is looked at in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Those that something was done to.
    Changed,
    All,
}

impl Ledger {
    /// Looks at everything that the API tells, and from then on knows what was in doubt.
    pub(crate) async fn check(&mut self, gateway: &Gateway, depth: Depth) {
        let listed = pages(gateway, "ListKeys", "Keys", "Key").await;
        let listed = listed.iter().map(|key| text(&key["KeyId"]).to_owned()).collect();
        self.match_unacknowledged_keys(gateway, &listed).await;
        let ids: Vec<String> = self.keys.keys().cloned().collect();
        for id in ids {
            let key = self.keys.get_mut(&id).unwrap();
            if depth == Depth::All || key.is_changed {
                self.facts += check_key(gateway, &id, key, &listed).await;
            } else {
                let is_gone = key.state() == Some(State::Gone);
                assert_ne!(is_gone, listed.contains(&id), "{id} {key:?}");
                self.facts += 1;
            }
        }
        self.check_aliases(gateway).await;
        self.check_client_keys(gateway).await;
    }

    /// A key that no client knows must come of a call that had no answer.
    async fn match_unacknowledged_keys(&mut self, gateway: &Gateway, listed: &BTreeSet<String>) {
        for id in listed {
            if !self.keys.contains_key(id) {
                let kind = Kind::of(&gateway.describe(id).await);
                let call = self
                    .unacknowledged_keys
                    .iter()
                    .position(|unacknowledged_keys| *unacknowledged_keys == kind);
                let call = call.unwrap_or_else(|| panic!("nobody has made {id}, a {kind:?}"));
                self.unacknowledged_keys.swap_remove(call);
                self.keys.insert(id.clone(), Key::new(kind));
            }
        }
        self.unacknowledged_keys.clear();
    }

    async fn check_aliases(&mut self, gateway: &Gateway) {
        let listed = pages(gateway, "ListAliases", "Aliases", "Alias").await;
        let member = |alias: &Value, name: &str| text(&alias[name]).to_owned();
        let mut listed: BTreeMap<String, String> = listed
            .iter()
            .map(|alias| (member(alias, "AliasName"), member(alias, "KeyId")))
            .collect();
        for (name, may_be) in &mut self.aliases {
            let target = listed.remove(name);
            let is_gone = |key: &String| self.keys[key].state() == Some(State::Gone);
            let expected =
                may_be.iter().any(|alias| alias.clone().filter(|key| !is_gone(key)) == target);
            assert!(expected, "{name} names {target:?} and may name {may_be:?}");
            *may_be = vec![target];
            self.facts += 1;
        }
        assert!(listed.is_empty(), "nobody has made {listed:?}");
    }

    async fn check_client_keys(&mut self, gateway: &Gateway) {
        let listed = gateway.call("ListClientKeys", &[]).await;
        let listed = listed["ClientKeys"].as_array().unwrap().iter();
        let mut listed: BTreeSet<String> =
            listed.map(|key| text(&key["ClientKeyId"]).to_owned()).collect();
        for (id, may_be) in &mut self.client_keys {
            let exists = listed.remove(id);
            assert!(may_be.contains(&exists), "{id}: {exists}, {may_be:?}");
            *may_be = vec![exists];
            self.facts += 1;
        }
        assert!(listed.len() <= self.unacknowledged_client_keys, "nobody has made {listed:?}");
        self.client_keys.extend(listed.into_iter().map(|id| (id, vec![true])));
        self.unacknowledged_client_keys = 0;
    }
}

/// Every item of a list.
async fn pages(gateway: &Gateway, action: &str, list: &str, item: &str) -> Vec<Value> {
    let mut items = Vec::new();
    for page in 1.. {
        let page = page.to_string();
        let params = [("PageNumber", page.as_str()), ("PageSize", "100")];
        let answer = gateway.call(action, &params).await;
        let found = answer[list][item].as_array().unwrap();
        items.extend(found.iter().cloned());
        if found.len() < 100 {
            break;
        }
    }
    items
}

/// Holds a key against what is known of it, uses what it has made, and lets it make something new.
/// How many facts that were.
async fn check_key(gateway: &Gateway, id: &str, key: &mut Key, listed: &BTreeSet<String>) -> usize {
    let (seen, versions) = observe(gateway, id, listed).await;
    let expected = key.may_be.clone();
    key.may_be.retain(|facts| facts.shows(&seen));
    assert!(!key.may_be.is_empty(), "{id} is {seen:?}, not one of {expected:?}");
    for facts in &mut key.may_be {
        facts.primary.clone_from(&seen.primary);
    }
    for proof in &key.proofs {
        let ((action, params), member, value) = key.kind.using(id, proof);
        match answer(gateway, (action, params)).await {
            Ok(answer) => {
                assert_eq!(seen.state, State::Enabled, "{action} with {id}");
                assert_eq!(answer[member], value, "{action} with {id}");
            }
            Err(code) => assert_eq!(code, seen.state.refusal(), "{action} with {id}"),
        }
    }
    if seen.state == State::Enabled {
        for version in versions.iter().rev().take(MAX_PROOFS) {
            let (request, member) = key.kind.proving(id, version);
            let made = answer(gateway, request).await.unwrap();
            let made = text(&made[member]).to_owned();
            key.proofs.push(Proof { version: version.clone(), made });
        }
        while key.proofs.len() > MAX_PROOFS {
            // The oldest stay longest.
            key.proofs.remove(key.proofs.len() / 2);
        }
    }
    key.is_changed = false;
    4 + key.proofs.len()
}

/// What a key is, and its versions from the first on.
async fn observe(
    gateway: &Gateway,
    id: &str,
    listed: &BTreeSet<String>,
) -> (KeyFacts, Vec<String>) {
    if !listed.contains(id) {
        let refused = gateway.refused("DescribeKey", &[("KeyId", id)]).await;
        assert_eq!(refused.1, State::Gone.refusal());
        return (KeyFacts::gone(), Vec::new());
    }
    let metadata = gateway.describe(id).await;
    let params = [("KeyId", id), ("PageSize", "100")];
    let versions = gateway.call("ListKeyVersions", &params).await;
    let versions = versions["KeyVersions"]["KeyVersion"].as_array().unwrap();
    let versions: Vec<String> =
        versions.iter().map(|version| text(&version["KeyVersionId"]).to_owned()).collect();
    let member = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    let seen = KeyFacts {
        state: State::of(&metadata),
        versions: versions.len(),
        primary: Some(member("PrimaryKeyVersion")),
        has_material: true,
        rotation: member("RotationInterval"),
        description: member("Description"),
    };
    (seen, versions)
}

/// An answer, or the code of a refusal.
async fn answer(gateway: &Gateway, (action, params): Request) -> Result<Value, String> {
    use hsmgate::cli::client::CallError;
    let params: Vec<_> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match gateway.client.call(action, &params).await {
        Ok(answer) => Ok(answer),
        Err(CallError::Refused { code, .. }) => Err(code),
        Err(error) => panic!("{action}: {error:?}\n{}", gateway.log()),
    }
}
