//! A cache of parsed key policies, by their text.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::model::policy::{KeyPolicy, PolicyFault};
use crate::model::{KeyId, KeyRecord};

/// The maximum number of cached policies. Beyond it all are parsed again, which only costs time.
const MAX_ENTRIES: usize = 10_000;

/// The parsed key policies.
#[derive(Debug, Default)]
pub(super) struct KeyPolicies {
    read: RwLock<HashMap<KeyId, (String, KeyPolicy)>>,
}

impl KeyPolicies {
    /// The policy of a key, if it has one.
    pub(super) fn of(&self, record: &KeyRecord) -> Result<Option<KeyPolicy>, PolicyFault> {
        let Some(text) = &record.policy else { return Ok(None) };
        let read = self.read.read();
        if let Some((_, policy)) = read.get(&record.id).filter(|(read_text, _)| read_text == text) {
            return Ok(Some(policy.clone()));
        }
        drop(read);
        let policy = KeyPolicy::parse(text)?;
        let mut read = self.read.write();
        if read.len() >= MAX_ENTRIES {
            read.clear();
        }
        read.insert(record.id, (text.clone(), policy.clone()));
        Ok(Some(policy))
    }
}
