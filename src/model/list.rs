//! Lists that travel as a JSON array in one parameter.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;
use super::params::FromParam;

/// `MIN` to `MAX` values, none of them twice, in the order given.
///
/// ```
/// use hsmgate::model::{AccessName, DistinctList, FromParam};
/// type Names = DistinctList<AccessName, 1, 2>;
/// assert_eq!(Names::from_param(r#"["a","b"]"#)?.len(), 2);
/// assert!(Names::from_param("[]").is_err());
/// assert!(Names::from_param(r#"["a","a"]"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>")]
#[serde(bound(deserialize = "T: PartialEq + Deserialize<'de>"))]
pub struct DistinctList<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T: PartialEq, const MIN: usize, const MAX: usize> TryFrom<Vec<T>>
    for DistinctList<T, MIN, MAX>
{
    type Error = InvalidId;

    fn try_from(values: Vec<T>) -> Result<Self, InvalidId> {
        if !(MIN..=MAX).contains(&values.len()) {
            return Err(InvalidId("list of this length"));
        }
        let mut rest = values.as_slice();
        while let [first, others @ ..] = rest {
            if others.contains(first) {
                return Err(InvalidId("list without repetitions"));
            }
            rest = others;
        }
        Ok(Self(values))
    }
}

/// Nothing, where nothing is allowed.
impl<T, const MAX: usize> Default for DistinctList<T, 0, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MIN: usize, const MAX: usize> Deref for DistinctList<T, MIN, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> FromParam for DistinctList<T, MIN, MAX>
where
    T: PartialEq + DeserializeOwned,
{
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        serde_json::from_str(text).map_err(|_source| InvalidId("list as a JSON array"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = DistinctList<u8, 1, 3>;

    #[test]
    fn the_order_given_stays() {
        let list = Numbers::from_param("[3, 1, 2]").unwrap();
        assert_eq!(*list, [3, 1, 2]);
        assert_eq!(serde_json::to_string(&list).unwrap(), "[3,1,2]");
    }

    #[test]
    fn a_list_of_another_length_or_with_repetitions_is_refused() {
        for text in ["", "[]", "[1,2,3,4]", "[1,2,1]", "1", "{}", "[1]x"] {
            assert!(Numbers::from_param(text).is_err(), "{text}");
        }
    }
}
