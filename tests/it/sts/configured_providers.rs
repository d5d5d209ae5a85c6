//! Identity providers of the configuration: their keys are read beside the requests and kept if that
//! fails.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hsmgate::model::clock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::admin_client::get;
use crate::support::calls::until_code;
use crate::support::gateway::{refusal, text};
use crate::support::identity::{AUDIENCE, Federation, ISSUER, Issuer, encode};
use crate::support::installation::Installation;
use crate::support::process::{eventually, until};
use crate::support::tls_server::acceptor;

const SIGNATURE: &str = "AuthenticationFail.OIDCToken.InvalidSignature";
const BROKEN: &str = "AuthenticationFail.OIDCToken.IssuerConfigurationBroken";

/// An https server on loopback that gives one answer after the other, with a certificate of its own CA.
struct KeyServer {
    url: String,
    ca: String,
    answer: Arc<Mutex<String>>,
    _task: JoinSet<()>,
}

fn ok(keys: &Value) -> String {
    let keys = keys.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len())
}

impl KeyServer {
    async fn start(installation: &Installation) -> Self {
        let directory = installation.path("keys-tls");
        let acceptor = acceptor(installation, &directory);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/keys", listener.local_addr().unwrap().port());
        let answer = Arc::new(Mutex::new("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n".into()));
        let given: Arc<Mutex<String>> = Arc::clone(&answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _peer) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 4096];
                let Ok(_length) = stream.read(&mut request).await else { continue };
                let text = given.lock().clone();
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let ca = directory.join("ca.pem").to_str().unwrap().to_owned();
        Self { url, ca, answer, _task: tasks }
    }

    fn answers(&self, answer: String) {
        *self.answer.lock() = answer;
    }
}

/// The same gateway with the provider `k8s` in its configuration. `source` are the lines with its keys.
fn configured_with(federation: Federation, source: &str) -> Federation {
    let Federation { installation, server, issuer, key } = federation;
    installation.configured(&["identity-provider", "delete", "k8s"]).done();
    assert_eq!(server.stop(), Some(0));
    configure(&installation, source);
    let server = installation.serve();
    Federation { installation, server, issuer, key }
}

fn configure(installation: &Installation, source: &str) {
    let file = installation.path("providers.toml");
    let text = format!(
        "[[provider]]\nname = \"k8s\"\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\"]\n\
         refresh_seconds = 1\n{source}\n"
    );
    fs::write(&file, text).unwrap();
    installation.configure(|text| {
        *text = text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
        if !text.contains("[identity]") {
            let section = format!("[identity]\nproviders_file = \"{}\"\n", file.display());
            text.push_str(&section);
        }
    });
}

/// Waits until a token is answered with this status and code.
async fn until_exchanged(federation: &Federation, token: &str, code: &str) {
    eventually(async || {
        let answer = federation.exchange(token).await;
        let found = if answer.status == 200 { String::new() } else { answer.refusal().1 };
        if found == code { Ok(()) } else { Err(format!("{found:?}, not {code:?}")) }
    })
    .await;
}

async fn metric(federation: &Federation, name: &str) -> i64 {
    let (_status, text) =
        get(&format!("http://{}", federation.server.admin_address()), "/metrics").await;
    let name = format!("{name}{{provider=\"k8s\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(-1, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_an_address_are_read_beside_the_requests_and_kept_if_that_fails() {
    let federation = Federation::open("").await;
    let server = KeyServer::start(&federation.installation).await;
    let source = format!("keys_url = \"{}\"\nkeys_ca = \"{}\"", server.url, server.ca);
    let federation = configured_with(federation, &source);
    let token = federation.issuer.token(&Issuer::claims());
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, BROKEN));
    assert_eq!(metric(&federation, "hsmgate_identity_keys_age_seconds").await, -1);
    server.answers(ok(&federation.issuer.key_set()));
    until_exchanged(&federation, &token, "").await;
    let age = metric(&federation, "hsmgate_identity_keys_age_seconds").await;
    assert!((0..60).contains(&age), "{age}");

    let elsewhere = Issuer::new();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", other.local_addr().unwrap());
    let long = "x".repeat(70_000);
    for answer in [
        "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"),
        ok(&json!({"keys": []})),
        ok(&json!({"keys": [{"kty": "oct", "k": "AAAA"}]})),
        ok(&json!({"keys": elsewhere.key_set()["keys"], "x": long})),
        "no HTTP".to_owned(),
    ] {
        let failures = "hsmgate_identity_key_failures_total";
        let before = metric(&federation, failures).await;
        server.answers(answer.clone());
        eventually(async || {
            let now = metric(&federation, failures).await;
            if now > before + 1 { Ok(()) } else { Err(now) }
        })
        .await;
        assert_eq!(federation.exchange(&token).await.status, 200, "{answer:.80}");
    }
    let called = tokio::time::timeout(std::time::Duration::ZERO, other.accept()).await;
    assert!(called.is_err(), "a redirection was followed");
    assert!(federation.server.has_logged("event=\"identity.keys_not_loaded\""));

    // After a rotation a removed key is not accepted any more.
    let renewed = Issuer::new();
    server.answers(ok(&renewed.key_set()));
    until_exchanged(&federation, &renewed.token(&Issuer::claims()), "").await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, SIGNATURE));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_read_from_a_server_that_is_not_trusted() {
    let federation = Federation::open("").await;
    let server = KeyServer::start(&federation.installation).await;
    server.answers(ok(&federation.issuer.key_set()));
    let federation = configured_with(federation, &format!("keys_url = \"{}\"", server.url));
    until(|| federation.server.has_logged("event=\"identity.keys_not_loaded\"")).await;
    let token = federation.issuer.token(&Issuer::claims());
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, BROKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_are_read_again_and_sessions_end_with_the_provider() {
    let federation = Federation::open("").await;
    let file = federation.file("configured.json", &federation.issuer.key_set());
    let mut federation = configured_with(federation, &format!("keys_file = \"{file}\""));
    let token = federation.issuer.token(&Issuer::claims());
    let session = federation.exchange(&token).await.json();
    let key = federation.key.clone();
    let encrypt = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
    until_code(&federation.client(&session), "Encrypt", &encrypt, "").await;

    let renewed = Issuer::new();
    federation.file("configured.json", &renewed.key_set());
    until_exchanged(&federation, &renewed.token(&Issuer::claims()), "").await;
    assert_eq!(federation.exchange(&token).await.refusal(), refusal(401, SIGNATURE));
    fs::write(&file, "{").unwrap();
    until(|| federation.server.has_logged("event=\"identity.keys_not_loaded\"")).await;
    let token = renewed.token(&Issuer::claims());
    assert_eq!(federation.exchange(&token).await.status, 200, "the previous keys stay in use");
    federation.file("configured.json", &renewed.key_set());

    // The command line shows it, and creates none with its name.
    let listed =
        federation.installation.configured(&["identity-provider", "list", "--json"]).json();
    assert_eq!(listed[0]["origin"], "configuration");
    assert_eq!(listed[0]["name"], "k8s");
    let jwks = federation.file("jwks.json", &renewed.key_set());
    let create = ["identity-provider", "create", "k8s", "--issuer", "i", "--audience", "a"];
    let create = [&create[..], &["--jwks", &jwks]].concat();
    let told = federation.installation.configured(&create).failed(5);
    assert!(told.contains("is in the configuration"), "{told}");

    // After a restart the session is still one of this provider, and without the provider it is none.
    let absent = "InvalidAccessKeyId.NotFound";
    for (name, code) in [("k8s", ""), ("other", absent)] {
        let Federation { installation, server, issuer, key } = federation;
        assert_eq!(server.stop(), Some(0));
        let providers = installation.path("providers.toml");
        let text = fs::read_to_string(&providers).unwrap().replace("k8s", name);
        fs::write(&providers, text).unwrap();
        let server = installation.serve();
        federation = Federation { installation, server, issuer, key };
        until_code(&federation.client(&session), "Encrypt", &encrypt, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_accepted_once_if_its_provider_says_so_after_a_restart_too() {
    let federation = Federation::open("").await;
    let file = federation.file("configured.json", &federation.issuer.key_set());
    let source = format!("keys_file = \"{file}\"\naccept_once = true");
    let federation = configured_with(federation, &source);
    let used = refusal(401, "AuthenticationFail.OIDCToken.Invalid");
    // Of a token of this second a gateway that has just started knows whether it was used.
    let tokens = eventually(async || {
        let issuer = &federation.issuer;
        let tokens = [issuer.token(&Issuer::claims()), issuer.ec_token(&Issuer::claims())];
        let answer = federation.exchange(&tokens[0]).await;
        if answer.status == 200 { Ok(tokens) } else { Err(answer.body) }
    })
    .await;
    let [rsa, ec] = &tokens;
    assert_eq!(federation.exchange(rsa).await.refusal(), used);
    assert_eq!(federation.exchange(&format!("{rsa}\n")).await.refusal(), used);
    let both = tokio::join!(federation.exchange(ec), federation.exchange(ec));
    assert_eq!(both.0.status.min(both.1.status), 200);
    assert_eq!(both.0.status.max(both.1.status), 401, "one of two at the same time");
    assert_eq!(federation.exchange(&other_form(ec)).await.refusal(), used, "the other signature");
    let mut claims = Issuer::claims();
    claims["jti"] = json!("2");
    assert_eq!(federation.exchange(&federation.issuer.token(&claims)).await.status, 200);
    claims["iat"] = json!(claims["iat"].as_i64().unwrap() - 901);
    let old = federation.exchange(&federation.issuer.token(&claims)).await;
    assert_eq!(old.refusal(), refusal(401, "AuthenticationFail.OIDCToken.Expired"));

    let Federation { installation, server, issuer, key } = federation;
    assert_eq!(server.stop(), Some(0));
    let server = installation.serve();
    let federation = Federation { installation, server, issuer, key };
    assert_eq!(federation.exchange(rsa).await.refusal(), used);
    assert_eq!(federation.exchange(ec).await.refusal(), used);
    let logged = federation.server.log();
    assert!(!logged.contains(&rsa[..40]), "{logged}");
}

/// The token with the other signature (r, n - s), which is valid too and needs no key.
fn other_form(token: &str) -> String {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = hex::decode(ORDER).unwrap();
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i32::from(order[index]) - i32::from(signature[32 + index]) - borrow;
        borrow = i32::from(difference < 0);
        signature[32 + index] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_the_configuration_that_cannot_be_used_stops_the_start() {
    let federation = Federation::open("").await;
    let file = federation.file("configured.json", &federation.issuer.key_set());
    let Federation { installation, server, issuer: _, key: _ } = federation;
    assert_eq!(server.stop(), Some(0));
    let weak = json!({"keys": [{"kty": "oct", "k": "AAAA"}]});
    let broken = installation.path("weak.json");
    fs::write(&broken, weak.to_string()).unwrap();
    for (source, fault) in [
        (format!("keys_file = \"{file}\""), "in the configuration and in the database"),
        ("keys_file = \"/none/keys.json\"".to_owned(), "/none/keys.json"),
        ("keys_url = \"http://keys.example/\"".to_owned(), "must be an https URL"),
        (format!("keys_file = \"{}\"", broken.display()), "symmetric"),
    ] {
        configure(&installation, &source);
        let config = installation.path("hsmgate.toml");
        let serve = ["serve", "--config", config.to_str().unwrap()];
        let outcome = installation.run_under(&["timeout", "60"], &serve);
        assert!([Some(1), Some(2)].contains(&outcome.code), "{outcome:?}");
        assert!(outcome.stderr.contains(fault), "{outcome:?}, not {fault}");
        installation.configured(&["identity-provider", "delete", "k8s"]);
    }
}

/// The check of the doctor for the provider `k8s`: its result, and what was found.
fn doctor(installation: &Installation) -> (String, String) {
    let run = installation.configured(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|one| one["name"] == "identity provider k8s").unwrap();
    (text(&check["verdict"]).to_owned(), text(&check["found"]).to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_doctor_reads_the_keys_and_compares_the_clock_of_their_server() {
    let federation = Federation::open("").await;
    let keys = federation.issuer.key_set();
    assert_eq!(doctor(&federation.installation), ("ok".to_owned(), "2 keys".to_owned()));
    let server = KeyServer::start(&federation.installation).await;
    let source = format!("keys_url = \"{}\"\nkeys_ca = \"{}\"", server.url, server.ca);
    let federation = configured_with(federation, &source);
    let dated = |ahead: i64| {
        let time = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs((clock::now().unix() + ahead).try_into().unwrap());
        let date = format!("200 OK\r\ndate: {}", httpdate::fmt_http_date(time));
        ok(&keys).replacen("200 OK", &date, 1)
    };
    for (answer, verdict, found) in [
        (ok(&keys), "ok", "2 keys"),
        (dated(0), "ok", "2 keys; its clock agrees"),
        (dated(-30), "warning", "s behind that of this machine"),
        (dated(300), "failed", "s ahead of that of this machine"),
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_owned(), "failed", "status 404"),
    ] {
        server.answers(answer);
        let check = doctor(&federation.installation);
        assert!(check.0 == verdict && check.1.contains(found), "{check:?}, not {verdict} {found}");
    }
}
