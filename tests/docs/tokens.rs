//! `docs/tokens.md`: its tables are what the lives of `tests/life` found, and each configuration is valid.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hsmgate::config::Config;

use crate::{check_page, read};

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end of the table -->\n";
const BEGIN_OF_MANNERS: &str = "<!-- table of manners -->\n";
const END_OF_MANNERS: &str = "<!-- end of the table of manners -->\n";

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

/// The lives behind manners: a line of manners in each file, and the rows that differ from SoftHSM2.
fn table_of_manners() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/life/results/manners");
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut texts: Vec<_> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.sort();
    let mut table = "| the token | differs from SoftHSM2 |\n|---|---|\n".to_owned();
    for text in &texts {
        let mut lines = text.lines();
        let manners = lines.next().unwrap();
        let cell = |line: &str| match line.split_once(" | ").unwrap() {
            (row, "") => format!("{row}: not tried"),
            (row, outcome) => format!("{row}: {outcome}"),
        };
        let differences: Vec<_> = lines.map(cell).collect();
        let differences =
            if differences.is_empty() { "in nothing".to_owned() } else { differences.join("; ") };
        writeln!(table, "| `{}` | {differences} |", manners.replace(", ", "`, `")).unwrap();
    }
    table
}

/// The page with this table between the two marks.
fn with_table(page: &str, begin: &str, table: &str, end: &str) -> String {
    let (before, rest) = page.split_once(begin).unwrap();
    let (_old, after) = rest.split_once(end).unwrap();
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_tables_of_tokens_are_what_the_lives_found() {
    let page = with_table(&read("docs/tokens.md"), BEGIN, &table(), END);
    let page = with_table(&page, BEGIN_OF_MANNERS, &table_of_manners(), END_OF_MANNERS);
    check_page("docs/tokens.md", &page);
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
    assert_eq!(blocks.len(), 12);
}
