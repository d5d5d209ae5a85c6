//! The documentation says what the program does. Pages that are written from tables of the program
//! are updated by `UPDATE_DOCS=1 cargo test --test docs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue must fail")]

mod clients;
mod configuration;
mod errors;
mod metrics;
mod operations;
mod permissions;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Compares a page with what it must say; with `UPDATE_DOCS` set, writes it first.
#[track_caller]
fn check_page(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), expected).unwrap();
    }
    let is_current = read(path) == expected;
    assert!(is_current, "{path} is out of date: UPDATE_DOCS=1 cargo test --test docs");
}

/// The example is built, and put into a table, by the unit tests.
#[test]
fn the_guide_to_a_new_operation_shows_the_example_that_is_built() {
    let guide = read("docs/develop/adding-an-operation.md");
    let example = read("src/ops/example/count_key_versions.rs");
    assert!(!example.is_empty());
    assert!(guide.contains(&format!("```rust\n{example}```\n")), "the guide shows another one");
    let family = read("src/ops/example/mod.rs");
    let line = "    count_key_versions::CountKeyVersions,\n";
    assert!(family.contains(line) && guide.contains(&format!("+{line}```\n")));
}

#[test]
fn the_readme_shows_the_example_that_the_sdk_tests_run() {
    let (readme, example) = (read("README.md"), read("examples/first_encryption.py"));
    assert!(!example.is_empty());
    assert!(readme.contains(&format!("```python\n{example}```\n")), "README.md shows another one");
    let package = "alibabacloud-kms20160120==3.3.1";
    assert!(readme.contains(package));
    assert!(read("tests/sdk/requirements.txt").lines().any(|line| line == package));
}

#[test]
fn the_page_of_the_instance_protocol_shows_the_example_that_the_sdk_tests_run() {
    let (page, example) =
        (read("docs/instance-protocol.md"), read("examples/instance_encryption.py"));
    assert!(!example.is_empty());
    assert!(page.contains(&format!("```python\n{example}```\n")), "the page shows another one");
    let package = "alibabacloud-dkms-gcs==1.0.2";
    assert!(page.contains(package));
    assert!(read("tests/sdk/requirements-instance.txt").lines().any(|line| line == package));
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() < 150);
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_on_the_map() {
    let mut pages = vec![root().join("README.md"), root().join("softhsm/README.md")];
    pages_in(&root().join("docs"), &mut pages);
    let mut linked = Vec::new();
    for page in &pages {
        for target in links(&fs::read_to_string(page).unwrap()) {
            let target = page.parent().unwrap().join(target);
            assert!(target.exists(), "{} links to {}", page.display(), target.display());
            linked.push(target.canonicalize().unwrap());
        }
    }
    for page in pages {
        assert!(linked.contains(&page.canonicalize().unwrap()), "nothing links to {page:?}");
    }
}

fn pages_in(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages_in(&path, pages);
        } else if path.extension().is_some_and(|is| is == "md") {
            pages.push(path);
        }
    }
}

/// The relative targets of a page's links, without their fragments.
fn links(text: &str) -> Vec<&str> {
    text.match_indices("](")
        .filter_map(|(at, start)| text.get(at + start.len()..)?.split_once(')'))
        .filter_map(|(target, _rest)| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}
