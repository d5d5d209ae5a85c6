//! A question before a dangerous command.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::exit::CliError;
use super::output;

/// Asks the operator on the terminal to type `name`, after the consequences were shown.
///
/// # Errors
/// [`CliError::Usage`] for another answer, and without a terminal: then the command needs `--yes`.
pub(super) fn ask(consequences: &[String], name: &str) -> anyhow::Result<()> {
    for line in consequences {
        output::print_note(line);
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(
            "this command asks on a terminal: add --yes to run it without one",
        )
        .into());
    }
    output::print_note(&format!("Type {name} to go on:"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == name {
        Ok(())
    } else {
        Err(CliError::usage("not confirmed: nothing was changed").into())
    }
}
