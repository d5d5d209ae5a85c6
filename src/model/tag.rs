//! Tags: short texts by name that a user attaches to a key.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text_form::{FromParam, InvalidId, text_type};

/// Maximum number of tags of a key (CreateKey, TagResources). TagResource documents 10; the larger
/// number applies everywhere.
pub const MAX_TAGS: usize = 20;

const MAX_CHARS: usize = 128;

text_type! {
    /// The name of a tag: 1 to 128 letters of any script, digits and `/ \ _ - . + = : @` (CreateKey,
    /// parameter Tags). Names that begin with `aliyun` or `acs:` are reserved for the cloud.
    ///
    /// ```
    /// use hsmgate::model::TagKey;
    /// assert!("team:訂單".parse::<TagKey>().is_ok());
    /// assert!("".parse::<TagKey>().is_err());
    /// assert!("acs:team".parse::<TagKey>().is_err());
    /// ```
    TagKey, "tag key", |text| {
        let is_reserved = text.starts_with("aliyun") || text.starts_with("acs:");
        !text.is_empty() && !is_reserved && is_tag_text(text)
    }
}

text_type! {
    /// The value of a tag: up to 128 of the characters allowed in [`TagKey`], or empty.
    TagValue, "tag value", is_tag_text
}

fn is_tag_text(text: &str) -> bool {
    let allowed =
        |char: char| char.is_alphabetic() || char.is_ascii_digit() || r"/\_-.+=:@".contains(char);
    text.chars().count() <= MAX_CHARS && text.chars().all(allowed)
}

/// Why a tag is invalid. Each fault has an API error code, whatever parameter holds the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagFault {
    /// The key is invalid.
    #[error(
        "A tag key has 1 to 128 letters, digits and / \\ _ - . + = : @, and must begin with neither \
         aliyun nor acs:."
    )]
    Key,
    /// The value is invalid.
    #[error("A tag value has up to 128 letters, digits and / \\ _ - . + = : @.")]
    Value,
    /// Two tags have the same key.
    #[error("A tag key must not be repeated.")]
    Duplicate,
}

/// Tags as sent in a request, at most [`MAX_TAGS`], as name and value pairs: a JSON array of
/// `{"TagKey":..,"TagValue":..}`, where a missing value is empty, or numbered parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagList(pub Vec<(String, String)>);

impl TagList {
    /// The tags.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(self) -> Result<BTreeMap<TagKey, TagValue>, TagFault> {
        let mut tags = BTreeMap::new();
        for (key, value) in self.0 {
            let key = key.parse().map_err(|InvalidId(_)| TagFault::Key)?;
            let value = value.parse().map_err(|InvalidId(_)| TagFault::Value)?;
            if tags.insert(key, value).is_some() {
                return Err(TagFault::Duplicate);
            }
        }
        Ok(tags)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagParam {
    tag_key: String,
    #[serde(default)]
    tag_value: String,
}

impl FromParam for TagList {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("list of tags");
        let sent: Vec<TagParam> = serde_json::from_str(text).map_err(|_source| invalid)?;
        if sent.len() > MAX_TAGS {
            return Err(invalid);
        }
        Ok(Self(sent.into_iter().map(|tag| (tag.tag_key, tag.tag_value)).collect()))
    }
}

/// The keys of tags to remove (UntagResource, parameter TagKeys): a JSON array of strings, as
/// clients send it, or a comma-separated list, as documented.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagKeyList(pub Vec<String>);

impl TagKeyList {
    /// The keys.
    ///
    /// # Errors
    /// [`TagFault::Key`].
    pub fn parse(self) -> Result<Vec<TagKey>, TagFault> {
        self.0.iter().map(|key| key.parse().map_err(|InvalidId(_)| TagFault::Key)).collect()
    }
}

impl FromParam for TagKeyList {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("list of tag keys");
        // No tag key contains a bracket, so the two forms are unambiguous.
        let keys: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|_source| invalid)?
        } else {
            text.split(',').map(|key| key.trim().to_owned()).collect()
        };
        if keys.len() > MAX_TAGS { Err(invalid) } else { Ok(Self(keys)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_128_characters_and_a_value_0_to_128() {
        for (length, key, value) in [(0, false, true), (1, true, true), (128, true, true)] {
            let text = "ж".repeat(length);
            assert_eq!(text.parse::<TagKey>().is_ok(), key, "{length}");
            assert_eq!(text.parse::<TagValue>().is_ok(), value, "{length}");
        }
        assert!("a".repeat(129).parse::<TagKey>().is_err());
        assert!("a".repeat(129).parse::<TagValue>().is_err());
    }

    #[test]
    fn a_tag_holds_the_documented_characters_and_no_other() {
        assert!(r"Ab9/\_-.+=:@".parse::<TagKey>().is_ok());
        for text in ["a b", "a,b", "a\"b", "a[", "a\n", "½"] {
            assert!(text.parse::<TagKey>().is_err(), "{text:?}");
            assert!(text.parse::<TagValue>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_keys_of_the_cloud_are_refused_and_its_values_are_not() {
        for text in ["aliyun", "aliyun.x", "acs:", "acs:team"] {
            assert!(text.parse::<TagKey>().is_err(), "{text}");
            assert!(text.parse::<TagValue>().is_ok(), "{text}");
        }
        assert!("acs".parse::<TagKey>().is_ok());
    }

    #[test]
    fn a_list_of_tags_is_read_and_each_fault_is_distinguished() {
        let parsed = |text: &str| TagList::from_param(text).unwrap().parse();
        let pair = |key: &str, value: &str| (key.parse().unwrap(), value.parse().unwrap());
        for text in [
            r#"[{"TagKey":"b","TagValue":""},{"TagValue":"1","TagKey":"a"}]"#,
            r#" [ {"TagKey": "b"}, {"TagKey": "a", "TagValue": "1"} ] "#,
        ] {
            let pairs: Vec<_> = parsed(text).unwrap().into_iter().collect();
            assert_eq!(pairs, [pair("a", "1"), pair("b", "")]);
        }
        for (text, fault) in [
            (r#"[{"TagKey":"a b","TagValue":""}]"#, TagFault::Key),
            (r#"[{"TagKey":"","TagValue":"x"}]"#, TagFault::Key),
            (r#"[{"TagKey":"acs:a","TagValue":"b c"}]"#, TagFault::Key),
            (r#"[{"TagKey":"a","TagValue":"b c"}]"#, TagFault::Value),
            (
                r#"[{"TagKey":"a","TagValue":"1"},{"TagKey":"a","TagValue":"1"}]"#,
                TagFault::Duplicate,
            ),
        ] {
            assert_eq!(parsed(text), Err(fault), "{text}");
        }
        for text in ["", "{}", "[1]", r#"[{"TagValue":"a"}]"#, r#"[{"Key":"a","Value":"b"}]"#] {
            assert!(TagList::from_param(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_holds_at_most_20() {
        let tags = |count| {
            let tag = |at| format!(r#"{{"TagKey":"k{at}","TagValue":"v"}}"#);
            format!("[{}]", (0..count).map(tag).collect::<Vec<_>>().join(","))
        };
        assert_eq!(TagList::from_param(&tags(20)).unwrap().0.len(), 20);
        assert!(TagList::from_param(&tags(21)).is_err());
        assert!(TagKeyList::from_param(&vec!["a"; 21].join(",")).is_err());
    }

    #[test]
    fn tag_keys_are_read_from_json_or_a_comma_separated_list() {
        let parsed = |text: &str| TagKeyList::from_param(text).unwrap().parse();
        let keys = ["a", "b"].map(|key| key.parse().unwrap()).to_vec();
        for text in [r#"["a","b"]"#, r#" ["a", "b"]"#, "a,b", "a, b"] {
            assert_eq!(parsed(text).as_ref(), Ok(&keys), "{text}");
        }
        for text in ["", "a,", r#"["acs:a"]"#, "a b"] {
            assert_eq!(parsed(text), Err(TagFault::Key), "{text}");
        }
        assert!(TagKeyList::from_param("[a]").is_err());
    }
}
