//! Other operations than Encrypt, each beside the same work on the token alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hsmgate::cli::client::Client;
use hsmgate::model::Plaintext;
use hsmgate::token::{KeyIdentity, SignAlgorithm, TokenError, Worker};
use serde_json::Value;

use crate::load::{self, Window};
use crate::report::{median, micros};
use crate::requests::Call;
use crate::testbed::Testbed;
use crate::{Options, Subject, WARM_UP_RATE, signed};

/// Enough to keep the token busy.
const CONNECTIONS: usize = 16;
const DATA_KEY_BYTES: usize = 32;
const DIGEST: [u8; 32] = [0x5a; 32];
const DIGEST_TEXT: &str = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";

/// What the token does for one call.
pub(crate) type Job = Arc<dyn Fn(&mut Worker<'_>) -> Result<(), TokenError> + Send + Sync>;

/// One operation, with a key of its own where it needs one.
pub(crate) struct Other {
    name: &'static str,
    call: Call,
    job: Job,
    /// Whether data keys are verified and encryptions are not, as it is by default.
    is_default: bool,
}

/// The operations. GenerateDataKey works with the key of Encrypt.
pub(crate) async fn prepare(
    client: &Client,
    key_id: &str,
    version: KeyIdentity,
) -> anyhow::Result<Vec<Other>> {
    let data_key = |name, is_default| Other {
        name,
        is_default,
        call: Call { action: "GenerateDataKey", params: vec![("KeyId", key_id.to_owned())] },
        job: Arc::new(move |worker| {
            let data_key = Plaintext::encode(&worker.random(DATA_KEY_BYTES)?);
            worker.encrypt(version, None, data_key.expose().as_bytes()).map(drop)
        }),
    };
    let encrypt = |name, is_default| {
        let text = Plaintext::encode(&[0x5a; DATA_KEY_BYTES]).expose().to_owned();
        let params = vec![("KeyId", key_id.to_owned()), ("Plaintext", text.clone())];
        Other {
            name,
            is_default,
            call: Call { action: "Encrypt", params },
            job: Arc::new(move |worker| worker.encrypt(version, None, text.as_bytes()).map(drop)),
        }
    };
    let ec = SignAlgorithm::EcdsaSha256;
    let rsa = SignAlgorithm::RsaPssSha256;
    Ok(vec![
        data_key("GenerateDataKey", true),
        data_key("GenerateDataKey unverified", false),
        encrypt("Encrypt", true),
        encrypt("Encrypt verified", false),
        signing(client, "AsymmetricSign EC_P256", "EC_P256", "ECDSA_SHA_256", ec).await?,
        signing(client, "AsymmetricSign RSA_2048", "RSA_2048", "RSA_PSS_SHA_256", rsa).await?,
    ])
}

async fn signing(
    client: &Client,
    name: &'static str,
    spec: &str,
    algorithm: &str,
    token_algorithm: SignAlgorithm,
) -> anyhow::Result<Other> {
    let made = client.call("CreateKey", &[("KeySpec", spec), ("KeyUsage", "SIGN/VERIFY")]).await?;
    let key_id = text(&made, "/KeyMetadata/KeyId")?;
    let versions = client.call("ListKeyVersions", &[("KeyId", &key_id)]).await?;
    let version_id = text(&versions, "/KeyVersions/KeyVersion/0/KeyVersionId")?;
    let version = KeyIdentity::of_key(key_id.parse()?, spec.parse()?, 1, version_id.parse()?);
    let params = vec![
        ("KeyId", key_id),
        ("KeyVersionId", version_id),
        ("Algorithm", algorithm.to_owned()),
        ("Digest", DIGEST_TEXT.to_owned()),
    ];
    Ok(Other {
        name,
        is_default: true,
        call: Call { action: "AsymmetricSign", params },
        job: Arc::new(move |worker| worker.sign(version, token_algorithm, &DIGEST).map(drop)),
    })
}

fn text(answer: &Value, pointer: &'static str) -> anyhow::Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.map(ToOwned::to_owned).with_context(|| format!("no {pointer}"))
}

/// The table of the other operations.
pub(crate) struct Table(Vec<Row>);

struct Row {
    name: &'static str,
    full: Vec<Window>,
    raw: Vec<Window>,
}

/// Runs every operation in every round, the gateway and the token alone by turns: what is compared
/// stands beside each other in time.
pub(crate) fn measure(
    options: &Options,
    testbed: &Testbed,
    length: Duration,
) -> anyhow::Result<Table> {
    let mut rows = Vec::new();
    for other in testbed.others() {
        let rate = gateway(testbed, other, WARM_UP_RATE, length / 4)?.rate;
        rows.push((other, rate, Row { name: other.name, full: Vec::new(), raw: Vec::new() }));
    }
    for _ in 0..options.rounds.get() {
        for (other, rate, row) in &mut rows {
            row.full.push(gateway(testbed, other, *rate, length)?);
            row.raw.push(testbed.raw(&other.job, CONNECTIONS, length)?);
        }
    }
    Ok(Table(rows.into_iter().map(|(_, _, row)| row).collect()))
}

fn gateway(
    testbed: &Testbed,
    other: &Other,
    rate: f64,
    length: Duration,
) -> anyhow::Result<Window> {
    let requests = signed(rate, length, || testbed.signer.sign(&other.call))?;
    let address =
        if other.is_default { testbed.address(Subject::Full) } else { testbed.opposite() };
    load::run_in("self", address, &requests, CONNECTIONS, length, false)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(f, "Other operations, {CONNECTIONS} connections, and the token work alone (raw)")?;
        writeln!(f)?;
        writeln!(
            f,
            "| operation                  |  calls/s | p50 µs | p99 µs | CPU µs/call: server | token | raw calls/s | full/raw |"
        )?;
        writeln!(
            f,
            "|----------------------------|---------:|-------:|-------:|--------------------:|------:|------------:|---------:|"
        )?;
        for row in &self.0 {
            let rate =
                |windows: &[Window]| median(windows.iter().map(|one| one.rate), f64::total_cmp);
            let time = |of: fn(&Window) -> Duration| median(row.full.iter().map(of), Duration::cmp);
            let (full, raw) = (rate(&row.full), rate(&row.raw));
            writeln!(
                f,
                "| {:26} | {full:8.0} | {:6} | {:6} | {:19.1} | {:5.1} | {raw:11.0} | {:>6.0} % |",
                row.name,
                time(|window| window.p50).as_micros(),
                time(|window| window.p99).as_micros(),
                micros(time(|window| window.cpu.server)),
                micros(time(|window| window.cpu.token)),
                100.0 * full / raw,
            )?;
        }
        Ok(())
    }
}
