//! `docs/tokens.md`: its table is what the lives of `tests/life` found, and each configuration is valid.

use std::fmt::Write as _;

use hsmgate::config::Config;

use crate::{check_page, read};

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end of the table -->\n";

/// The columns: the name of the file of results, and the heading.
const PRODUCTS: [(&str, &str); 5] = [
    ("softhsm2", "SoftHSM2"),
    ("kryoptic", "kryoptic"),
    ("nss", "NSS"),
    ("opencryptoki", "openCryptoki"),
    ("p11-kit", "SoftHSM2 behind p11-kit"),
];

fn table() -> String {
    let results = PRODUCTS.map(|(name, _heading)| {
        let text = read(&format!("tests/life/results/{name}.txt"));
        assert!(!text.is_empty(), "no results of {name}");
        let rows = text.lines().map(|line| line.split_once(" | ").unwrap());
        rows.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect::<Vec<_>>()
    });
    let headings = PRODUCTS.map(|(_name, heading)| heading).join(" | ");
    let mut table = format!("| | {headings} |\n|---{}|\n", "|---".repeat(PRODUCTS.len()));
    let [first, ..] = &results;
    for (row, _outcome) in first {
        let cells = results.each_ref().map(|column| {
            let cell = column.iter().find(|(name, _outcome)| name == row);
            let (_name, outcome) = cell.unwrap_or_else(|| panic!("no row {row}"));
            outcome.replace('|', "\\|")
        });
        writeln!(table, "| {row} | {} |", cells.join(" | ")).unwrap();
    }
    table
}

#[test]
fn the_table_of_tokens_is_what_the_lives_found() {
    let page = read("docs/tokens.md");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_old, after) = rest.split_once(END).unwrap();
    check_page("docs/tokens.md", &format!("{before}{BEGIN}\n{}\n{END}{after}", table()));
}

#[test]
fn every_configuration_of_a_token_is_valid() {
    let page = read("docs/tokens.md");
    let blocks: Vec<_> = page.split("```toml\n").skip(1).collect();
    for block in &blocks {
        let (text, _rest) = block.split_once("```").unwrap();
        if let Err(faults) = Config::parse(text) {
            panic!("{text}\n{faults:?}");
        }
    }
    assert_eq!(blocks.len(), 11);
}
