//! A report as one page, without scripts and without other files.

use std::fmt::Display;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{CallerAccess, Document};

/// The style sheet, which the page contains.
const STYLE: &str = include_str!("../../../templates/report.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Document,
    style: &'static str,
    /// The page permits only this style.
    style_hash: String,
}

/// What the page may use: its style. Nothing may frame it, and it may send no form.
pub(super) fn content_security_policy() -> String {
    let style = style_hash();
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn style_hash() -> String {
    STANDARD.encode(digest(&SHA256, STYLE.as_bytes()))
}

/// Writes the page.
///
/// # Errors
/// Only a value that cannot be displayed.
pub(super) fn page(report: &Document) -> Result<String, askama::Error> {
    Page { report, style: STYLE, style_hash: style_hash() }.render()
}

#[expect(clippy::ref_option, reason = "the template passes fields by reference")]
fn or_dash(value: &Option<impl Display>) -> String {
    value.as_ref().map_or("–".to_owned(), ToString::to_string)
}

#[expect(clippy::ref_option, reason = "the template passes fields by reference")]
fn days(days: &Option<i64>) -> String {
    days.map_or("–".to_owned(), |days| format!("{days} days"))
}

fn joined(actions: &[&'static str]) -> String {
    if actions.is_empty() { "–".to_owned() } else { actions.join(", ") }
}

#[expect(clippy::ref_option, reason = "the template passes fields by reference")]
fn callers(access: &Option<Vec<CallerAccess>>) -> String {
    match access {
        Some(access) => format!("Callers: {}", access.len()),
        None => "no caller: its key policy cannot be read".to_owned(),
    }
}
