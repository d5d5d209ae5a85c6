//! The packages that `make packages` builds, installed as their users do: with the commands of README.md
//! in a chroot whose files are those of this machine and whose changes are thrown away.
//!
//! A chroot needs root, namespaces and overlayfs; where they are not permitted, a line says so and the test
//! passes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on shall fail, and says what it skips"
)]

mod built;
mod chroot;
mod container;
mod debian;
mod helm;
mod prometheus;
mod python;
mod tarball;

use std::process::Command;

/// Runs a program, and gives its standard output.
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// The block of code that follows a line of a document.
fn code_after(document: &str, line: &str) -> String {
    let text = std::fs::read_to_string(document).unwrap();
    let (_, rest) = text.split_once(line).expect(line);
    let (_, rest) = rest.split_once("```").expect("a block of code");
    let (block, _) = rest.split_once("\n```").expect("the end of the block");
    block.split_once('\n').expect("a line").1.to_owned()
}
