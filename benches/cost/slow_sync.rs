//! A disk on which each sync of the audit takes a millisecond, whatever the disk of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::servers::{Gateway, Start};

/// The preloaded library, and the syncs of its process.
pub(crate) struct SlowSync {
    library: PathBuf,
    /// The directory with slow files.
    directory: PathBuf,
    /// A file with a byte for each slow sync.
    count: PathBuf,
}

impl SlowSync {
    /// Compiles the library into `home`.
    pub(crate) fn compile(home: &Path) -> anyhow::Result<Self> {
        let directory = home.join("audit");
        fs::create_dir_all(&directory)?;
        let library = home.join("slow_sync.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost/slow_sync.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]);
        let output = compiler.output().context("cannot start cc")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { library, directory, count: home.join("count") })
    }

    /// Starts a gateway whose audit is in the directory.
    pub(crate) fn start_gateway(
        &self,
        state: &Path,
        program: Option<&Path>,
    ) -> anyhow::Result<Gateway> {
        let audit = self.directory.join("audit.jsonl");
        let audit = audit.to_str().context("the directory is no text")?;
        let environment = vec![
            ("LD_PRELOAD", self.library.as_path()),
            ("SLOW_SYNC_DIRECTORY", &self.directory),
            ("SLOW_SYNC_COUNT", &self.count),
        ];
        let options = vec!["--audit-file", audit];
        let gateway =
            Gateway::start(state, Start { program, options, environment, ..Start::default() })?;
        // The gateway has answered a request of its own, whose record is on disk.
        ensure!(self.count() > 0, "the syncs of the audit are not slow");
        Ok(gateway)
    }

    /// The number of slow syncs so far.
    pub(crate) fn count(&self) -> u64 {
        fs::metadata(&self.count).map_or(0, |file| file.len())
    }
}
