//! The documentation says what the program does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on shall fail")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hsmgate::error::ErrorCode;

const ERRORS_HEAD: &str = "\
# Error codes

Written from the table in the program (`src/error.rs`); a test holds the two together.

An error is an object with `RequestId`, `HostId`, `Code`, `Message` and `Recommend`; the header
`x-acs-request-id` holds the request id too. A message may say more than the one given here, such as
the name of a parameter. Wait and try again on `Rejected.Throttling` and
`ServiceUnavailableTemporary`, which come with `Retry-After`; nothing else gets better by itself.

| HTTP | code | message |
|---|---|---|
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Set `UPDATE_DOCS=1` to write the page instead.
#[test]
fn the_page_of_errors_says_what_the_table_says() {
    let mut page = ERRORS_HEAD.to_owned();
    for code in ErrorCode::ALL {
        let (status, name, message) = (code.status(), code.as_str(), code.message());
        writeln!(page, "| {status} | `{name}` | {message} |").unwrap();
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join("docs/errors.md"), &page).unwrap();
    }
    assert!(
        read("docs/errors.md") == page,
        "docs/errors.md is out of date: run with UPDATE_DOCS=1"
    );
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

/// A block of the page stands under a comment with the file that it is taken from, and with a part of
/// a line where it is not all of it. Set `UPDATE_DOCS=1` to write the blocks anew.
#[test]
fn the_page_of_clients_shows_the_settings_that_the_tests_use() {
    let page = read("docs/clients.md");
    let (fresh, blocks) = with_blocks_of_files(&page);
    assert!(blocks > 10, "{blocks} blocks");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join("docs/clients.md"), &fresh).unwrap();
    }
    assert!(read("docs/clients.md") == fresh, "out of date: run with UPDATE_DOCS=1");
}

/// The page with each block as its file has it now, and how many there are.
fn with_blocks_of_files(page: &str) -> (String, usize) {
    let (mut fresh, mut blocks) = (String::new(), 0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        writeln!(fresh, "{line}").unwrap();
        let Some(source) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"))
        else {
            continue;
        };
        let fence = lines.next().unwrap();
        assert!(fence.starts_with("```"), "no block under {source}");
        assert!(lines.any(|line| line == "```"), "no end of the block under {source}");
        let (file, part) = source.split_once(": ").unwrap_or((source, ""));
        let text = read(file);
        assert!(!text.is_empty(), "no file {file}");
        writeln!(fresh, "{fence}\n{}\n```", part_of(&text, part)).unwrap();
        blocks += 1;
    }
    (fresh, blocks)
}

/// From the line that holds `start` to the next one that is indented like it, without what indents it.
fn part_of(text: &str, start: &str) -> String {
    if start.is_empty() {
        return text.trim_end().to_owned();
    }
    let first = text.lines().position(|line| line.contains(start));
    let mut lines = text.lines().skip(first.unwrap_or_else(|| panic!("no line with {start}")));
    let head = lines.next().unwrap();
    let indent = head.len() - head.trim_start().len();
    let mut part = vec![head];
    for line in lines {
        part.push(line);
        if !line.trim().is_empty() && line.len() - line.trim_start().len() == indent {
            break;
        }
    }
    let part: Vec<_> = part.iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
    part.join("\n")
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
