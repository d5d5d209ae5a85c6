//! What clients know about their keys, aliases and client keys: acknowledged changes, and possible
//! results of calls without an answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use hsmgate::cli::client::Client;

use crate::support::gateway::{Gateway, text};
use crate::support::instance_client::InstanceClient;
use crate::support::key_history::{Outcome, ask};
use crate::support::key_model::{ACCESS_POINT, Change, KeyFacts, Kind, Operation, Proof, State};

/// A key as its client knows it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    /// One of these is so.
    pub(crate) may_be: Vec<KeyFacts>,
    /// What it was before the call that is under way.
    before: Vec<KeyFacts>,
    pub(crate) proofs: Vec<Proof>,
    /// Whether something was done to it since it was last looked at.
    pub(crate) is_changed: bool,
}

/// What all clients know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) keys: BTreeMap<String, Key>,
    /// Of each name, the keys that it may name; none where it may not be there.
    pub(crate) aliases: BTreeMap<String, Vec<Option<String>>>,
    /// Of each client key, whether it may be there.
    pub(crate) client_keys: BTreeMap<String, Vec<bool>>,
    /// Keys whose making was not answered.
    pub(crate) unacknowledged_keys: Vec<Kind>,
    pub(crate) unacknowledged_client_keys: usize,
    pub(crate) acknowledged: usize,
    pub(crate) unanswered: usize,
    /// How many facts were looked at.
    pub(crate) facts: usize,
}

impl Key {
    pub(crate) fn new(kind: Kind) -> Self {
        let (may_be, before) = (vec![KeyFacts::new(kind)], Vec::new());
        Self { kind, may_be, before, proofs: Vec::new(), is_changed: true }
    }

    /// Its state, where there is no doubt.
    pub(crate) fn state(&self) -> Option<State> {
        let (first, others) = self.may_be.split_first()?;
        others.iter().all(|facts| facts.state == first.state).then_some(first.state)
    }
}

impl Ledger {
    /// What is there from the first start on.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let demo = gateway.dev.key_id.clone();
        let mut ledger = Self::default();
        ledger.aliases.insert(gateway.dev.alias.clone(), vec![Some(demo.clone())]);
        let mut key = Key::new(Kind::Cipher);
        "Created by hsmgate dev".clone_into(&mut key.may_be[0].description);
        ledger.keys.insert(demo, key);
        ledger
    }

    /// Makes the access point that client keys belong to, with a first one.
    pub(crate) async fn create_access_point(&mut self, gateway: &Gateway) {
        let instance_client = InstanceClient::of(gateway, ACCESS_POINT, r#"["key/*"]"#, "").await;
        self.client_keys.insert(instance_client.client_key.id, vec![true]);
    }

    fn begin(&mut self, operation: &Operation) {
        if let Operation::To { key, change } = operation {
            let key = self.keys.get_mut(key).unwrap();
            let kind = key.kind;
            key.before = key.may_be.clone();
            key.may_be = following(&key.before, &Outcome::Unknown, |it| it.after(kind, change));
            key.is_changed = true;
        }
    }

    fn finish(&mut self, operation: &Operation, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => self.acknowledged += 1,
            Outcome::Refused(_) | Outcome::Nothing => {}
            Outcome::Unknown => self.unanswered += 1,
        }
        match (operation, outcome) {
            (Operation::CreateKey(kind), Outcome::Done(made)) => {
                let id = text(&made["KeyMetadata"]["KeyId"]).to_owned();
                self.keys.insert(id, Key::new(*kind));
            }
            (Operation::CreateKey(kind), Outcome::Unknown) => self.unacknowledged_keys.push(*kind),
            (Operation::CreateClientKey, Outcome::Done(made)) => {
                self.client_keys.insert(text(&made["ClientKeyId"]).to_owned(), vec![true]);
            }
            (Operation::CreateClientKey, Outcome::Unknown) => self.unacknowledged_client_keys += 1,
            (Operation::CreateKey(_) | Operation::CreateClientKey, Outcome::Refused(code)) => {
                panic!("{operation:?}: {code}")
            }
            (Operation::CreateKey(_) | Operation::CreateClientKey, Outcome::Nothing) => {}
            (Operation::To { key, change }, _) => self.finish_key(key, change, outcome),
            (Operation::CreateAlias { name, key }, _) => {
                self.finish_alias(name, outcome, |alias| {
                    alias.is_none().then(|| Some(key.clone()))
                });
            }
            (Operation::UpdateAlias { name, key }, _) => {
                self.finish_alias(name, outcome, |alias| {
                    alias.is_some().then(|| Some(key.clone()))
                });
            }
            (Operation::DeleteAlias { name }, _) => {
                self.finish_alias(name, outcome, |alias| alias.is_some().then_some(None));
            }
            (Operation::DeleteClientKey { id }, _) => {
                let may_be = self.client_keys.get_mut(id).unwrap();
                *may_be = following(may_be, outcome, |exists| exists.then_some(false));
            }
        }
    }

    fn finish_key(&mut self, id: &str, change: &Change, outcome: &Outcome) {
        let key = self.keys.get_mut(id).unwrap();
        let kind = key.kind;
        key.may_be = following(&key.before, outcome, |facts| facts.after(kind, change));
        if let (Change::AddVersion, Kind::Cipher, Outcome::Done(made)) = (change, kind, outcome) {
            let version = text(&made["KeyVersion"]["KeyVersionId"]);
            for facts in &mut key.may_be {
                facts.primary = Some(version.to_owned());
            }
        }
    }

    fn finish_alias(
        &mut self,
        name: &str,
        outcome: &Outcome,
        after: impl Fn(&Option<String>) -> Option<Option<String>>,
    ) {
        let may_be = self.aliases.entry(name.to_owned()).or_insert_with(|| vec![None]);
        *may_be = following(may_be, outcome, after);
    }
}

/// Does something as a client, and keeps what it is told.
pub(crate) async fn perform(
    ledger: &RefCell<Ledger>,
    client: &Client,
    operation: &Operation,
) -> Outcome {
    ledger.borrow_mut().begin(operation);
    let outcome = ask(client, operation.request()).await;
    ledger.borrow_mut().finish(operation, &outcome);
    outcome
}

/// What may be so after a call that has this outcome. `after` is what a call makes of something
/// that is so; none when it is refused then.
fn following<T: Clone + PartialEq + Debug>(
    before: &[T],
    outcome: &Outcome,
    after: impl Fn(&T) -> Option<T>,
) -> Vec<T> {
    let done = before.iter().filter_map(&after);
    let mut may_be: Vec<T> = match outcome {
        Outcome::Done(_) => done.collect(),
        Outcome::Refused(_) => before.iter().filter(|it| after(it).is_none()).cloned().collect(),
        Outcome::Unknown => before.iter().cloned().chain(done).collect(),
        Outcome::Nothing => before.to_vec(),
    };
    assert!(!may_be.is_empty(), "{outcome:?} of {before:?}");
    let mut kept = Vec::new();
    for it in may_be.drain(..) {
        if !kept.contains(&it) {
            kept.push(it);
        }
    }
    kept
}
