//! The packages, built once for all tests from the program of this build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::output_of;

/// The packages of this build.
pub(crate) struct Built {
    directory: PathBuf,
}

impl Built {
    pub(crate) fn get() -> &'static Self {
        static BUILT: OnceLock<Built> = OnceLock::new();
        BUILT.get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
            output_of(
                Command::new("packaging/build.sh")
                    .args(["--program", env!("CARGO_BIN_EXE_hsmgate"), "deb", "tarball", "wheel"])
                    .env("HSMGATE_PACKAGES", &directory),
            );
            Self { directory }
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The package whose name ends so.
    pub(crate) fn with_suffix(&self, suffix: &str) -> PathBuf {
        let sums = std::fs::read_to_string(self.directory.join("SHA256SUMS")).unwrap();
        let names = sums.lines().filter_map(|line| line.split_once("  ").map(|(_, name)| name));
        let mut found = names.filter(|name| name.ends_with(suffix));
        let name = found.next().unwrap_or_else(|| panic!("no {suffix} in {sums}"));
        assert_eq!(found.next(), None, "{sums}");
        self.directory.join(name)
    }
}
