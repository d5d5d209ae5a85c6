//! Reads the text of a configuration and compares it with the table of settings.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{self, Environment};
use super::faults::Fault;
use super::settings::{SECTIONS, SETTINGS, Setting, SettingKind, WhenAbsent};
use super::value::{EffectiveSetting, Origin, Value};

/// The section that may occur several times.
const TOKEN: &str = "token";
/// Its settings that have one value for all tokens: they are in the first section.
const OF_ALL_TOKENS: &[&str] = &[
    "token.timeout_ms",
    "token.key_pair_timeout_ms",
    "token.hang_timeout_ms",
    "token.replication_timeout_ms",
];

/// Minimum similarity of a word to a known one to be suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// The values that text and environment set, and the faults found so far.
pub(super) struct Reader<'a> {
    text: &'a str,
    values: BTreeMap<&'static str, (Origin, Value)>,
    present: Vec<&'static str>,
    sections: BTreeMap<&'static str, usize>,
    /// The sections of the token but for the first.
    other_tokens: Vec<TokenSection>,
    faults: Vec<Fault>,
}

/// One of several sections `[[token]]`.
#[derive(Default)]
struct TokenSection {
    line: usize,
    values: BTreeMap<&'static str, (Origin, Value)>,
    present: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Parses text and environment: syntax, names, types and ranges, presence and alternatives.
    pub(super) fn new(text: &'a str, environment: &Environment) -> Self {
        let mut reader = Self {
            text,
            values: BTreeMap::new(),
            present: Vec::new(),
            sections: BTreeMap::new(),
            other_tokens: Vec::new(),
            faults: Vec::new(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        reader.read_sections(table.get_ref());
        reader.read_environment(environment);
        if errors.is_empty() {
            reader.check_presence();
        } else {
            // The parser may lose the text after a syntax error, so no setting is reported as
            // missing.
            reader.take_syntax(&errors);
        }
        reader
    }

    /// A text that `parse` accepts. `None` if it is not set or invalid.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (origin, Value::Text(text)) = self.value(name)? else { return None };
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong_form(origin, name);
        }
        parsed
    }

    /// A list of texts that `parse` accepts. `None` if it is not set or invalid.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (origin, Value::List(texts)) = self.value(name)? else { return None };
        let parsed: Option<Vec<T>> = texts.iter().map(|text| parse(text)).collect();
        if parsed.is_none() {
            self.wrong_form(origin, name);
        }
        parsed
    }

    /// A Boolean.
    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        match self.value(name)? {
            (_, Value::Flag(flag)) => Some(flag),
            _ => None,
        }
    }

    /// A number. The range of the setting ensures that it fits its type.
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &'static str) -> Option<T> {
        match self.value(name)? {
            (_, Value::Number(number)) => T::try_from(number).ok(),
            _ => None,
        }
    }

    /// Whether text or environment set it, validly or not.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.present.contains(&name)
    }

    /// What `read` makes of each section `[[token]]` but for the first, as if it were the only one.
    pub(super) fn each_other_token<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut others = std::mem::take(&mut self.other_tokens);
        let tokens: Vec<_> = others.iter_mut().map(|other| self.with_token(other, &read)).collect();
        self.other_tokens = others;
        tokens.into_iter().collect()
    }

    /// Works with another section of the token in the place of the first.
    fn with_token<T>(&mut self, other: &mut TokenSection, work: impl FnOnce(&mut Self) -> T) -> T {
        self.exchange_token(other);
        let result = work(self);
        self.exchange_token(other);
        result
    }

    fn exchange_token(&mut self, other: &mut TokenSection) {
        let is_of_token = |name: &str| name.split('.').next() == Some(TOKEN);
        let values = self.values.extract_if(.., |name, _value| is_of_token(name)).collect();
        let present = self.present.extract_if(.., |name| is_of_token(name)).collect();
        self.values.extend(std::mem::replace(&mut other.values, values));
        self.present.extend(std::mem::replace(&mut other.present, present));
        let line = self.sections.insert(TOKEN, other.line);
        other.line = line.unwrap_or_default();
    }

    /// Adds a fault of a setting's value.
    pub(super) fn fault_of(&mut self, name: &'static str, what: impl Into<String>) {
        let origin = self.origin_of(name);
        self.fault(origin, name, what);
    }

    /// Every setting with its value.
    pub(super) fn effective(&self) -> Vec<EffectiveSetting> {
        let effective = |setting: &'static Setting| {
            let (origin, value) = match self.value(setting.name) {
                Some((_line, value)) if !self.is_set(setting.name) => {
                    (Origin::Default, Some(value))
                }
                Some((origin, value)) => (origin, Some(value)),
                None => (Origin::Default, None),
            };
            let value = value.map(|value| value.redacted().to_string());
            EffectiveSetting { setting, value, origin }
        };
        let mut all: Vec<_> = SETTINGS.iter().map(effective).collect();
        for other in &self.other_tokens {
            let set = SETTINGS.iter().filter_map(|setting| {
                let (origin, value) = other.values.get(setting.name)?.clone();
                Some(EffectiveSetting {
                    setting,
                    value: Some(value.redacted().to_string()),
                    origin,
                })
            });
            all.extend(set);
        }
        all
    }

    /// All faults.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn value(&self, name: &'static str) -> Option<(Origin, Value)> {
        if self.is_set(name) {
            return self.values.get(name).cloned();
        }
        let setting = Setting::named(name)?;
        let WhenAbsent::Value(text) = setting.default else { return None };
        Some((self.line_of(name), default_value(setting.kind, text)?))
    }

    /// Settings of the environment replace those of the text, and their alternatives there.
    fn read_environment(&mut self, environment: &Environment) {
        for (variable, text, setting) in environment.iter() {
            let origin = Origin::Variable(variable.to_owned());
            let Some(setting) = setting else {
                let names: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
                let near = nearest(variable, names.iter().map(String::as_str));
                self.fault(origin, "", with_hint("unknown setting", near));
                continue;
            };
            if !self.other_tokens.is_empty() && is_of_one_token(setting.name) {
                self.fault(origin, setting.name, "cannot be set: the file has several [[token]]");
                continue;
            }
            if let WhenAbsent::OrElse(other) = setting.default
                && let Some((Origin::Line(_), _)) = self.values.get(other)
            {
                self.values.remove(other);
                self.present.retain(|name| *name != other);
            }
            if !self.is_set(setting.name) {
                self.present.push(setting.name);
            }
            self.values.remove(setting.name);
            self.faults.retain(|fault| fault.subject != setting.name);
            match text.and_then(|text| environment::parse_value(setting.kind, text)) {
                Some(value) => drop(self.values.insert(setting.name, (origin, value))),
                None => self.wrong_form(origin, setting.name),
            }
        }
    }

    fn read_sections(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            let number = self.line(&key.span());
            let line = Origin::Line(number);
            let known = SECTIONS.iter().find(|(name, _)| *name == key.get_ref().as_ref());
            match (known, value.get_ref()) {
                (Some((section, _)), DeValue::Table(table)) => {
                    self.sections.insert(section, number);
                    self.read_section(section, table);
                }
                (Some((TOKEN, _)), DeValue::Array(items)) => self.read_tokens(line, items),
                (Some(_), _) => self.fault(line, key.get_ref(), "must be a section"),
                (None, DeValue::Table(_)) => {
                    let near = nearest(key.get_ref(), SECTIONS.iter().map(|(name, _)| *name));
                    self.fault(line, key.get_ref(), with_hint("unknown section", near));
                }
                (None, _) => self.unknown(line, key.get_ref()),
            }
        }
    }

    /// The sections `[[token]]`.
    fn read_tokens(&mut self, line: Origin, items: &[Spanned<DeValue<'_>>]) {
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                return self.fault(line, TOKEN, "must be a section");
            };
            let mut section =
                TokenSection { line: self.line(&item.span()), ..TokenSection::default() };
            if index == 0 {
                self.sections.insert(TOKEN, section.line);
                self.read_section(TOKEN, table);
                continue;
            }
            self.with_token(&mut section, |reader| {
                reader.read_section(TOKEN, table);
                let of_all: Vec<_> =
                    OF_ALL_TOKENS.iter().filter(|name| reader.is_set(name)).collect();
                for name in of_all {
                    reader.fault_of(name, "belongs in the first [[token]]: it holds for all");
                }
            });
            self.other_tokens.push(section);
        }
    }

    fn read_section(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let line = Origin::Line(self.line(&key.span()));
            let name = format!("{section}.{}", key.get_ref());
            match Setting::named(&name) {
                None => self.unknown(line, &name),
                Some(setting) => self.read_setting(setting, line, value),
            }
        }
    }

    fn read_setting(&mut self, setting: &Setting, line: Origin, value: &Spanned<DeValue<'_>>) {
        self.present.push(setting.name);
        match parse_value(setting.kind, value.get_ref()) {
            Some(value) => {
                self.values.insert(setting.name, (line, value));
            }
            None => self.wrong_form(line, setting.name),
        }
    }

    fn unknown(&mut self, line: Origin, name: &str) {
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let elsewhere = SETTINGS.iter().map(|setting| setting.name);
        let near = nearest(name, elsewhere.clone())
            .or_else(|| elsewhere.into_iter().find(|known| last(known) == last(name)));
        self.fault(line, name, with_hint("unknown setting", near));
    }

    fn check_presence(&mut self) {
        self.check_presence_of(|_section| true);
        let mut others = std::mem::take(&mut self.other_tokens);
        for other in &mut others {
            self.with_token(other, |reader| {
                reader.check_presence_of(|section| section == TOKEN);
                reader.check_token_name();
            });
        }
        if !others.is_empty() {
            self.check_token_name();
        }
        self.other_tokens = others;
    }

    /// Each of several tokens has a name.
    fn check_token_name(&mut self) {
        if !self.is_set("token.name") {
            self.fault_of("token.name", "missing: there are several [[token]]");
        }
    }

    fn check_presence_of(&mut self, is_checked: impl Fn(&str) -> bool) {
        for setting in SETTINGS.iter().filter(|setting| is_checked(setting.parts().0)) {
            let line = self.line_of(setting.name);
            match setting.default {
                WhenAbsent::Required if !self.is_set(setting.name) => {
                    self.fault(line, setting.name, "missing");
                }
                // Of a pair, the first in the table reports for both.
                WhenAbsent::OrElse(other) if precedes(setting.name, other) => {
                    let what = match (self.is_set(setting.name), self.is_set(other)) {
                        (false, false) => format!("missing (or {other})"),
                        (true, true) => format!("conflicts with {other}: only one may be set"),
                        _ => continue,
                    };
                    self.fault_of(setting.name, what);
                }
                _ => {}
            }
        }
    }

    fn take_syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let line = Origin::Line(error.span().map_or(1, |span| self.line(&span)));
            self.faults.retain(|fault| fault.origin != line);
            self.fault(line, "", format!("not TOML: {}", error.message()));
        }
    }

    fn wrong_form(&mut self, origin: Origin, name: &'static str) {
        if let Some(setting) = Setting::named(name) {
            self.fault(origin, name, format!("must be {}", setting.kind));
        }
    }

    fn fault(&mut self, origin: Origin, subject: &str, what: impl Into<String>) {
        self.faults.push(Fault { origin, subject: subject.to_owned(), what: what.into() });
    }

    /// Where a missing setting belongs: its section, or the end of the text.
    fn line_of(&self, name: &str) -> Origin {
        let section = name.split('.').next().unwrap_or_default();
        let last = || self.text.lines().count().max(1);
        Origin::Line(self.sections.get(section).copied().unwrap_or_else(last))
    }

    /// Where a setting is, or belongs.
    fn origin_of(&self, name: &str) -> Origin {
        self.values.get(name).map_or_else(|| self.line_of(name), |(origin, _value)| origin.clone())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }
}

/// Whether each of several tokens has its own value of a setting.
fn is_of_one_token(name: &str) -> bool {
    name.split('.').next() == Some(TOKEN) && !OF_ALL_TOKENS.contains(&name)
}

fn parse_value(kind: SettingKind, value: &DeValue<'_>) -> Option<Value> {
    match (kind, value) {
        (SettingKind::Text(_), DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (SettingKind::Word(words), DeValue::String(text)) if words.contains(&text.as_ref()) => {
            Some(Value::Text(text.to_string()))
        }
        (SettingKind::List(_), DeValue::Array(items)) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts.collect::<Option<_>>().map(Value::List)
        }
        (SettingKind::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (SettingKind::Number(least, most), DeValue::Integer(number)) => {
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            (least..=most).contains(&number).then_some(Value::Number(number))
        }
        _ => None,
    }
}

fn default_value(kind: SettingKind, text: &str) -> Option<Value> {
    match kind {
        SettingKind::Text(_) | SettingKind::Word(_) => Some(Value::Text(text.to_owned())),
        // The default of every list is empty.
        SettingKind::List(_) => Some(Value::List(Vec::new())),
        SettingKind::Flag => text.parse().ok().map(Value::Flag),
        SettingKind::Number(..) => text.parse().ok().map(Value::Number),
    }
}

fn precedes(name: &str, other: &str) -> bool {
    SETTINGS.iter().map(|setting| setting.name).find(|known| *known == name || *known == other)
        == Some(name)
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, known)| known)
}

fn with_hint(what: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("{what} (did you mean {near}?)"),
        None => what.to_owned(),
    }
}
