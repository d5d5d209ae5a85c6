//! Lists sent as a JSON array in one parameter.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::text_form::InvalidId;

/// At most `MAX` values, in the given order, with duplicates.
///
/// ```
/// use hsmgate::model::{AccessName, BoundedList};
/// type Names = BoundedList<AccessName, 2>;
/// assert_eq!(serde_json::from_str::<Names>(r#"["a","a"]"#)?.len(), 2);
/// assert!(serde_json::from_str::<Names>("[]")?.is_empty());
/// assert!(serde_json::from_str::<Names>(r#"["a","b","c"]"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>")]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct BoundedList<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> TryFrom<Vec<T>> for BoundedList<T, MAX> {
    type Error = InvalidId;

    fn try_from(values: Vec<T>) -> Result<Self, InvalidId> {
        if values.len() <= MAX { Ok(Self(values)) } else { Err(InvalidId("list of this length")) }
    }
}

impl<T, const MAX: usize> Default for BoundedList<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for BoundedList<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = BoundedList<u8, 3>;

    #[test]
    fn order_and_duplicates_are_kept() {
        for (text, values) in [("[3, 1, 2]", &[3, 1, 2][..]), ("[1,2,1]", &[1, 2, 1]), ("[]", &[])]
        {
            assert_eq!(*serde_json::from_str::<Numbers>(text).unwrap(), *values, "{text}");
        }
    }

    #[test]
    fn a_too_long_list_and_other_values_are_refused() {
        for text in ["", "[1,2,3,4]", "[1,1,1,1]", "1", "{}", "[1]x", "[256]"] {
            assert!(serde_json::from_str::<Numbers>(text).is_err(), "{text}");
        }
    }
}
