//! Parses policies on the command line: the name of a system policy, or a file with a document.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::exit::CliError;
use crate::model::policy::{AttachedPolicy, InvalidAttachment, SystemPolicy};

/// Reads a policy to attach. A document has the name of its file without the extension.
///
/// # Errors
/// When neither such a system policy nor such a file exists, or the document is not a policy or exceeds
/// the cost limit of a decision.
pub(super) fn read(name_or_file: &str) -> anyhow::Result<AttachedPolicy> {
    if SystemPolicy::find(name_or_file).is_some() {
        return Ok(AttachedPolicy::system(name_or_file)?);
    }
    let path = Path::new(name_or_file);
    let document = text(path)?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let error = |error: InvalidAttachment| CliError::usage(format!("{name_or_file}: {error}"));
    let attached = AttachedPolicy::custom(name, &document).map_err(error)?;
    check(&attached)?;
    Ok(attached)
}

/// Checks that a policy can be attached.
///
/// # Errors
/// When it exceeds the cost limit of a decision.
pub(super) fn check(attached: &AttachedPolicy) -> Result<(), CliError> {
    let checked = attached.policy().check_cost();
    checked.map_err(|fault| CliError::usage(format!("the policy {:?}: {fault}", attached.name())))
}

/// Reads a policy document from its file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| CliError::usage(error.to_string())).with_context(
        || format!("{} is neither a system policy nor a readable file", path.display()),
    )
}
