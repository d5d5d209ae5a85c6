//! `docs/clients.md` and `docs/secrets.md`, whose blocks are copied from the files that the tests use.

use std::fmt::Write as _;

use crate::{check_page, read};

/// A block of the page stands under a comment with the file that it is taken from, and with a part of
/// a line where it is not all of it.
#[test]
fn the_pages_of_clients_show_the_settings_that_the_tests_use() {
    for (page, fewest) in [("docs/clients.md", 10), ("docs/secrets.md", 3)] {
        let (fresh, blocks) = with_blocks_of_files(&read(page));
        assert!(blocks >= fewest, "{page}: {blocks} blocks");
        check_page(page, &fresh);
    }
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
