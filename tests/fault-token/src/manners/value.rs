//! The values of manners and their texts.

use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_MECHANISM_TYPE, CK_RV};

use crate::attribute_types::ATTRIBUTE_TYPES;
use crate::mechanism_types::MECHANISM_TYPES;
use crate::{names, return_codes};

/// An attribute type, by its name in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeType(pub(crate) CK_ATTRIBUTE_TYPE);

/// A mechanism type, by its name in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MechanismType(pub(crate) CK_MECHANISM_TYPE);

/// A return code, by its name in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnCode(pub(crate) CK_RV);

/// A value in the text of a manner.
pub(super) trait Value: Sized {
    fn parse(text: &str) -> Result<Self, String>;

    fn text(&self) -> String;

    /// The next of some values.
    fn next<'a>(values: &mut impl Iterator<Item = &'a str>) -> Result<Self, String> {
        Self::parse(values.next().ok_or("a manner has too few values")?)
    }
}

impl Value for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_error| format!("{text} is no number"))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for AttributeType {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(names::number(ATTRIBUTE_TYPES, text)))
    }

    fn text(&self) -> String {
        names::name(ATTRIBUTE_TYPES, self.0)
    }
}

impl Value for MechanismType {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(names::number(MECHANISM_TYPES, text)))
    }

    fn text(&self) -> String {
        names::name(MECHANISM_TYPES, self.0)
    }
}

impl Value for ReturnCode {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(return_codes::code(text)))
    }

    fn text(&self) -> String {
        return_codes::name(self.0)
    }
}
