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

/// Writes the page.
///
/// # Errors
/// Only a value that cannot be displayed.
pub(super) fn page(report: &Document) -> Result<String, askama::Error> {
    let style_hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    Page { report, style: STYLE, style_hash }.render()
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
