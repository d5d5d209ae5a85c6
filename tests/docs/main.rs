//! The documentation says what the program does. Pages that are written from tables of the program
//! are updated by `UPDATE_DOCS=1 cargo test --test docs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue must fail")]

mod clients;
mod configuration;
mod errors;
mod metrics;
mod monitoring;
mod operations;
mod permissions;
mod tokens;

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

/// The list of the examples.
const EXAMPLES: &str = "examples/README.md";

#[test]
fn every_example_is_listed_with_the_test_that_runs_it() {
    let (list, folder) = (read(EXAMPLES), root().join("examples"));
    let mut listed = Vec::new();
    for row in list.lines().filter(|line| line.starts_with("| [")) {
        listed.push(folder.join(links(row).first().unwrap().0));
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<_> = cell.split('`').filter(|name| name.contains('/')).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(root().join(test).is_file(), "{test} does not exist: {row}");
        }
    }
    assert!(listed.len() > 15, "{listed:?}");
    // The modules of all examples in Go.
    listed.extend(["README.md", "go/go.mod", "go/go.sum"].map(|name| folder.join(name)));
    let mut files = Vec::new();
    files_in(&folder, &mut files);
    for file in files {
        // Itself, or a file that shows its directory.
        let folders = file.ancestors().skip(1).take_while(|above| **above != folder);
        let is_listed = |path: &Path| listed.iter().any(|one| one == path);
        let is_shown = |above: &Path| listed.iter().any(|one| one.parent() == Some(above));
        let mut folders = folders.map(|above| is_listed(above) || is_shown(above));
        assert!(is_listed(&file) || folders.any(|is| is), "{EXAMPLES} lacks {}", file.display());
    }
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() < 150);
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_on_the_map() {
    let roots = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "softhsm/README.md",
        EXAMPLES,
    ];
    let mut pages: Vec<PathBuf> = roots.iter().map(|page| root().join(page)).collect();
    pages_in(&root().join("docs"), &mut pages);
    let mut linked = Vec::new();
    for page in &pages {
        for (target, heading) in links(&fs::read_to_string(page).unwrap()) {
            let from = page.display();
            let target = page.parent().unwrap().join(target);
            let target = if target.is_dir() { page.clone() } else { target };
            assert!(target.exists(), "{from} links to {}", target.display());
            let is_heading = heading.is_empty() || headings(&target).contains(&heading.to_owned());
            assert!(is_heading, "{from} links to {}#{heading}", target.display());
            if target != *page {
                linked.push(target.canonicalize().unwrap());
            }
        }
    }
    for page in pages {
        assert!(linked.contains(&page.canonicalize().unwrap()), "nothing links to {page:?}");
    }
}

/// A page names files of the project in full, from the root or from `src`.
#[test]
fn every_source_file_that_a_page_names_exists() {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    pages_in(&root().join("docs"), &mut pages);
    let mut named = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let is_rust = |name: &&str| Path::new(name).extension().is_some_and(|is| is == "rs");
        for name in text.split('`').skip(1).step_by(2).filter(is_rust) {
            let folders = ["", "src", "tests/it", "tests/fault", "tests/support"];
            let exists = folders.iter().any(|folder| root().join(folder).join(name).exists());
            assert!(exists || name == EXAMPLE_FILE, "{} names {name}", page.display());
            named += 1;
        }
    }
    assert!(named > 40, "{named} names");
}

/// The guide to a new operation shows this file, which the API does not have.
const EXAMPLE_FILE: &str = "src/ops/versions/count_key_versions.rs";

fn pages_in(folder: &Path, pages: &mut Vec<PathBuf>) {
    let mut files = Vec::new();
    files_in(folder, &mut files);
    pages.extend(files.into_iter().filter(|path| path.extension().is_some_and(|is| is == "md")));
}

fn files_in(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The relative targets of a page's links, each with the heading that it names or none.
fn links(text: &str) -> Vec<(&str, &str)> {
    text.match_indices("](")
        .filter_map(|(at, start)| text.get(at + start.len()..)?.split_once(')'))
        .map(|(target, _rest)| target.split_once('#').unwrap_or((target, "")))
        .filter(|(target, _heading)| !target.contains("://"))
        .collect()
}

/// The headings of a page as links name them.
fn headings(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let in_links = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
    };
    headings
        .map(|line| line.trim_matches(['#', ' ']).chars().filter_map(in_links).collect())
        .collect()
}
