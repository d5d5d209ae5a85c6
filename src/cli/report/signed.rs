//! A report with its signature in one file.

use std::borrow::Cow;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::document::Document;
use super::{cbom, html};
use crate::audit::DocumentSignature;
use crate::store::Store;
use crate::token::Token;

/// Around the signature after a page.
const COMMENT_START: &str = "<!-- hsmgate signature ";
const COMMENT_END: &str = " -->\n";

/// Around the signature at the end of a bill of materials. No text in JSON contains them.
const PROPERTY_START: &str = r#","properties":[{"name":"hsmgate:signature","value":"#;
const PROPERTY_END: &str = "}]}\n";

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportFormat {
    Json,
    Html,
    CycloneDx,
}

impl ReportFormat {
    /// The name in the signed text.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::CycloneDx => "cyclonedx",
        }
    }
}

/// A report in JSON. The signature is over the bytes of the member `report` as they are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedJson<'a> {
    #[serde(borrow)]
    report: &'a RawValue,
    signature: DocumentSignature,
}

/// Writes and signs a report.
pub(super) async fn write(
    kind: ReportFormat,
    document: &Document,
    store: &Store,
    token: &Token,
) -> anyhow::Result<String> {
    let sign = async |text: &str| {
        DocumentSignature::sign(store, token, kind.as_str(), text.as_bytes()).await
    };
    match kind {
        ReportFormat::Json => {
            let report = serde_json::value::to_raw_value(document)?;
            let signature = sign(report.get()).await?;
            let signed = SignedJson { report: &report, signature };
            Ok(format!("{}\n", serde_json::to_string(&signed)?))
        }
        ReportFormat::Html => {
            let page = html::page(document)?;
            let signature = sign(&page).await?;
            // No member of it contains `--`, which would end the comment.
            let signature = serde_json::to_string(&signature)?;
            Ok(format!("{page}{COMMENT_START}{signature}{COMMENT_END}"))
        }
        ReportFormat::CycloneDx => {
            let bill = serde_json::to_string(&cbom::bill(document))?;
            let signature = serde_json::to_string(&sign(&bill).await?)?;
            let value = serde_json::to_string(&signature)?;
            let open = bill.strip_suffix('}').unwrap_or(&bill);
            Ok(format!("{open}{PROPERTY_START}{value}{PROPERTY_END}"))
        }
    }
}

/// A report that was read, whose signature is not checked yet.
pub(super) struct ReadReport<'a> {
    pub(super) document: Cow<'a, str>,
    pub(super) signature: DocumentSignature,
}

/// Separates a report from its signature.
///
/// # Errors
/// When it is not a report.
pub(super) fn read(text: &str) -> anyhow::Result<ReadReport<'_>> {
    const OTHER: &str = "this is not a signed report";
    let between = |start: &str, end: &str| text.strip_suffix(end)?.rsplit_once(start);
    let (kind, document, signature) =
        if let Some((page, signature)) = between(COMMENT_START, COMMENT_END) {
            let signature = serde_json::from_str(signature).context(OTHER)?;
            (ReportFormat::Html, page.into(), signature)
        } else if let Some((open, value)) = between(PROPERTY_START, PROPERTY_END) {
            let signature: String = serde_json::from_str(value).context(OTHER)?;
            let signature = serde_json::from_str(&signature).context(OTHER)?;
            (ReportFormat::CycloneDx, format!("{open}}}").into(), signature)
        } else {
            let SignedJson { report, signature } = serde_json::from_str(text).context(OTHER)?;
            (ReportFormat::Json, report.get().into(), signature)
        };
    let signature: DocumentSignature = signature;
    anyhow::ensure!(signature.kind == kind.as_str(), OTHER);
    Ok(ReadReport { document, signature })
}
