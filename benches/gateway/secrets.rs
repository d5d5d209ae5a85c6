//! GetSecretValue beside Decrypt: both cost one decryption in the token.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use hsmgate::cli::client::Client;

use crate::load::{self, Window};
use crate::report::median;
use crate::requests::{Call, plaintext};
use crate::testbed::Testbed;
use crate::{Options, Subject, WARM_UP_RATE, signed};

const CONNECTIONS: [usize; 2] = [1, 16];
/// Sizes of values, as Base64 text.
const SIZES: [usize; 2] = [32, 6144];

/// A value as the plaintext of Decrypt and as a secret.
pub(crate) struct Value {
    bytes: usize,
    decrypt: Call,
    read: Call,
}

/// Encrypts and stores values under the key of Encrypt.
pub(crate) async fn prepare(client: &Client, key_id: &str) -> anyhow::Result<Vec<Value>> {
    let mut values = Vec::new();
    for bytes in SIZES {
        let (text, name) = (plaintext(bytes), format!("bench-{bytes}"));
        let encrypted = client.call("Encrypt", &[("KeyId", key_id), ("Plaintext", &text)]).await?;
        let blob = encrypted.get("CiphertextBlob").and_then(serde_json::Value::as_str);
        let blob = blob.context("no CiphertextBlob")?.to_owned();
        let secret = [("SecretName", &*name), ("VersionId", "v1"), ("SecretData", &text)];
        client
            .call("CreateSecret", &[&secret[..], &[("EncryptionKeyId", key_id)]].concat())
            .await?;
        values.push(Value {
            bytes,
            decrypt: Call { action: "Decrypt", params: vec![("CiphertextBlob", blob)] },
            read: Call { action: "GetSecretValue", params: vec![("SecretName", name)] },
        });
    }
    Ok(values)
}

/// The table of the reads.
pub(crate) struct Table(Vec<Row>);

struct Row {
    bytes: usize,
    connections: usize,
    decrypt: Vec<Window>,
    read: Vec<Window>,
}

/// Runs both by turns: what is compared is measured at nearly the same time.
pub(crate) fn measure(
    options: &Options,
    testbed: &Testbed,
    length: Duration,
) -> anyhow::Result<Table> {
    let mut rows = Vec::new();
    for value in testbed.values() {
        for connections in CONNECTIONS {
            let rate = window(testbed, &value.decrypt, WARM_UP_RATE, connections, length / 4)?.rate;
            window(testbed, &value.read, WARM_UP_RATE, connections, length / 4)?;
            let mut row =
                Row { bytes: value.bytes, connections, decrypt: Vec::new(), read: Vec::new() };
            for _ in 0..options.rounds.get() {
                row.decrypt.push(window(testbed, &value.decrypt, rate, connections, length)?);
                row.read.push(window(testbed, &value.read, rate, connections, length)?);
            }
            rows.push(row);
        }
    }
    Ok(Table(rows))
}

fn window(
    testbed: &Testbed,
    call: &Call,
    rate: f64,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Window> {
    let requests = signed(rate, length, || testbed.signer.sign(call))?;
    load::run(testbed.address(Subject::Full), &requests, connections, length, false)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(f, "GetSecretValue and Decrypt of the same value, by turns")?;
        writeln!(f)?;
        writeln!(
            f,
            "|  bytes | connections | Decrypt: p50 µs | calls/s | GetSecretValue: p50 µs | calls/s | ratio of p50 |"
        )?;
        writeln!(
            f,
            "|-------:|------------:|----------------:|--------:|-----------------------:|--------:|-------------:|"
        )?;
        for row in &self.0 {
            let p50 =
                |windows: &[Window]| median(windows.iter().map(|window| window.p50), Duration::cmp);
            let rate =
                |windows: &[Window]| median(windows.iter().map(|one| one.rate), f64::total_cmp);
            let (decrypt, read) = (p50(&row.decrypt), p50(&row.read));
            writeln!(
                f,
                "| {:6} | {:11} | {:15} | {:7.0} | {:22} | {:7.0} | {:12.2} |",
                row.bytes,
                row.connections,
                decrypt.as_micros(),
                rate(&row.decrypt),
                read.as_micros(),
                rate(&row.read),
                read.as_secs_f64() / decrypt.as_secs_f64(),
            )?;
        }
        Ok(())
    }
}
