//! Request parameters by name, as both protocols and the command line pass them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::text_form::{FromParam, InvalidId};

/// Why parameters are not a valid request. Names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// A required parameter is missing or empty.
    #[error("parameter {0:?} is missing")]
    Missing(Cow<'static, str>),
    /// A parameter is malformed or out of range.
    #[error("parameter {0:?} is not valid")]
    Invalid(Cow<'static, str>),
}

impl ParamError {
    /// The error for a malformed parameter.
    pub const fn invalid(name: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(name))
    }
}

/// A request that is read from its parameters.
pub trait FromParams: Sized {
    /// Reads the request.
    ///
    /// # Errors
    /// Names the parameter that is missing or invalid.
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError>;
}

/// A request field in one parameter: a required value, or an `Option`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a parameter",
    note = "implement `FromParam` for it, or read the field `with(…)` a function of all parameters"
)]
pub trait RequestField: Sized {
    /// Reads the field.
    ///
    /// # Errors
    /// Names the parameter when it is missing or invalid.
    fn read(params: &Params<'_>, name: &'static str) -> Result<Self, ParamError>;
}

impl<T: FromParam> RequestField for T {
    fn read(params: &Params<'_>, name: &'static str) -> Result<Self, ParamError> {
        params.required(name)
    }
}

impl<T: FromParam> RequestField for Option<T> {
    fn read(params: &Params<'_>, name: &'static str) -> Result<Self, ParamError> {
        params.optional(name)
    }
}

/// Reads a field from all parameters with a function, whose argument needs no type annotation.
///
/// # Errors
/// As `read`.
pub fn read_with<T>(
    params: &Params<'_>,
    read: impl FnOnce(&Params<'_>) -> Result<T, ParamError>,
) -> Result<T, ParamError> {
    read(params)
}

/// Decoded parameters with distinct names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Params<'a> {
    /// Adds a parameter.
    ///
    /// # Errors
    /// When the name is repeated: two values for one name mean two different requests to two
    /// different readers, so neither is used.
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

    /// The text of a parameter as sent, even if empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// All parameters, sorted by name in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The elements of a list sent as `name.1`, `name.2` and so on, or with fields as `name.1.Key`.
    /// Sorted by number, whatever their order in the request.
    ///
    /// # Errors
    /// When there are more than `most`, or the numbers are not 1, 2, 3 and so on without a gap,
    /// each in its canonical form: two readers could read such a list differently.
    pub fn numbered(
        &self,
        name: &'static str,
        most: usize,
    ) -> Result<Vec<Element<'_>>, ParamError> {
        let mut elements: BTreeMap<usize, Element<'_>> = BTreeMap::new();
        for (full, text) in self.iter() {
            let Some(rest) = full.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let (digits, field) = rest.split_once('.').unwrap_or((rest, ""));
            let number = digits.parse().ok().filter(|number: &usize| number.to_string() == digits);
            let number = number.ok_or_else(|| ParamError::Invalid(full.to_owned().into()))?;
            elements.entry(number).or_default().0.insert(field, text);
        }
        if elements.len() > most {
            return Err(ParamError::invalid(name));
        }
        let expected = elements.keys().zip(1..).find(|(number, expected)| *number != expected);
        match expected {
            Some((_, expected)) => Err(ParamError::Invalid(format!("{name}.{expected}").into())),
            None => Ok(elements.into_values().collect()),
        }
    }

    /// A required, non-empty parameter.
    ///
    /// # Errors
    /// When it is missing, empty or invalid.
    pub fn required<T: FromParam>(&self, name: &'static str) -> Result<T, ParamError> {
        self.optional(name)?.ok_or(ParamError::Missing(Cow::Borrowed(name)))
    }

    /// A parameter with the default `absent` if it is missing or empty.
    ///
    /// # Errors
    /// When it is present and invalid.
    pub fn or<T: FromParam>(&self, name: &'static str, absent: &str) -> Result<T, ParamError> {
        let text = self.given(name).unwrap_or(absent);
        T::from_param(text).map_err(|InvalidId(_)| ParamError::invalid(name))
    }

    /// An optional parameter; an empty text counts as missing.
    ///
    /// # Errors
    /// When it is present and invalid.
    pub fn optional<T: FromParam>(&self, name: &'static str) -> Result<Option<T>, ParamError> {
        let value = self.given(name).map(T::from_param).transpose();
        value.map_err(|InvalidId(_)| ParamError::invalid(name))
    }

    /// The text of a parameter, if it is not empty.
    fn given(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }
}

/// An element of a numbered list: a text, or texts by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element<'p>(BTreeMap<&'p str, &'p str>);

impl<'p> Element<'p> {
    /// The element's text. Empty if missing.
    pub fn text(&self) -> &'p str {
        self.field("")
    }

    /// The text of a field. Empty if missing.
    pub fn field(&self, name: &str) -> &'p str {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl FromParam for String {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        Ok(text.to_owned())
    }
}

/// Booleans are accepted as `true`, `True`, `false` or `False`, because the SDKs differ.
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

    fn of(names: &[&'static str]) -> Params<'static> {
        let mut params = Params::default();
        for name in names {
            params.insert(*name, name.to_lowercase()).unwrap();
        }
        params
    }

    #[test]
    fn a_numbered_list_is_sorted_by_number_and_not_by_text() {
        let params = of(&["Id.10", "Id.2", "Id.1", "Id.3", "Id.4", "Id.5", "Id.6", "Id.7", "Id.8"]);
        assert_eq!(params.numbered("Id", 10), Err(ParamError::Invalid("Id.9".into())));
        let mut whole = params.clone();
        whole.insert("Id.9", "id.9").unwrap();
        whole.insert("Ids.1", "another list").unwrap();
        whole.insert("Id", "no list").unwrap();
        let texts: Vec<_> = whole.numbered("Id", 10).unwrap().iter().map(Element::text).collect();
        assert_eq!(texts, (1..=10).map(|number| format!("id.{number}")).collect::<Vec<_>>());
        assert_eq!(whole.numbered("Id", 9), Err(ParamError::invalid("Id")));
        assert_eq!(whole.numbered("Nothing", 0), Ok(Vec::new()));
    }

    #[test]
    fn an_element_may_have_fields_and_an_absent_one_is_empty() {
        let params = of(&["Tag.2.Value", "Tag.1.Key", "Tag.2.Key"]);
        let tags = params.numbered("Tag", 2).unwrap();
        let pairs: Vec<_> = tags.iter().map(|tag| (tag.field("Key"), tag.field("Value"))).collect();
        assert_eq!(pairs, [("tag.1.key", ""), ("tag.2.key", "tag.2.value")]);
        assert_eq!(tags[0].text(), "");
    }

    #[test]
    fn a_list_whose_numbers_are_not_1_2_3_is_refused_by_name() {
        for (names, wrong) in [
            (vec!["Id.0"], "Id.1"),
            (vec!["Id.2"], "Id.1"),
            (vec!["Id.1", "Id.3"], "Id.2"),
            (vec!["Id.01"], "Id.01"),
            (vec!["Id.+1"], "Id.+1"),
            (vec!["Id.x"], "Id.x"),
            (vec!["Id."], "Id."),
            (vec!["Id.-1"], "Id.-1"),
        ] {
            let params = of(&names);
            let refused = params.numbered("Id", 10);
            assert_eq!(refused, Err(ParamError::Invalid(wrong.into())), "{names:?}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_by_name() {
        let mut params = Params::default();
        params.insert("A", "x").unwrap();
        assert_eq!(params.optional::<u32>("A"), Err(ParamError::invalid("A")));
        assert_eq!(params.optional::<bool>("A"), Err(ParamError::invalid("A")));
    }
}
