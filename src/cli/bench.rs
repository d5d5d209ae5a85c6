//! `hsmgate bench`: measures a gateway under a fixed rate of calls.

use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};

use super::connection::Connection;
use super::load::{self, Plan, Report, Times};
use super::{output, response};
use crate::model::bytes::MAX_PLAINTEXT_BYTES;

/// Maximum delay of a request after its planned time.
const MAX_START_DELAY: Duration = Duration::from_secs(1);

/// Sends signed requests at a fixed rate, and reports the latencies from their planned times.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The key: its id, an alias (alias/...) or an ARN
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The operation to call
    #[arg(long, value_enum, default_value_t = Subject::Encrypt)]
    operation: Subject,
    /// Requests a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Duration in seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Bytes of the plaintext
    #[arg(long, default_value_t = 32, value_name = "N")]
    bytes: usize,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// The operations that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum Subject {
    /// Encrypts a text
    Encrypt,
    /// Decrypts a blob that is encrypted before the measurement
    Decrypt,
    /// Generates and encrypts a data key
    GenerateDataKey,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        ensure!((1..=MAX_PLAINTEXT_BYTES).contains(&self.bytes), "--bytes is 1 to 6144");
        let text = STANDARD.encode(vec![0x5a; self.bytes]);
        let remote = self.connection.open()?;
        let key = ("KeyId".to_owned(), self.key.clone());
        let params = match self.operation {
            Subject::Encrypt => vec![key, ("Plaintext".to_owned(), text)],
            Subject::GenerateDataKey => vec![key],
            Subject::Decrypt => {
                let encrypted =
                    remote.call("Encrypt", &[("KeyId", &self.key), ("Plaintext", &text)])?;
                let blob = response::text(&encrypted, &["CiphertextBlob"])?;
                vec![("CiphertextBlob".to_owned(), blob.to_owned())]
            }
        };
        let plan = Plan {
            action: format!("{:?}", self.operation),
            params,
            rate: f64::from(self.rate),
            length: Duration::from_secs(self.seconds.into()),
            connections: self.connections.into(),
            max_start_delay: MAX_START_DELAY,
        };
        let report = load::run(remote.client(), &plan)?;
        let told = if self.json { output::json(&report) } else { tell(&report) };
        told?;
        ensure!(report.succeeded() > 0, "no request succeeded");
        Ok(())
    }
}

fn tell(report: &Report) -> std::io::Result<()> {
    let mut rows = vec![
        ("planned", report.planned.to_string()),
        ("sent", report.sent.to_string()),
        ("missed", report.missed.to_string()),
        ("goodput", format!("{:.0} a second", report.goodput)),
        ("accepted", line(&report.accepted)),
    ];
    if report.refused != Times::default() {
        rows.push(("refused", line(&report.refused)));
    }
    output::columns(&rows)?;
    let rows: Vec<_> =
        report.codes.iter().map(|(code, count)| (code.as_str(), count.to_string())).collect();
    output::columns(&rows)
}

fn line(times: &Times) -> String {
    let Times { p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = times;
    format!(
        "p50 {p50_ms:.2} ms, p90 {p90_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 {p999_ms:.2} ms, \
         longest {max_ms:.2} ms"
    )
}
