//! The alerts and the dashboard use the metrics that there are, and each alert has its runbook.

use std::collections::BTreeSet;

use hsmgate::app::Metrics;

use crate::read;

const RULES: &str = "packaging/prometheus/hsmgate.rules.yml";
const DASHBOARD: &str = "packaging/grafana/hsmgate.json";

/// Metrics without a panel and an alert, and why.
const NOT_SHOWN: [(&str, &str); 5] = [
    ("hsmgate_audit_aggregated_refusals_total", "the panels show the refusals themselves"),
    ("hsmgate_token_capabilities", "constant; doctor and token info show it"),
    ("process_start_time_seconds", "for expressions of operators"),
    ("process_threads", "constant after the start"),
    ("process_virtual_memory_bytes", "mostly address space that is not in use"),
];

/// The values of a field of a document with a field in each line.
fn values<'a>(document: &'a str, field: &str) -> Vec<&'a str> {
    let values = document.lines().filter_map(|line| line.split_once(field));
    values.map(|(_, value)| value.trim()).collect()
}

/// The names of metrics in a text; those of a histogram without what its series add.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("hsmgate_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let registry = Metrics::register().registry;
    let known: BTreeSet<_> =
        registry.descriptions().iter().map(|description| description.name).collect();
    for document in [RULES, DASHBOARD] {
        let text = read(document);
        let used = metrics_in(&text);
        assert!(used.len() > 15, "{document}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{document}: {unknown:?}");
    }
}

#[test]
fn a_panel_or_an_alert_shows_each_metric() {
    let registry = Metrics::register().registry;
    let known: BTreeSet<_> =
        registry.descriptions().iter().map(|description| description.name).collect();
    let (rules, dashboard) = (read(RULES), read(DASHBOARD));
    let shown: BTreeSet<_> = metrics_in(&rules).union(&metrics_in(&dashboard)).copied().collect();
    let hidden: BTreeSet<_> = known.difference(&shown).copied().collect();
    assert_eq!(hidden, NOT_SHOWN.map(|(name, _reason)| name).into(), "hidden, and NOT_SHOWN");
}

#[test]
fn each_alert_has_a_runbook_and_a_test() {
    let (rules, runbooks) = (read(RULES), read("docs/runbooks.md"));
    let tests = read("packaging/prometheus/hsmgate.rules.test.yml");
    let alerts = values(&rules, "- alert: ");
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(values(&runbooks, "## "), alerts, "the sections of docs/runbooks.md");
    let links: Vec<_> =
        alerts.iter().map(|alert| format!("docs/runbooks.md#{}", alert.to_lowercase())).collect();
    assert_eq!(values(&rules, "runbook: "), links);
    for (alert, link) in alerts.iter().zip(&links) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
        assert!(tests.contains(&format!("runbook: {link}\n")), "{alert} is not seen to fire");
    }
}

#[test]
fn the_runbooks_name_events_that_the_log_has() {
    let runbooks = read("docs/runbooks.md");
    let mut sources = String::new();
    for directory in
        ["src/audit", "src/jobs", "src/pipeline", "src/server", "src/store", "src/token"]
    {
        append_sources(directory, &mut sources);
    }
    let mut named = 0;
    for (_, rest) in runbooks.match_indices("log line").map(|(at, _)| runbooks.split_at(at)) {
        let sentence = rest.split(['\n', ';', ':']).next().unwrap_or_default();
        for event in sentence.split('`').skip(1).step_by(2).filter(|event| !event.ends_with('.')) {
            named += 1;
            assert!(sources.contains(&format!("\"{event}\"")), "{event}");
        }
    }
    assert!(named > 5, "{named}");
}

fn append_sources(directory: &str, sources: &mut String) {
    for entry in std::fs::read_dir(crate::root().join(directory)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_sources(path.to_str().unwrap(), sources);
        } else {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
