//! Checks the permissions of files: whether this process may use them, and who may change them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Check;
use crate::cli::settings::protected_paths;
use crate::config::Config;
use crate::config::ownership::check_permissions;

/// Files that the gateway trusts, but other users can change.
pub(super) fn exposed(config: &Config) -> Check {
    const NAME: &str = "exposed files";
    let faults: Vec<String> = protected_paths(config)
        .into_iter()
        .filter_map(|(path, role)| check_permissions(&path, role).err())
        .map(|exposed| exposed.to_string())
        .collect();
    if faults.is_empty() {
        return Check::ok(
            NAME,
            "no other user can change module, database, state directory and audit",
        );
    }
    let remedy = "Allow only root and the user of the gateway to write to it, and check whether it was \
                  changed. The gateway refuses it until then.";
    Check::failed(NAME, faults.join("; "), remedy)
}

/// How to give this process access to a file for reading and writing, if it may not use the file or
/// search a directory on its path.
pub(super) fn remedy(path: &Path) -> Option<String> {
    remedy_for(path, Access::READ_OK | Access::WRITE_OK)
}

/// As [`remedy`]; `other` if access is not the cause.
pub(super) fn remedy_or(path: Option<&Path>, other: &str) -> String {
    path.and_then(remedy).unwrap_or_else(|| other.to_owned())
}

/// As [`remedy`], for a file that is only read.
pub(super) fn remedy_to_read(path: &Path) -> Option<String> {
    remedy_for(path, Access::READ_OK)
}

fn remedy_for(path: &Path, wanted: Access) -> Option<String> {
    let refused = refused(path, wanted)?;
    let process = rustix::process::geteuid().as_raw();
    let shown = refused.display();
    let owner = refused.metadata().map_or_else(
        |_error| "whose owner cannot be read".to_owned(),
        |found: Metadata| {
            let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
            format!("which belongs to uid {uid}, gid {gid} (mode {mode:o})")
        },
    );
    Some(format!(
        "This command runs as uid {process} and may not use {shown}, {owner}. Run it as the user of \
         the gateway, or give the file to that user: chown USER {shown}."
    ))
}

/// The first directory of the path that may not be searched, or the path itself if it may not be used
/// with `wanted`.
fn refused(path: &Path, wanted: Access) -> Option<PathBuf> {
    let is_denied = |path: &Path, wanted| matches!(access(path, wanted), Err(Errno::ACCESS));
    let mut directories: Vec<&Path> = path.ancestors().skip(1).collect();
    directories.reverse();
    let closed = directories.into_iter().find(|directory| is_denied(directory, Access::EXEC_OK));
    let whole = is_denied(path, wanted).then_some(path);
    closed.or(whole).map(Path::to_owned)
}
