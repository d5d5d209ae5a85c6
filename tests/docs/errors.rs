//! `docs/errors.md`, written from the table of error codes.

use std::fmt::Write as _;

use hsmgate::error::ErrorCode;

use crate::check_page;

const HEAD: &str = "\
# Error codes

Generated from the table in the program (`src/error.rs`); a test compares the two.

An error is an object with `RequestId`, `HostId`, `Code`, `Message` and `Recommend`; the header
`x-acs-request-id` also contains the request id. A message may contain more than the text below, such
as the name of a parameter. `Rejected.Throttling` and `ServiceUnavailableTemporary` are temporary and
have the header `Retry-After`: wait and retry. Do not retry other errors.

| HTTP | code | message |
|---|---|---|
";

#[test]
fn the_page_of_errors_says_what_the_table_says() {
    let mut page = HEAD.to_owned();
    for code in ErrorCode::ALL {
        let (status, name, message) = (code.status(), code.as_str(), code.message());
        writeln!(page, "| {status} | `{name}` | {message} |").unwrap();
    }
    check_page("docs/errors.md", &page);
}
