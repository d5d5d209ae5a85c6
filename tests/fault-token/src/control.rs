//! The control file: the rules in force, as JSON, written by a test and read at every call.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::manners::Manner;
use crate::rule::{Fault, Rule};

/// Puts rules into force at once: the file is replaced as a whole.
///
/// # Panics
/// When it cannot be written.
pub fn write_rules(control: &Path, rules: &[Rule]) {
    let next = control.with_extension("next");
    let text = serde_json::to_string(rules).expect("rules are JSON");
    fs::write(&next, text).expect("the control file can be written");
    fs::rename(&next, control).expect("the control file can be replaced");
}

/// The rules as the module sees them.
pub(crate) struct Control {
    path: Option<PathBuf>,
    /// In force without a rule.
    own_manners: Vec<Manner>,
    /// With those of the rules.
    manners: Arc<[Manner]>,
    stamp: Option<(u64, i64, i64)>,
    rules: Vec<Rule>,
    /// Calls by the number of the rule that is about them.
    calls: HashMap<u64, u64>,
}

impl Control {
    pub(crate) fn new(path: Option<PathBuf>, own_manners: Vec<Manner>) -> Self {
        let manners = own_manners.clone().into();
        let (rules, calls) = (Vec::new(), HashMap::new());
        Self { path, own_manners, manners, stamp: None, rules, calls }
    }

    /// The manners in force when the file was last read.
    pub(crate) fn manners(&self) -> Arc<[Manner]> {
        Arc::clone(&self.manners)
    }

    /// What goes wrong at this call, with the number of the rule.
    pub(crate) fn faults(&mut self, function: &str) -> Vec<(u64, Fault)> {
        self.refresh();
        let mut due = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.applies_to(function)) {
            if matches!(rule.fault, Fault::Manner(_)) {
                continue;
            }
            let calls = self.calls.entry(rule.number).or_default();
            *calls += 1;
            if rule.when.matches(*calls) {
                due.push((rule.number, rule.fault.clone()));
            }
        }
        due
    }

    /// Whether a rule is in force.
    pub(crate) fn has(&mut self, number: u64) -> bool {
        self.refresh();
        self.rules.iter().any(|rule| rule.number == number)
    }

    pub(crate) fn refresh(&mut self) {
        let Some(path) = &self.path else { return };
        let stamp = fs::metadata(path).ok().as_ref().map(stamp);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        self.rules = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).expect("the control file holds rules"),
            Err(_absent) => Vec::new(),
        };
        let of_rules = self.rules.iter().filter_map(|rule| match rule.fault {
            Fault::Manner(manner) => Some(manner),
            _ => None,
        });
        self.manners = self.own_manners.iter().copied().chain(of_rules).collect();
    }
}

fn stamp(file: &Metadata) -> (u64, i64, i64) {
    (file.ino(), file.mtime(), file.mtime_nsec())
}
