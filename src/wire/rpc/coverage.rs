//! The page of the documentation that says what is served, written from the table itself.

use std::fmt::Write as _;

use super::table::TABLE;
use crate::ops::unsupported;
use crate::wire::instance::table as instance;

const HEAD: &str = "\
# Operations

Written from the tables in the program (`src/wire/rpc/table.rs`, `src/wire/instance/table.rs`); a
test holds them together.

# The public API (2016-01-20)

Any other action is answered with 404 `InvalidAction.NotFound`.

## Served

| action | first permission |
|---|---|
";

const UNSUPPORTED_HEAD: &str = "
## Answered with 400 `UnsupportedOperation`

The API knows these; this gateway does not serve them.

";

const INSTANCE_HEAD: &str = "
# The KMS Instance protocol (dkms-gcs-0.2)

How programs come in by it is told in [instance-protocol.md](instance-protocol.md). Any other
operation is answered with 400 `InvalidApiName`.

| operation | permission |
|---|---|
";

/// The page in Markdown.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    let mut served: Vec<_> = TABLE.iter().collect();
    served.sort_by_key(|entry| entry.name);
    for entry in served {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| {} | `{}` |", entry.name, entry.permission);
    }
    page.push_str(UNSUPPORTED_HEAD);
    for action in unsupported::PUBLIC {
        let _ = writeln!(page, "- {}", action.name);
    }
    page.push_str(INSTANCE_HEAD);
    for entry in instance::TABLE {
        let _ = writeln!(page, "| {} | `{}` |", entry.name, entry.permission);
    }
    for action in unsupported::INSTANCE {
        let name = action.name;
        let _ = writeln!(page, "| {name} | none: answered with 400 `UnsupportedOperation` |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set `UPDATE_DOCS=1` to write the page instead.
    #[test]
    fn the_operations_page_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/operations.md is out of date: run with UPDATE_DOCS=1");
    }
}
