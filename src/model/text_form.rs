//! Values with one text form: the same text in requests, in JSON, in the store and in the log.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A string that is not a value of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub(crate) &'static str);

/// A value that is parsed from the text of one parameter.
pub trait FromParam: Sized {
    /// Parses the value.
    ///
    /// # Errors
    /// When the text is malformed or out of range.
    fn from_param(text: &str) -> Result<Self, InvalidId>;
}

/// Whether a text has 1 to `max_bytes` ASCII letters, digits and bytes of `marks`.
pub(crate) fn is_ascii_name(text: &str, max_bytes: usize, marks: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || marks.contains(&byte);
    (1..=max_bytes).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether every byte is an ASCII digit or a lowercase ASCII letter.
pub(super) fn is_lower_alphanumeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// A UUID in the format of the service: hyphenated, lowercase.
pub(super) fn lower_uuid(text: &str) -> Option<Uuid> {
    if text.len() != Hyphenated::LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

/// Implements `Serialize` through `Display`, and `Deserialize` and `FromParam` through `FromStr`, so
/// that values from JSON pass the same validation as parameters of a request.
macro_rules! text_forms {
    ($type:ty: $($form:ident),+) => { $($crate::model::text_form::text_forms!(@$form $type);)+ };
    (@Serialize $type:ty) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
    (@Deserialize $type:ty) => {
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(<D::Error as ::serde::de::Error>::custom)
            }
        }
    };
    (@FromParam $type:ty) => {
        impl $crate::model::text_form::FromParam for $type {
            fn from_param(text: &str) -> Result<Self, $crate::model::text_form::InvalidId> {
                text.parse()
            }
        }
    };
}

/// Declares a type for the texts that `$is_valid` accepts. Clones share the text.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $is_valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(::std::sync::Arc<str>);
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl ::std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::model::text_form::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err($crate::model::text_form::InvalidId($what))
                }
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        $crate::model::text_form::text_forms!($name: Serialize, Deserialize, FromParam);
    };
}

/// Declares an id that is `$prefix` and a UUID in the format of the service: hyphenated, lowercase.
macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(::uuid::Uuid);
        impl $name {
            /// A new random id (UUID version 4).
            pub fn random() -> Self {
                Self($crate::model::random::uuid())
            }

            /// The UUID.
            pub fn uuid(self) -> ::uuid::Uuid {
                self.0
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::model::text_form::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let uuid = text.strip_prefix($prefix).and_then($crate::model::text_form::lower_uuid);
                uuid.map(Self).ok_or($crate::model::text_form::InvalidId($what))
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str($prefix)?;
                f.write_str(self.0.hyphenated().encode_lower(&mut ::uuid::Uuid::encode_buffer()))
            }
        }
        $crate::model::text_form::text_forms!($name: Serialize, Deserialize, FromParam);
    };
}

/// Declares an enum whose variants have names.
macro_rules! api_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }
        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::model::text_form::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::model::text_form::InvalidId($what)),
                }
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        $crate::model::text_form::text_forms!($name: Serialize, Deserialize, FromParam);
    };
}

pub(crate) use {api_enum, text_forms, text_type, uuid_type};
