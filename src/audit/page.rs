//! Holds `docs/reference/audit-record.md` against the program.

use std::collections::BTreeSet;

use serde_json::Value;

use super::parameters::{NEVER, SHOWN};
use super::record::tests::{region_account, request};
use super::record::{Outcome, UsedResources};
use super::verify::FaultKind;
use crate::error::ErrorCode;
use crate::model::KeyId;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/audit-record.md");
    std::fs::read_to_string(path).unwrap()
}

/// The first column of the table under a heading row.
fn column(page: &str, heading: &str) -> BTreeSet<String> {
    let start = page.find(heading).unwrap_or_else(|| panic!("no table {heading}"));
    let rows = page[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
    let name = |row: &str| row.split('`').nth(1).unwrap().to_owned();
    rows.map(name).collect()
}

#[test]
fn the_fields_of_a_record_are_those_of_the_page() {
    let page = page();
    let page = &page[page.find("## Fields of").unwrap()..];
    let used_resources = UsedResources { key: Some(KeyId::random()), ..UsedResources::default() };
    let mut fields = BTreeSet::new();
    for outcome in [Outcome::Done, Outcome::Failed(ErrorCode::KeyNotFound)] {
        let members =
            request("Encrypt").members(&region_account(), used_resources.clone(), outcome);
        let record: Value = serde_json::from_slice(&[b"{", &*members, b"}"].concat()).unwrap();
        fields.extend(record.as_object().unwrap().keys().cloned());
    }
    assert_eq!(column(page, "| field |"), fields);
}

#[test]
fn the_parameters_of_the_page_are_those_that_are_recorded() {
    let words = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let text = page().split_whitespace().collect::<Vec<_>>().join(" ");
    for names in [SHOWN, NEVER] {
        let list = words(names).join(", ");
        assert!(text.contains(&list), "the page lacks: {list}");
    }
}

#[test]
fn the_faults_of_the_page_are_those_that_are_found() {
    let faults = FaultKind::ALL.iter().map(|kind| serde_json::to_value(kind).unwrap());
    let faults = faults.map(|fault| fault.as_str().unwrap().to_owned()).collect();
    assert_eq!(column(&page(), "| fault |"), faults);
}
