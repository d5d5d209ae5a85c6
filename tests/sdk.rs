//! The official SDKs against a running gateway: each goes through the cases of `tests/sdk/`.
//!
//! No case is skipped. Without an interpreter or without the SDKs that `tests/sdk/setup.sh` installs,
//! these tests fail and say what to do. The one that needs a network of its own says so and passes where
//! there can be none.

#![expect(clippy::panic, reason = "a test that cannot continue must fail")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::gateway::Gateway;
use support::process::Process;
use support::softhsm::{module, scratch};
use support::workload::{NAMESPACES, ShortSessions, Way, Workload, may_have_a_network};

#[test]
fn the_new_python_sdk_passes_every_case_signed_with_acs3() {
    passes_every_case("python-new-acs3");
}

#[test]
fn the_new_python_sdk_passes_every_case_signed_with_acs4() {
    passes_every_case("python-new-acs4");
}

#[test]
fn the_new_python_sdk_passes_every_case_signed_with_rpc1() {
    passes_every_case("python-new-rpc1");
}

#[test]
fn the_async_methods_of_the_new_python_sdk_pass_every_case() {
    passes_every_case("python-new-async");
}

#[test]
fn the_old_python_sdk_passes_every_case() {
    passes_every_case("python-old");
}

#[test]
fn the_node_sdk_passes_every_case_that_it_knows() {
    passes_every_case("node-kms20160120");
}

#[test]
fn the_node_openapi_client_passes_every_case() {
    passes_every_case("node-openapi-client");
}

#[test]
fn pop_core_passes_every_case_by_get() {
    passes_every_case("node-pop-core-get");
}

#[test]
fn pop_core_passes_every_case_by_post() {
    passes_every_case("node-pop-core-post");
}

#[test]
fn the_instance_sdks_pass_every_case_over_plain_http() {
    passes_every_case_of_an_instance(&[]);
}

#[test]
fn the_instance_sdks_pass_every_case_over_tls() {
    passes_every_case_of_an_instance(&["--tls"]);
}

#[test]
fn sdks_without_an_endpoint_reach_a_gateway_under_the_clouds_names() {
    expect_success(&SET_UP, "");
    if !may_have_a_network() {
        println!("skipped: no network namespace may be made here");
        return;
    }
    let directory = tempfile::tempdir_in(scratch()).expect("a temporary directory");
    let mut script = Command::new(NAMESPACES[0]);
    script.args(&NAMESPACES[1..]).arg(root().join("tests/sdk/cloud_names.sh"));
    let ran = run(script.arg(env!("CARGO_BIN_EXE_hsmgate")).arg(directory.path()));
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    expect_success(&ran, &format!("the log of the gateway:\n{log}"));
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(told.matches(" passed\n").count(), 5, "{told}");
}

/// Ways of a program without an AccessKey: `hsmgate sts token` in the configuration of the default chain
/// of Python and Node, and the OIDC provider of Python with the gateway as STS endpoint.
#[tokio::test]
async fn the_default_chains_encrypt_with_a_token_in_place_of_an_access_key() {
    expect_success(&SET_UP, "");
    let workload = Workload::start(Way::Http).await;
    for (mut program, way) in
        [(python(&workload), "default"), (node(&workload), "default"), (python(&workload), "oidc")]
    {
        // The libraries write their credentials into this file.
        workload.configure_command();
        program.arg(way);
        workload.run(program);
    }
}

/// With the variables of the vendor's webhook alone.
#[tokio::test]
async fn the_default_chains_find_sts_under_the_clouds_names() {
    expect_success(&SET_UP, "");
    if !may_have_a_network() {
        println!("skipped: no network namespace may be made here");
        return;
    }
    let workload = Workload::start(Way::CloudNames).await;
    for region in [None, Some("cn-hangzhou")] {
        for mut program in [python(&workload), node(&workload)] {
            workload.set_variables(&mut program, region);
            program.arg("default");
            workload.run(program);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn python_encrypts_through_three_renewals_of_its_session() {
    expect_success(&SET_UP, "");
    let workload = Workload::start(Way::Http).await;
    let mut program = python(&workload);
    program.arg("oidc");
    ShortSessions::start(&workload, SDK_RENEWS_EARLY).await.run(&workload, program);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn node_encrypts_through_three_renewals_of_its_session() {
    expect_success(&SET_UP, "");
    let workload = Workload::start(Way::Http).await;
    let mut program = node(&workload);
    program.arg("oidc");
    ShortSessions::start(&workload, SDK_RENEWS_EARLY).await.run(&workload, program);
}

/// How long before its end Python and Node renew a session, in seconds.
const SDK_RENEWS_EARLY: i64 = 900;

fn python(workload: &Workload) -> Command {
    let mut python = workload.program(root().join("target/sdk/python/bin/python"));
    python.arg(root().join("tests/sdk/identity/encrypt.py"));
    python
}

fn node(workload: &Workload) -> Command {
    let mut node = workload.program("node");
    node.arg(root().join("tests/sdk/identity/encrypt.js"));
    node.env("NODE_PATH", root().join("target/sdk/node/node_modules"));
    node
}

/// Ciphertexts of a state that an earlier program has made.
const GOLDEN: &str = "tests/golden/0.2.0-schema-18-audit-2-journal-2";

/// Nobody is locked in: neither gateway nor database takes part.
#[test]
fn a_ciphertext_is_decrypted_with_the_token_and_its_pin_alone() {
    expect_success(&SET_UP, "");
    let golden = root().join(GOLDEN);
    let state = std::fs::read_to_string(golden.join("golden.json")).expect("the golden state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let home = tempfile::tempdir_in(scratch()).expect("a temporary directory");
    let copied = run(Command::new("cp").arg("-r").arg(golden.join("tokens")).arg(home.path()));
    expect_success(&copied, "");
    let config = home.path().join("softhsm2.conf");
    let tokens = home.path().join("tokens");
    std::fs::write(&config, format!("directories.tokendir = {}\n", tokens.display()))
        .expect("a file");
    let mut decrypted = 0;
    for call in state["calls"].as_array().expect("calls") {
        let param = |wanted: &str| {
            let params = call["params"].as_array().into_iter().flatten();
            params.filter(|param| param[0] == wanted).find_map(|param| param[1].as_str())
        };
        let plaintext = call["outcome"]["Answer"]["Plaintext"].as_str();
        let (Some(blob), Some(plaintext)) = (param("CiphertextBlob"), plaintext) else { continue };
        if call["action"] != "Decrypt" {
            continue;
        }
        let blob_file = home.path().join("blob");
        std::fs::write(&blob_file, blob).expect("a file");
        let ran = run(Command::new(root().join("target/sdk/python/bin/python"))
            .arg(root().join("examples/exit/decrypt.py"))
            .arg("--module")
            .arg(module())
            .args(["--token", "production", "--pin-file"])
            .arg(golden.join("pin"))
            .args(["--context", param("EncryptionContext").unwrap_or("{}")])
            .env("SOFTHSM2_CONF", &config)
            .stdin(std::fs::File::open(&blob_file).expect("a file")));
        expect_success(&ran, blob);
        assert_eq!(STANDARD.encode(&ran.stdout), plaintext, "{blob}");
        decrypted += 1;
    }
    assert!(decrypted > 10, "{decrypted}");
}

/// The seed of the example is there before the gateway is ready, for an unchanged SDK.
#[test]
fn the_python_sdk_uses_what_the_seed_of_the_example_made() {
    expect_success(&SET_UP, "");
    let secrets = [("ORDERS_SECRET", "secret-of-orders"), ("DB_PASSWORD", "password-of-db")];
    let seed = root().join("examples/seed/seed.toml");
    let directory = tempfile::tempdir_in(scratch()).expect("a temporary directory");
    let of_dev = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
        command.args(arguments).current_dir(directory.path()).envs(secrets);
        command.env("SOFTHSM2_MODULE", module()).env("HSMGATE_ALLOW_ROOT", "1");
        command
    };
    let seed = seed.to_str().expect("a path");
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--quiet", "--seed", seed];
    let gateway = of_dev(&arguments).spawn().expect("the gateway starts");
    let gateway = Process::of(gateway);
    expect_success(&run(&mut of_dev(&["ready", "--timeout", "60"])), "");
    let client = std::fs::read_to_string(directory.path().join(".hsmgate/client.json"));
    let client: serde_json::Value = serde_json::from_str(&client.expect("a file")).expect("JSON");
    let ran = run(Command::new(root().join("target/sdk/python/bin/python"))
        .arg(root().join("examples/seed/use.py"))
        .envs(secrets)
        .env("HSMGATE_ENDPOINT", client["endpoint"].as_str().expect("an endpoint")));
    expect_success(&ran, "");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(told.ends_with("encrypted and decrypted; orders/db read\n"), "{told}");
    gateway.signal("TERM");
    assert!(gateway.wait().is_some_and(|ended| ended.success()));
}

/// Whether interpreters and SDKs are there, asked once for all tests.
static SET_UP: LazyLock<Output> =
    LazyLock::new(|| run(Command::new(root().join("tests/sdk/setup.sh")).arg("--check")));

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn passes_every_case(sdk: &str) {
    expect_success(&SET_UP, "");
    let gateway = Gateway::start();
    let throttled = Gateway::start_with(&["--calls-per-second", "5"]);
    let secured = Gateway::start_with(&["--tls"]);
    let cases = run(pytest("python")
        .args(["--sdk", sdk])
        .arg(root().join("tests/sdk"))
        .env("HSMGATE_DEV_JSON", gateway.dev_json())
        .env("HSMGATE_THROTTLED_DEV_JSON", throttled.dev_json())
        .env("HSMGATE_TLS_DEV_JSON", secured.dev_json())
        .env("NODE_PATH", root().join("target/sdk/node/node_modules")));
    expect_success(&cases, &format!("the log of the gateway:\n{}", gateway.log()));
    gateway.stop();
    throttled.stop();
    secured.stop();
}

fn passes_every_case_of_an_instance(options: &[&str]) {
    expect_success(&SET_UP, "");
    let gateway = Gateway::start_with(options);
    let cases = run(pytest("python-instance")
        .arg(root().join("tests/sdk/instance"))
        .env("HSMGATE_DEV_JSON", gateway.dev_json())
        .env("HSMGATE_PROGRAM", env!("CARGO_BIN_EXE_hsmgate")));
    expect_success(&cases, &format!("the log of the gateway:\n{}", gateway.log()));
    gateway.stop();
}

/// Pytest in one of the environments.
fn pytest(environment: &str) -> Command {
    let python = root().join("target/sdk").join(environment).join("bin/python");
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "--quiet"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

fn expect_success(output: &Output, log: &str) {
    assert!(
        output.status.success(),
        "{}{}{log}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
