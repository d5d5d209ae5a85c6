//! The records of an audit file that a gateway may be writing.

use std::path::Path;

use serde_json::Value;

use super::gateway::whole_lines;
use super::process::eventually;

/// All records that are written in full.
pub(crate) fn records(file: &Path) -> Vec<Value> {
    let lines = whole_lines(file);
    lines.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
}

/// The events with this name, as soon as there are at least `count`.
#[track_caller]
pub(crate) fn events(file: &Path, name: &str, count: usize) -> impl Future<Output = Vec<Value>> {
    eventually(async move || {
        let mut found = records(file);
        found.retain(|record| record["record"] == "event" && record["eventName"] == name);
        if found.len() < count { Err(format!("{name}: {found:?}")) } else { Ok(found) }
    })
}
