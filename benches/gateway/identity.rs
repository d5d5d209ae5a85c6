//! Calls with sessions beside calls with an AccessKey, and the exchange of a token for a session.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hsmgate::api::rpc::percent;
use hsmgate::authn::{change_principal_details, create_principal};
use hsmgate::cli::client::{Client, Target};
use hsmgate::model::policy::{AttachedPolicy, TrustPolicy};
use hsmgate::model::{Api, IdentityProvider, PrincipalName, TokenAlgorithm, clock};
use hsmgate::store::Store;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::load::{self, Window};
use crate::report::{median, micros};
use crate::requests::{Call, Requests, Signer, written};
use crate::testbed::Testbed;
use crate::{Case, Options, Subject, WARM_UP_RATE, signed};

const ISSUER: &str = "https://issuer.bench";
const AUDIENCE: &str = "sts.aliyuncs.com";
const SUBJECT: &str = "system:serviceaccount:bench:bench";
const ROLE: &str = "acs:ram::1234567890123456:role/bench";
const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/bench";
/// The most connections of a row.
const CONNECTIONS: [usize; 2] = [1, 16];
const BYTES: usize = 32;

/// An issuer of tokens.
pub(crate) struct Issuer(RsaKeyPair);

impl Issuer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(RsaKeyPair::generate(KeySize::Rsa2048)?))
    }

    /// Lets its subject assume a role that may encrypt.
    pub(crate) async fn register(&self, store: &Store) -> anyhow::Result<()> {
        // SEQUENCE { INTEGER modulus of 2048 bits, with a leading zero; INTEGER 65537 } (RFC 8017).
        let modulus = self.0.public_key().as_ref().get(9..265).context("another length")?;
        let key = json!({"kty": "RSA", "n": encode(modulus), "e": "AQAB"});
        let provider = IdentityProvider {
            name: "bench".parse()?,
            id: "bench".to_owned(),
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: TokenAlgorithm::ALL.to_vec(),
            keys: json!({"keys": [key]}).to_string(),
            max_age_seconds: 24 * 3600,
            created: clock::now(),
        };
        store.insert_document(provider).await?;
        let role = PrincipalName::role("bench")?;
        let policies = vec![AttachedPolicy::system("AliyunKMSCryptoUserAccess")?];
        create_principal(store, &role, policies).await?;
        let trust = json!({"Version": "1", "Statement": [{"Effect": "Allow",
            "Action": "sts:AssumeRole", "Principal": {"Federated": [PROVIDER]},
            "Condition": {"StringEquals": {"oidc:sub": SUBJECT, "oidc:aud": AUDIENCE}}}]});
        let trust = TrustPolicy::parse(&trust.to_string())?;
        change_principal_details(store, &role, |details| details.trust = Some(trust)).await?;
        Ok(())
    }

    fn token(&self) -> anyhow::Result<String> {
        let now = clock::now().unix();
        let claims = json!({"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now,
                            "nbf": now, "exp": now + 3600});
        let text =
            format!("{}.{}", encode(br#"{"alg":"RS256"}"#), encode(claims.to_string().as_bytes()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)?;
        Ok(format!("{text}.{}", encode(&signature)))
    }

    /// AssumeRoleWithOIDC, as the libraries of Go and Node send it. It may be repeated.
    fn exchange(&self) -> anyhow::Result<Vec<u8>> {
        let mut body = String::new();
        percent::encode_pairs_into(&mut body, params(&self.token()?));
        let request =
            http::Request::post("/?Action=AssumeRoleWithOIDC&Format=JSON&Version=2015-04-01")
                .header("host", "bench")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(())?;
        written(&request, body.as_bytes())
    }
}

/// The parameters of AssumeRoleWithOIDC.
fn params(token: &str) -> [(&'static str, &str); 5] {
    [
        ("RoleArn", ROLE),
        ("OIDCProviderArn", PROVIDER),
        ("RoleSessionName", "bench-1"),
        ("DurationSeconds", "3600"),
        ("OIDCToken", token),
    ]
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    AccessKey,
    OneSession,
    /// Each call is of another one, until all have called.
    ManySessions,
}

impl Caller {
    const ALL: [Self; 3] = [Self::AccessKey, Self::OneSession, Self::ManySessions];
}

/// The windows of one number of connections.
struct Row {
    connections: usize,
    callers: Vec<[Window; 3]>,
    exchanges: Vec<Window>,
}

/// The figures.
pub(crate) struct Table {
    sessions: usize,
    rows: Vec<Row>,
}

/// Makes the sessions, and runs each kind of call in every round by turns.
pub(crate) fn measure(
    options: &Options,
    testbed: &Testbed,
    length: Duration,
) -> anyhow::Result<Table> {
    let address = testbed.address(Subject::Full);
    let exchange = Requests(Arc::new(vec![testbed.issuer.exchange()?]));
    let sessions = sessions(options, testbed, address)?;
    let case = Case { bytes: BYTES, connections: 1 };
    let call = testbed.signer.encrypt(case.bytes);
    let first = sessions.get(..1).context("no session")?;
    let own = std::slice::from_ref(&testbed.signer);
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let run = |requests: &Requests, may_repeat| {
            load::run_in("self", address, requests, connections, length, may_repeat)
        };
        let calls = |caller, rate| {
            let signers = match caller {
                Caller::AccessKey => own,
                Caller::OneSession => first,
                Caller::ManySessions => &sessions,
            };
            run(&by(signers, &call, rate, length)?, false)
        };
        let rate = calls(Caller::AccessKey, WARM_UP_RATE)?.rate;
        calls(Caller::ManySessions, rate)?;
        let mut row = Row { connections, callers: Vec::new(), exchanges: Vec::new() };
        for _ in 0..options.rounds.get() {
            let mut windows = [Window::default(); 3];
            for (window, caller) in windows.iter_mut().zip(Caller::ALL) {
                *window = calls(caller, rate)?;
            }
            row.callers.push(windows);
            row.exchanges.push(run(&exchange, true)?);
        }
        rows.push(row);
    }
    Ok(Table { sessions: options.sessions, rows })
}

/// The call, signed by these in turn.
fn by(signers: &[Signer], call: &Call, rate: f64, length: Duration) -> anyhow::Result<Requests> {
    let mut in_turn = signers.iter().cycle();
    signed(rate, length, || in_turn.next().context("no signer")?.sign(call))
}

/// Exchanges a token for so many sessions.
fn sessions(
    options: &Options,
    testbed: &Testbed,
    address: SocketAddr,
) -> anyhow::Result<Vec<Signer>> {
    let endpoint = format!("http://{address}");
    let token = testbed.issuer.token()?;
    // A signature beside a token proves nothing, and is ignored.
    let client = Client::new(&endpoint, "none", SecretString::from("none"))?.with_api(Api::Sts);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exchange = || runtime.block_on(client.call("AssumeRoleWithOIDC", &params(&token)));
    let signer = |_number| {
        let answer: Value = exchange()?;
        let part = |name: &str| {
            let found = answer.pointer(&format!("/Credentials/{name}")).and_then(Value::as_str);
            found.map(ToOwned::to_owned).with_context(|| format!("no {name}"))
        };
        let secret = SecretString::from(part("AccessKeySecret")?);
        let target = Target::new(&endpoint, &part("AccessKeyId")?, secret)?;
        let target = target.with_security_token(part("SecurityToken")?.into());
        Ok(Signer::new(target, testbed.signer.key_id.clone()))
    };
    (0..options.sessions).map(signer).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(
            f,
            "Encrypt of {BYTES} bytes with an AccessKey and with sessions, and exchanges of a token"
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "| call | connections | calls/s | p50 µs | CPU µs/call | ratio of CPU | ratio of p50 |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|")?;
        for row in &self.rows {
            for (at, caller) in Caller::ALL.into_iter().enumerate() {
                let windows = || row.callers.iter().filter_map(move |round| round.get(at));
                let name = match caller {
                    Caller::AccessKey => "AccessKey".to_owned(),
                    Caller::OneSession => "one session".to_owned(),
                    Caller::ManySessions => format!("{} sessions in turn", self.sessions),
                };
                let ratio = |of: fn(&Window) -> f64| {
                    let ratios = row.callers.iter().zip(windows());
                    let ratios = ratios.map(|([base, ..], window)| of(window) / of(base));
                    median(ratios, f64::total_cmp)
                };
                figures(f, &name, row.connections, windows())?;
                writeln!(f, " {:.3} | {:.3} |", ratio(total), ratio(|one| micros(one.p50)))?;
            }
            figures(f, "AssumeRoleWithOIDC", row.connections, row.exchanges.iter())?;
            let cpu = median(row.exchanges.iter().map(total), f64::total_cmp);
            writeln!(f, " 100 a second: {:.1} % of a processor | |", cpu * 100.0 / 1e6 * 100.0)?;
        }
        Ok(())
    }
}

/// Processor time in microseconds a call.
fn total(window: &Window) -> f64 {
    micros(window.cpu.server + window.cpu.token)
}

fn figures<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    connections: usize,
    windows: impl Iterator<Item = &'a Window> + Clone,
) -> fmt::Result {
    let rate = median(windows.clone().map(|one| one.rate), f64::total_cmp);
    let p50 = median(windows.clone().map(|one| micros(one.p50)), f64::total_cmp);
    let cpu = median(windows.map(total), f64::total_cmp);
    write!(f, "| {name} | {connections} | {rate:.0} | {p50:.0} | {cpu:.1} |")
}
