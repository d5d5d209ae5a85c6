//! `docs/reference/metrics.md`, written from the metrics themselves.

use std::fmt::Write as _;

use hsmgate::app::Metrics;
use hsmgate::telemetry::Description;

use crate::check_page;

const HEAD: &str = "# Metrics

`GET /metrics` on the admin listener (`[admin]` in the [configuration](../configuration.md)) returns
these metrics in the text format of Prometheus, and in OpenMetrics for clients that ask for it. No label has a value that a
client chooses: no key id, no user, no address. A metric with labels appears after its first count.

This page is written from the metrics that `src/app/metrics.rs` registers, and checked against them; after a
change there, `UPDATE_DOCS=1 cargo test --test docs` updates it.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for Description { name, kind, labels, help } in Metrics::register().registry.descriptions() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {help}. |", labels.join(", ")).unwrap();
    }
    page
}

#[test]
fn the_page_in_the_repository_tells_every_metric() {
    check_page("docs/reference/metrics.md", &page());
}
