//! KMS instances: this gateway is one.

use super::text_form::{is_lower_alphanumeric, text_type};
use super::{KeyId, Time};

const PREFIX: &str = "kst-";

text_type! {
    /// The id of a KMS instance: `kst-` and 21 lowercase letters or digits (25 bytes in total).
    ///
    /// ```
    /// use hsmgate::model::InstanceId;
    /// assert!("kst-hzz62f1cb66fa42qo1234".parse::<InstanceId>().is_ok());
    /// assert!("kst-1".parse::<InstanceId>().is_err());
    /// ```
    InstanceId, "instance id", |text| {
        text.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 21 && is_lower_alphanumeric(rest))
    }
}

/// A KMS instance: the API's name for a gateway with its token and its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance id, fixed for the lifetime of the store.
    pub id: InstanceId,
    /// When a gateway first opened the store.
    pub created: Time,
}

impl InstanceId {
    /// A new id with 90 random bits.
    pub fn random() -> Self {
        // Both ids have the same format after their prefixes.
        let key = KeyId::random();
        let rest = key.as_str().strip_prefix("key-").unwrap_or_default();
        Self(format!("{PREFIX}{rest}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_as_itself() {
        let id = InstanceId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_ne!(InstanceId::random(), id);
    }
}
