//! `hsmgate reencrypt`: encrypts a list of ciphertexts with the primary version of a key.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::time::sleep_until;

use super::client::{CallError, Client};
use super::connection::Connection;
use super::data::pairs_as_json;
use super::exit::CliError;
use super::output::{self, Progress};
use super::response;
use crate::error::ErrorCode;
use crate::model::{CiphertextParam, FromParam as _, KeyVersionId, clock};

/// The most bytes of a line: a ciphertext of 6 KiB and its context.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How often a call is repeated that was above a limit of the gateway.
const MAX_REPEATS: u32 = 60;
const BETWEEN_REPEATS: Duration = Duration::from_secs(1);

/// Reads one ciphertext a line, as Encrypt returned it, and writes one a line to the output: encrypted by the
/// primary version of the key. A line may have a tab and the encryption context as a JSON object after the
/// ciphertext. A ciphertext that is there already, or that fails, is written unchanged. Run again with the same
/// output after a stop, it continues behind the last whole line.
#[derive(Debug, Args)]
pub(super) struct Reencrypt {
    /// The key: its id or an alias (alias/...)
    #[arg(long)]
    key: String,
    /// The list of ciphertexts
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The new list; an existing one is continued
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A pair of the encryption context of all lines that have none (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::data::pair)]
    context: Vec<(String, String)>,
    /// The maximum number of ciphertexts in a second
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What was done with the lines.
#[derive(Debug, Default)]
struct Counts {
    /// Lines of an earlier run.
    before: usize,
    reencrypted: usize,
    /// By the primary version already.
    current: usize,
    /// Numbers of lines, with the reason.
    failed: Vec<(usize, String)>,
}

/// The result of one line.
enum LineResult {
    Reencrypted(String),
    Current,
    Failed(String),
}

impl Reencrypt {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let context = pairs_as_json(&self.context)?;
        let remote = self.connection.open()?;
        let described = remote.call("DescribeKey", &[("KeyId", &self.key)])?;
        let key = response::text(&described, &["KeyMetadata", "KeyId"])?;
        let primary = response::text(&described, &["KeyMetadata", "PrimaryKeyVersion"])?;
        let primary: KeyVersionId = primary.parse().map_err(|_none| {
            CliError::usage("the key has no primary version: it must be symmetric")
        })?;
        let work = Work { client: remote.client(), key, primary, context: context.as_deref() };
        let counts = remote.wait_for(self.reencrypt(&work))?;
        self.show(&counts)
    }

    async fn reencrypt(&self, work: &Work<'_>) -> anyhow::Result<Counts> {
        let lines = read_lines(&self.input)?;
        let (mut out, before) = continued(&self.out)?;
        if before > lines.len() {
            let what =
                format!("{} has more lines than {}", self.out.display(), self.input.display());
            return Err(CliError::usage(what).into());
        }
        let mut counts = Counts { before, ..Counts::default() };
        let mut progress = Progress::of("ciphertexts");
        let pause = Duration::from_secs(1) / u32::from(self.rate);
        for (number, line) in lines.iter().enumerate().skip(before) {
            let next = clock::timer() + pause;
            let outcome = work.line(line).await?;
            let written = match &outcome {
                LineResult::Reencrypted(line) => line,
                LineResult::Current | LineResult::Failed(_) => line,
            };
            out.write_all(format!("{written}\n").as_bytes()).context("cannot write the output")?;
            match outcome {
                LineResult::Reencrypted(_) => counts.reencrypted += 1,
                LineResult::Current => counts.current += 1,
                LineResult::Failed(why) => counts.failed.push((number + 1, why)),
            }
            progress.show(number + 1, lines.len() - number - 1);
            sleep_until(next).await;
        }
        progress.end();
        out.sync_all().context("cannot write the output")?;
        Ok(counts)
    }

    fn show(&self, counts: &Counts) -> anyhow::Result<()> {
        let Counts { before, reencrypted, current, failed } = counts;
        if self.json {
            output::json(&json!({
                "reencrypted": reencrypted,
                "current": current,
                "before": before,
                "failed": failed.iter().map(|(line, why)| json!({"line": line, "reason": why}))
                    .collect::<Vec<_>>(),
            }))?;
        } else {
            for (line, why) in failed {
                output::line(&format!("line {line} failed: {why}"))?;
            }
            let whole =
                if *before > 0 { format!(", {before} in an earlier run") } else { String::new() };
            output::line(&format!(
                "{reencrypted} ciphertexts were encrypted again, {current} were current{whole}, {} failed",
                failed.len()
            ))?;
        }
        let failed = failed.len();
        anyhow::ensure!(failed == 0, "{failed} ciphertexts failed and are unchanged in the output");
        Ok(())
    }
}

/// What each line needs.
struct Work<'a> {
    client: &'a Client,
    key: &'a str,
    primary: KeyVersionId,
    context: Option<&'a str>,
}

impl Work<'_> {
    /// Encrypts the ciphertext of a line again.
    ///
    /// # Errors
    /// When the gateway cannot be reached, so that the other lines would fail too.
    async fn line(&self, line: &str) -> Result<LineResult, CallError> {
        let (blob, context) = match line.split_once('\t') {
            Some((blob, context)) => (blob, Some(context)),
            None => (line, None),
        };
        match CiphertextParam::from_param(blob) {
            Ok(CiphertextParam::Local(blob)) if blob.version == self.primary => {
                return Ok(LineResult::Current);
            }
            Ok(_) => {}
            Err(fault) => return Ok(LineResult::Failed(fault.to_string())),
        }
        let mut params = vec![("CiphertextBlob", blob), ("DestinationKeyId", self.key)];
        for name in ["SourceEncryptionContext", "DestinationEncryptionContext"] {
            params.extend(context.or(self.context).map(|context| (name, context)));
        }
        let mut repeats = 0;
        loop {
            match self.client.call("ReEncrypt", &params).await {
                Ok(answer) => {
                    let Ok(blob) = response::text(&answer, &["CiphertextBlob"]) else {
                        return Err(CallError::Malformed);
                    };
                    let context = context.map(|context| format!("\t{context}")).unwrap_or_default();
                    return Ok(LineResult::Reencrypted(format!("{blob}{context}")));
                }
                Err(CallError::Refused { code, .. })
                    if code == ErrorCode::Throttling.as_str() && repeats < MAX_REPEATS =>
                {
                    repeats += 1;
                    tokio::time::sleep(BETWEEN_REPEATS).await;
                }
                Err(CallError::Refused { status, code, message, .. }) if status < 500 => {
                    return Ok(LineResult::Failed(format!("{code}: {message}")));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn read_lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let lines: Vec<String> =
        BufReader::new(file).lines().collect::<Result<_, _>>().with_context(cannot)?;
    let is_long = |line: &String| line.len() > MAX_LINE_BYTES;
    if let Some(number) = lines.iter().position(is_long) {
        return Err(CliError::usage(format!("line {} is longer than 64 KiB", number + 1)).into());
    }
    Ok(lines)
}

/// Opens the output behind its last whole line, and counts its lines.
fn continued(path: &Path) -> anyhow::Result<(File, usize)> {
    let cannot = || format!("cannot write {}", path.display());
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path).with_context(cannot)?;
    let (mut lines, mut bytes) = (0, 0);
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).with_context(cannot)?;
        if !line.ends_with(b"\n") {
            break;
        }
        lines += 1;
        bytes += u64::try_from(read)?;
    }
    file.set_len(bytes).with_context(cannot)?;
    file.seek(SeekFrom::End(0)).with_context(cannot)?;
    Ok((file, lines))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_output_is_continued_behind_its_last_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let (mut file, lines) = continued(&path).unwrap();
        assert_eq!(lines, 0);
        file.write_all(b"one\ntwo\nhal").unwrap();
        let (mut file, lines) = continued(&path).unwrap();
        assert_eq!(lines, 2);
        file.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }
}
