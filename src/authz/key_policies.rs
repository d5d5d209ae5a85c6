//! A cache of the parsed policies of keys and of secrets, by their text.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::RwLock;

use crate::model::policy::{KeyPolicy, PolicyFault};

/// The maximum number of cached policies. Beyond it all are parsed again, which only costs time.
const MAX_ENTRIES: usize = 10_000;

/// The parsed policies of resources with ids of this type.
#[derive(Debug)]
pub(super) struct ResourcePolicies<Id> {
    read: RwLock<HashMap<Id, (String, KeyPolicy)>>,
}

impl<Id> Default for ResourcePolicies<Id> {
    fn default() -> Self {
        Self { read: RwLock::default() }
    }
}

impl<Id: Hash + Eq> ResourcePolicies<Id> {
    /// The policy of a resource with this text, if it has one.
    pub(super) fn of(&self, id: Id, text: Option<&str>) -> Result<Option<KeyPolicy>, PolicyFault> {
        let Some(text) = text else { return Ok(None) };
        let read = self.read.read();
        if let Some((_, policy)) = read.get(&id).filter(|(read_text, _)| read_text == text) {
            return Ok(Some(policy.clone()));
        }
        drop(read);
        let policy = KeyPolicy::parse(text)?;
        let mut read = self.read.write();
        if read.len() >= MAX_ENTRIES {
            read.clear();
        }
        read.insert(id, (text.to_owned(), policy.clone()));
        Ok(Some(policy))
    }
}
