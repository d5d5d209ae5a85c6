//! `docs/errors.md`, written from the table of error codes.

use std::fmt::Write as _;

use hsmgate::error::ErrorCode;

use crate::check_page;

const HEAD: &str = "\
# Error codes

Written from the table in the program (`src/error.rs`); a test holds the two together.

An error is an object with `RequestId`, `HostId`, `Code`, `Message` and `Recommend`; the header
`x-acs-request-id` holds the request id too. A message may say more than the one given here, such as
the name of a parameter. Wait and try again on `Rejected.Throttling` and
`ServiceUnavailableTemporary`, which come with `Retry-After`; nothing else gets better by itself.

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
