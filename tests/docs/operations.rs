//! `docs/operations.md`, written from the tables of operations.

use std::fmt::Write as _;

use hsmgate::api::instance::table as instance;
use hsmgate::api::rpc::table::TABLE;
use hsmgate::api::rpc::token_table::TOKEN_TABLE;
use hsmgate::model::Api;
use hsmgate::ops::unsupported;

use crate::check_page;

const HEAD: &str = "\
# Operations

Generated from the tables in the program (`src/api/rpc/table.rs`, `src/api/instance/table.rs`); a
test compares them.

# The public API (2016-01-20)

Any other action returns 404 `InvalidAction.NotFound`.

## Supported

| action | first permission |
|---|---|
";

const UNSUPPORTED_HEAD: &str = "
## Not supported

These actions of the API return 400 `UnsupportedOperation`.

";

const STS_HEAD: &str = "
# The STS API (2015-04-01)

On the same port. [Access control](access-control.md#roles-through-the-api) describes who may assume a role.

| action | permission |
|---|---|
";

const INSTANCE_HEAD: &str = "
# The KMS Instance protocol (dkms-gcs-0.2)

[The KMS Instance protocol](instance-protocol.md) describes it. Any other operation returns 400
`InvalidApiName`.

| operation | permission |
|---|---|
";

/// The page in Markdown.
fn page() -> String {
    let mut page = String::from(HEAD);
    let of_api = |api| TABLE.iter().filter(move |entry| entry.api == api);
    let mut served: Vec<_> = of_api(Api::Kms).collect();
    served.sort_by_key(|entry| entry.name);
    for entry in served {
        writeln!(page, "| {} | `{}` |", entry.name, entry.permission).unwrap();
    }
    page.push_str(UNSUPPORTED_HEAD);
    for action in unsupported::PUBLIC {
        writeln!(page, "- {}", action.name).unwrap();
    }
    page.push_str(STS_HEAD);
    for entry in of_api(Api::Sts) {
        writeln!(page, "| {} | `{}` |", entry.name, entry.permission).unwrap();
    }
    for action in TOKEN_TABLE {
        writeln!(page, "| {} | none: a token proves the caller |", action.record.name).unwrap();
    }
    page.push_str(INSTANCE_HEAD);
    for entry in instance::TABLE.iter() {
        writeln!(page, "| {} | `{}` |", entry.name, entry.permission).unwrap();
    }
    for action in unsupported::INSTANCE {
        let name = action.name;
        writeln!(page, "| {name} | none: returns 400 `UnsupportedOperation` |").unwrap();
    }
    page
}

#[test]
fn the_operations_page_says_what_the_table_says() {
    check_page("docs/operations.md", &page());
}
