//! The value of a setting, and where it comes from.

use std::fmt;

use super::server_url::ServerUrl;
use super::settings::Setting;

/// A value of the correct type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    List(Vec<String>),
}

/// As in the configuration file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", toml::Value::String(text.clone())),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(items) => {
                let items = items.iter().cloned().map(toml::Value::String).collect();
                write!(f, "{}", toml::Value::Array(items))
            }
        }
    }
}

impl Value {
    /// Without the password of a URL.
    pub(super) fn redacted(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(without_password(text)),
            Self::List(items) => Self::List(items.into_iter().map(without_password).collect()),
            other => other,
        }
    }
}

fn without_password(text: String) -> String {
    match ServerUrl::parse(&text) {
        Ok(mut url) if url.first().password().is_some() => {
            // A URL with a password has an authority, which takes another one.
            match url.set_password("***") {
                Ok(()) => url.to_string(),
                Err(()) => "***".to_owned(),
            }
        }
        _ => text,
    }
}

/// Where a value comes from, or where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the file, counted from 1. For a missing setting, that of its section, or the last.
    Line(usize),
    /// An environment variable.
    Variable(String),
    /// The default of the setting.
    Default,
}

impl Origin {
    /// The place in words, for the file with this name.
    pub fn in_file(&self, file: &str) -> String {
        match self {
            Self::Line(line) => format!("{file}:{line}"),
            Self::Variable(name) => name.clone(),
            Self::Default => "default".to_owned(),
        }
    }
}

/// A setting as a configuration has it.
#[derive(Debug, Clone)]
pub struct EffectiveSetting {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as in a configuration file, without the password of a URL. `None` if it is not set and has
    /// no default.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_in_a_file_and_without_the_password_of_a_url() {
        let text = |text: &str| Value::Text(text.to_owned()).redacted().to_string();
        assert_eq!(text("a\"b"), "'a\"b'");
        assert_eq!(text("postgres://role@localhost/db"), "\"postgres://role@localhost/db\"");
        assert_eq!(text("https://u:hunter2@h/p"), "\"https://u:***@h/p\"");
        let several = text("postgres://u:hunter2@h1:5432,h2:5433/db");
        assert_eq!(several, "\"postgres://u:***@h1:5432,h2:5433/db\"");
        let list = Value::List(vec!["syslog://u:hunter2@h".to_owned(), "/dev/log".to_owned()]);
        assert_eq!(list.redacted().to_string(), "[\"syslog://u:***@h\", \"/dev/log\"]");
        assert_eq!(Value::Number(7).to_string(), "7");
    }
}
