//! Identity providers.

use super::text_form::{is_ascii_name, text_type};

text_type! {
    /// The name of an identity provider: 1 to 128 ASCII letters, digits, `.`, `-` and `_`, with a letter
    /// or a digit at both ends (RAM, CreateOIDCProvider).
    ProviderName, "identity provider name", |text| {
        let is_end = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        is_ascii_name(text, 128, b"._-")
            && is_end(text.chars().next())
            && is_end(text.chars().next_back())
    }
}
