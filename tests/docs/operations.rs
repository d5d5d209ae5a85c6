//! `docs/operations.md`, written from the tables of operations.

use std::fmt::Write as _;

use hsmgate::api::instance::table as instance;
use hsmgate::api::rpc::table::TABLE;
use hsmgate::ops::unsupported;

use crate::check_page;

const HEAD: &str = "\
# Operations

Written from the tables in the program (`src/api/rpc/table.rs`, `src/api/instance/table.rs`); a
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
fn page() -> String {
    let mut page = String::from(HEAD);
    let mut served: Vec<_> = TABLE.iter().collect();
    served.sort_by_key(|entry| entry.name);
    for entry in served {
        writeln!(page, "| {} | `{}` |", entry.name, entry.permission).unwrap();
    }
    page.push_str(UNSUPPORTED_HEAD);
    for action in unsupported::PUBLIC {
        writeln!(page, "- {}", action.name).unwrap();
    }
    page.push_str(INSTANCE_HEAD);
    for entry in instance::TABLE.iter() {
        writeln!(page, "| {} | `{}` |", entry.name, entry.permission).unwrap();
    }
    for action in unsupported::INSTANCE {
        let name = action.name;
        writeln!(page, "| {name} | none: answered with 400 `UnsupportedOperation` |").unwrap();
    }
    page
}

#[test]
fn the_operations_page_says_what_the_table_says() {
    check_page("docs/operations.md", &page());
}
