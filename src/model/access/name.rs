//! Names of access documents.

use crate::model::text_form::{is_ascii_name, text_type};

text_type! {
    /// The name of a network rule, a policy or an access point: 1 to 64 ASCII letters, digits, `_`, `-`
    /// or `.`. The API documents no rule. This one accepts every name in its examples and clients, and
    /// excludes characters with a meaning in an ARN.
    AccessName, "name", |text| is_ascii_name(text, 64, b"_-.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_character_with_a_meaning_in_an_arn() {
        assert!("Rule_1-a.b".parse::<AccessName>().is_ok());
        assert!("a".repeat(64).parse::<AccessName>().is_ok());
        assert!("a".repeat(65).parse::<AccessName>().is_err());
        for text in ["", "a/b", "a:b", "a*", "a?", "a b", "ä"] {
            assert!(text.parse::<AccessName>().is_err(), "{text}");
        }
    }
}
