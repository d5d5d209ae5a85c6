//! Settings from environment variables, for containers: each replaces the value of the file.

use super::settings::{SECTIONS, SETTINGS, Setting, SettingKind};
use super::value::Value;

/// The first letters of every variable.
const PREFIX: &str = "HSMGATE_";

/// The variables of this process whose names begin as those of settings do.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(String, Option<String>)>);

impl Environment {
    /// That of this process.
    pub(super) fn of_process() -> Self {
        Self::of(std::env::vars_os().filter_map(|(name, value)| {
            // The name of a setting is a text.
            Some((name.into_string().ok()?, value.into_string().ok()))
        }))
    }

    /// Of these variables, those whose names begin with the name of a section. A value is `None` if it is
    /// not UTF-8.
    pub(super) fn of(variables: impl IntoIterator<Item = (String, Option<String>)>) -> Self {
        let is_setting = |name: &str| {
            let name = name.strip_prefix(PREFIX).unwrap_or_default();
            SECTIONS.iter().any(|(section, _doc)| {
                let rest = name.strip_prefix(&*section.to_ascii_uppercase());
                rest.is_some_and(|rest| rest.starts_with("__"))
            })
        };
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(name, _value)| is_setting(name)).collect();
        variables.sort();
        Self(variables)
    }

    /// Each variable with its value, and its setting if there is one.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (&str, Option<&str>, Option<&'static Setting>)> {
        self.0.iter().map(|(name, value)| {
            let setting = SETTINGS.iter().find(|setting| setting.variable() == *name);
            (name.as_str(), value.as_deref(), setting)
        })
    }
}

/// A value as a text: a list has commas between its items, and an empty text is an empty list.
pub(super) fn parse_value(kind: SettingKind, text: &str) -> Option<Value> {
    match kind {
        SettingKind::Text(_) => Some(Value::Text(text.to_owned())),
        SettingKind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        SettingKind::List(_) if text.is_empty() => Some(Value::List(Vec::new())),
        SettingKind::List(_) => {
            Some(Value::List(text.split(',').map(|item| item.trim().to_owned()).collect()))
        }
        SettingKind::Flag => text.parse().ok().map(Value::Flag),
        SettingKind::Number(least, most) => {
            let number = text.parse().ok()?;
            (least..=most).contains(&number).then_some(Value::Number(number))
        }
    }
}
