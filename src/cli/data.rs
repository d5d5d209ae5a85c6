//! Input and output of `encrypt` and `decrypt`: data from a file or a pipe, and the context.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use super::connection::Connection;
use super::exit::CliError;
use super::output;

/// The arguments that both commands share.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// A pair of the encryption context; decryption requires the same pairs (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// The input; - is standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The output, standard output by default; only its owner may use a new file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the whole response as JSON, with the data in Base64
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl DataArgs {
    /// All bytes of the input.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or is longer than `most` bytes.
    pub(super) fn read(&self, most: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        read_input(&self.input, most)
    }

    /// The context as a parameter of the API; `None` if it is empty.
    ///
    /// # Errors
    /// When a name is repeated.
    pub(super) fn context_json(&self) -> anyhow::Result<Option<String>> {
        pairs_as_json(&self.context)
    }

    /// Writes the result to its file, or to standard output unless `--json` puts the response there.
    ///
    /// # Errors
    /// When it is not available or cannot be written.
    pub(super) fn respond(
        &self,
        response: &Value,
        result: impl FnOnce() -> anyhow::Result<Zeroizing<Vec<u8>>>,
    ) -> anyhow::Result<()> {
        if self.out.is_some() || !self.json {
            write_output(self.out.as_deref(), &result()?)?;
        }
        if self.json {
            output::json(response)?;
        }
        Ok(())
    }
}

/// The pairs of a context as a parameter of the API; `None` without one.
///
/// # Errors
/// When a name is repeated.
pub(super) fn pairs_as_json(context: &[(String, String)]) -> anyhow::Result<Option<String>> {
    let mut pairs = BTreeMap::new();
    for (name, value) in context {
        if pairs.insert(name, value).is_some() {
            let what = format!("the name {name:?} is repeated in the context");
            return Err(CliError::usage(what).into());
        }
    }
    Ok((!pairs.is_empty()).then(|| serde_json::to_string(&pairs)).transpose()?)
}

/// All bytes of a file, or of standard input for `-`.
///
/// # Errors
/// When it cannot be read, is empty, or is longer than `most` bytes.
pub(super) fn read_input(input: &Path, most: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let bytes = if input == Path::new("-") {
        read_up_to(most, io::stdin().lock())
    } else {
        File::open(input).and_then(|file| read_up_to(most, file))
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", input.display()))?;
    if bytes.is_empty() {
        return Err(CliError::usage("the input is empty").into());
    }
    if bytes.len() > most {
        return Err(CliError::usage(format!("the input is longer than {most} bytes")).into());
    }
    Ok(bytes)
}

/// Writes a result to a file, which only its owner may use if it is new, or to standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_output(out: Option<&Path>, result: &[u8]) -> anyhow::Result<()> {
    let Some(path) = out else {
        return Ok(output::bytes(result)?);
    };
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(result))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads at most one byte more than `most`, which shows that the input is too long.
fn read_up_to(most: usize, source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a pair has the form NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::exit::Exit;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        data: DataArgs,
    }

    fn data(input: &Path, context: &[&str]) -> DataArgs {
        let context = context.iter().flat_map(|pair| ["--context", pair]);
        let input = input.to_str().unwrap();
        Command::parse_from(["command", "--in", input].into_iter().chain(context)).data
    }

    #[test]
    fn a_context_is_a_map_in_which_no_name_stands_twice() {
        let json = data(Path::new("-"), &["b=2=2", "a="]).context_json().unwrap();
        assert_eq!(json.as_deref(), Some(r#"{"a":"","b":"2=2"}"#));
        assert_eq!(data(Path::new("-"), &[]).context_json().unwrap(), None);
        let error = data(Path::new("-"), &["a=1", "a=1"]).context_json().unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage);
    }

    #[test]
    fn an_input_that_is_empty_or_too_long_is_refused() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("in");
        for (length, fits) in [(0, false), (1, true), (10, true), (11, false), (99, false)] {
            fs::write(&path, vec![0; length]).unwrap();
            match data(&path, &[]).read(10) {
                Ok(bytes) => assert_eq!((bytes.len(), fits), (length, true)),
                Err(error) => assert_eq!((Exit::of(&error), fits), (Exit::Usage, false)),
            }
        }
    }
}
