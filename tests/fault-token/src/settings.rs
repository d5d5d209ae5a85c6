//! What the module is told before its first call: by a file next to it, or by variables.
//!
//! With the file, one process can have several copies of the module, each before a token of its own.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manners::Manner;
use crate::{CONTROL_VARIABLE, LOG_VARIABLE, MANNERS_VARIABLE, MODULE_VARIABLE};

/// The settings of one copy of the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The module that calls are forwarded to. Two copies in one process need two files with this
    /// module: a library is loaded once for each file.
    pub module: PathBuf,
    /// Variables that this module finds during C_Initialize, such as `SOFTHSM2_CONF`.
    pub environment: BTreeMap<String, PathBuf>,
    /// As [`CONTROL_VARIABLE`].
    pub control: Option<PathBuf>,
    /// As [`LOG_VARIABLE`].
    pub log: Option<PathBuf>,
    /// As [`MANNERS_VARIABLE`].
    pub manners: Vec<Manner>,
}

impl Settings {
    /// Puts a copy of the fault token, a copy of the inner module and these settings into a directory,
    /// and gives the path of the module to load.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn install(&self, directory: &Path) -> PathBuf {
        let (library, inner) =
            (directory.join("libfault_token.so"), directory.join("inner_module.so"));
        fs::copy(crate::library(), &library).expect("the module can be copied");
        fs::copy(&self.module, &inner).expect("the inner module can be copied");
        let settings = Self { module: inner, ..self.clone() };
        let text = serde_json::to_string(&settings).expect("settings are JSON");
        fs::write(file(&library), text).expect("the settings can be written");
        library
    }

    /// The settings of this copy.
    pub(crate) fn load() -> Self {
        match own_path().map(|library| fs::read_to_string(file(&library))) {
            Some(Ok(text)) => serde_json::from_str(&text).expect("the file holds settings"),
            _ => Self::of_environment(),
        }
    }

    fn of_environment() -> Self {
        let path = |name: &str| env::var_os(name).map(PathBuf::from);
        Self {
            module: path(MODULE_VARIABLE).expect("FAULT_TOKEN_MODULE is the path of a module"),
            environment: BTreeMap::new(),
            control: path(CONTROL_VARIABLE),
            log: path(LOG_VARIABLE),
            manners: Manner::list(&env::var(MANNERS_VARIABLE).unwrap_or_default()),
        }
    }
}

fn file(library: &Path) -> PathBuf {
    library.with_extension("json")
}

/// The file from which this copy of the module was loaded.
fn own_path() -> Option<PathBuf> {
    let address = own_path as fn() -> Option<PathBuf> as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let bound = |text| usize::from_str_radix(text, 16).ok();
        let is_own = (bound(start)?..bound(end)?).contains(&address);
        is_own.then(|| rest.find('/').and_then(|at| rest.get(at..)).map(PathBuf::from)).flatten()
    })
}
