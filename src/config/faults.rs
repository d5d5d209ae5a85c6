//! Faults of a configuration, all reported together.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ownership::InsecurePermissions;
use super::value::Origin;

/// One fault of a configuration. Never contains the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is.
    pub origin: Origin,
    /// The setting or section. Empty if the text is not valid TOML, and for an unknown variable.
    pub subject: String,
    /// The fault.
    pub what: String,
}

impl Fault {
    fn in_file(&self, file: &str) -> String {
        let (place, what) = (self.origin.in_file(file), &self.what);
        if self.subject.is_empty() {
            return format!("{place}: {what}");
        }
        format!("{place}: {}: {what}", self.subject)
    }
}

/// All faults of a configuration, sorted by line. Displayed as one line per fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults {
    file: String,
    faults: Vec<Fault>,
}

impl ConfigFaults {
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        Self { file: "hsmgate.toml".to_owned(), faults }
    }

    /// Adds the path of the file to the faults.
    #[must_use]
    pub fn of_file(self, path: &Path) -> Self {
        Self { file: path.display().to_string(), ..self }
    }

    /// The faults, sorted by line.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{}", fault.in_file(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: std::io::Error,
    },
    /// Other users can change the file.
    #[error(transparent)]
    InsecurePermissions(#[from] InsecurePermissions),
    /// The file has faults.
    #[error(transparent)]
    Faults(#[from] ConfigFaults),
}
