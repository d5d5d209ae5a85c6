//! The parameters of a request, by name, as both wires and the command line hand them over.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::id::InvalidId;

/// Why parameters do not make a request. It names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// A required parameter is absent or empty.
    #[error("parameter {0:?} is missing")]
    Missing(Cow<'static, str>),
    /// A parameter is of the wrong form or out of range.
    #[error("parameter {0:?} is not valid")]
    Invalid(Cow<'static, str>),
}

impl ParamError {
    /// The error for a parameter of the wrong form.
    pub const fn invalid(name: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(name))
    }
}

/// A value that can be read from the text of one parameter.
pub trait FromParam: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// When the text is of another form or out of range.
    fn from_param(text: &str) -> Result<Self, InvalidId>;
}

/// A request that can be read from its parameters.
pub trait FromParams: Sized {
    /// Reads the request.
    ///
    /// # Errors
    /// Names the parameter that is missing or not valid.
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError>;
}

/// Decoded parameters, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Params<'a> {
    /// Adds a parameter.
    ///
    /// # Errors
    /// When the name is there already: two values for one name mean two different requests to
    /// two different readers, so none is chosen.
    pub fn insert(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) -> Result<(), ParamError> {
        let name = name.into();
        if self.0.contains_key(&name) {
            return Err(ParamError::Invalid(Cow::Owned(name.into_owned())));
        }
        self.0.insert(name, value.into());
        Ok(())
    }

    /// The text of a parameter as sent, empty or not.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// All parameters, sorted by name in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// A parameter that must be there and not empty.
    ///
    /// # Errors
    /// When it is absent, empty or not valid.
    pub fn required<T: FromParam>(&self, name: &'static str) -> Result<T, ParamError> {
        self.optional(name)?.ok_or(ParamError::Missing(Cow::Borrowed(name)))
    }

    /// A parameter that may be absent; an empty text counts as absent.
    ///
    /// # Errors
    /// When it is there and not valid.
    pub fn optional<T: FromParam>(&self, name: &'static str) -> Result<Option<T>, ParamError> {
        match self.text(name) {
            None | Some("") => Ok(None),
            Some(text) => match T::from_param(text) {
                Ok(value) => Ok(Some(value)),
                Err(InvalidId(_)) => Err(ParamError::invalid(name)),
            },
        }
    }
}

/// Values that are read from their text with `FromStr`.
macro_rules! from_str {
    ($($type:ty),+ $(,)?) => {
        $(impl FromParam for $type {
            fn from_param(text: &str) -> Result<Self, InvalidId> {
                text.parse()
            }
        })+
    };
}

from_str!(
    super::AccessName,
    super::Alias,
    super::AuthenticationMethod,
    super::Base64Bytes,
    super::CiphertextBlob,
    super::ClientKeyId,
    super::ClientKeyPassword,
    super::KeyId,
    super::KeyRef,
    super::KeySpec,
    super::KeyUsage,
    super::KeyVersionId,
    super::Origin,
    super::Plaintext,
    super::ProtectionLevel,
    super::RotationInterval,
    super::TagKey,
    super::TagValue,
    super::Time,
    super::WrappingAlgorithm,
    super::algorithm::EncryptionAlgorithm,
    super::algorithm::MacAlgorithm,
    super::algorithm::SignatureAlgorithm,
    super::bytes::SentPlaintext,
);

impl FromParam for String {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        Ok(text.to_owned())
    }
}

/// Booleans arrive as `true`, `True`, `false` or `False`, each SDK with its own spelling.
impl FromParam for bool {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(InvalidId("boolean"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_is_an_absent_parameter() {
        let mut params = Params::default();
        params.insert("A", "").unwrap();
        assert_eq!(params.optional::<u32>("A"), Ok(None));
        assert_eq!(params.required::<u32>("A"), Err(ParamError::Missing("A".into())));
    }

    #[test]
    fn a_repeated_name_is_refused_by_name() {
        let mut params = Params::default();
        params.insert("A", "1").unwrap();
        assert_eq!(params.insert("A", "1"), Err(ParamError::Invalid("A".into())));
        assert_eq!(params.text("A"), Some("1"));
    }

    #[test]
    fn a_bad_value_is_refused_by_name() {
        let mut params = Params::default();
        params.insert("A", "x").unwrap();
        assert_eq!(params.optional::<u32>("A"), Err(ParamError::invalid("A")));
        assert_eq!(params.optional::<bool>("A"), Err(ParamError::invalid("A")));
    }
}
