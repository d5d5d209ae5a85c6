//! `hsmgate completions` and `hsmgate man`: what packages install beside the program.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use super::output;

/// Prints a script that completes the command line in a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
        Ok(output::bytes(&script)?)
    }
}

/// Writes the manual pages, one for each command.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory, which must exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(super) fn run(self, command: Command) -> anyhow::Result<()> {
        let directory = self.out.display();
        clap_mangen::generate_to(command, &self.out)
            .with_context(|| format!("cannot write manual pages to {directory}"))
    }
}
