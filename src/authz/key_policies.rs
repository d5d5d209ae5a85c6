//! Key policies, read once for each text that a key has had.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::model::policy::{KeyPolicy, PolicyFault};
use crate::model::{KeyId, KeyRecord};

/// The most policies that are kept. Beyond it all are read anew, which only costs time.
const MAX_ENTRIES: usize = 10_000;

/// The key policies that were read.
#[derive(Debug, Default)]
pub(super) struct KeyPolicies {
    read: RwLock<HashMap<KeyId, (String, KeyPolicy)>>,
}

impl KeyPolicies {
    /// The policy of a key, if it has one of its own.
    pub(super) fn of(&self, record: &KeyRecord) -> Result<Option<KeyPolicy>, PolicyFault> {
        let Some(text) = &record.policy else { return Ok(None) };
        // What stands in the map is whole, whoever panicked beside it.
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, policy)) = read.get(&record.id).filter(|(read_text, _)| read_text == text) {
            return Ok(Some(policy.clone()));
        }
        drop(read);
        let policy = KeyPolicy::parse(text)?;
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= MAX_ENTRIES {
            read.clear();
        }
        read.insert(record.id, (text.clone(), policy.clone()));
        Ok(Some(policy))
    }
}
