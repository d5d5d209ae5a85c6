//! Finds the PKCS#11 module of SoftHSM2.

use std::path::{Path, PathBuf};

use super::super::exit::CliError;

/// The directories of distributions, and of a build from source.
const DIRECTORIES: &[&str] = &[
    "/usr/lib/softhsm",
    "/usr/lib64/softhsm",
    "/usr/lib64/pkcs11",
    "/usr/local/lib/softhsm",
    "/opt/homebrew/lib/softhsm",
];
/// The parent of Debian's directories by processor, such as `x86_64-linux-gnu`.
const MULTIARCH: &str = "/usr/lib";
const FILE_NAME: &str = "libsofthsm2.so";

/// The given module, or the first one found.
///
/// # Errors
/// When it does not exist. The error tells how to install it.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(path) = given {
        let what = || CliError::usage(format!("no PKCS#11 module found at {}", path.display()));
        return path.canonicalize().map_err(|_source| what());
    }
    candidates().find(|path| path.is_file()).ok_or_else(|| {
        CliError::usage(
            "SoftHSM2 is not installed (no libsofthsm2.so in the usual places): \
             apt-get install softhsm2, or give --module PATH",
        )
    })
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let multiarch = std::fs::read_dir(MULTIARCH).into_iter().flatten().flatten();
    let multiarch = multiarch.map(|entry| entry.path().join("softhsm"));
    DIRECTORIES.iter().map(PathBuf::from).chain(multiarch).map(|path| path.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = find(Some(Path::new("/nonexistent/module.so"))).unwrap_err();
        assert_eq!(error.to_string(), "no PKCS#11 module found at /nonexistent/module.so");
    }

    #[test]
    fn a_given_module_is_taken_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = find(Some(file.path())).unwrap();
        assert_eq!(found, file.path().canonicalize().unwrap());
    }
}
