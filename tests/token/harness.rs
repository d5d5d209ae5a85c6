//! One process and one token for each test.

use std::env;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fault_token::{MANNERS_VARIABLE, MODULE_VARIABLE, Manner};
use hsmgate::model::{KeyId, KeySpec, KeyVersionId};
use hsmgate::token::{
    Budget, KeyClass, KeyIdentity, ObjectName, ObjectOwner, Token, TokenError, TokenSelector,
    TokenSettings, Worker,
};
use secrecy::SecretString;

use crate::softhsm::{self, scratch};

/// Names the test that this process was started for.
const INNER: &str = "HSMGATE_TOKEN_TEST";
pub(crate) const LABEL: &str = "hsmgate test";
pub(crate) const PIN: &str = "648219";
pub(crate) const SO_PIN: &str = "7315508";

/// Runs `test` in a process of its own with a fresh token directory. `name` is the test's path.
pub(crate) fn in_own_process(name: &str, test: impl FnOnce()) {
    in_own_process_with(name, &[], test);
}

/// As `in_own_process`, on a token with these manners.
pub(crate) fn in_own_process_with(name: &str, manners: &[Manner], test: impl FnOnce()) {
    match env::var(INNER) {
        Ok(inner) if inner == name => test(),
        _ => spawn(name, manners),
    }
}

/// As `in_own_process`, with the token made and open.
pub(crate) fn with_token<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Token) -> F) {
    with_manners(name, &[], test);
}

/// As `with_token`, on a token with these manners.
pub(crate) fn with_manners<F: Future<Output = ()>>(
    name: &str,
    manners: &[Manner],
    test: impl FnOnce(Token) -> F,
) {
    in_own_process_with(name, manners, || {
        initialize(LABEL);
        let token = Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap();
        runtime().block_on(test(token.clone()));
        token.close();
    });
}

/// The manners are played by the fault token before SoftHSM2. The variable of the fault token gives
/// them to every test that names none.
fn spawn(name: &str, manners: &[Manner]) {
    let manners: Vec<_> = manners.iter().map(ToString::to_string).collect();
    let inherited = env::var(MANNERS_VARIABLE).unwrap_or_default();
    let manners = if manners.is_empty() { inherited } else { manners.join(",") };
    let module = (!manners.is_empty()).then(softhsm::module);
    let directory = tempfile::TempDir::new_in(scratch()).unwrap();
    let configuration = softhsm::configure(directory.path());
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INNER, name)
        .env("SOFTHSM2_CONF", &configuration)
        .env(MANNERS_VARIABLE, manners)
        .envs(module.map(|module| (MODULE_VARIABLE, module)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed in its own process:\n{text}");
    print!("{text}");
    // A name that matches no test would pass as well.
    assert!(text.contains("1 passed"), "{name} names no test:\n{text}");
}

/// The module of this process: SoftHSM2's, or the fault token before it.
pub(crate) fn module() -> PathBuf {
    match env::var_os(MODULE_VARIABLE) {
        Some(_softhsm) => fault_token::library(),
        None => softhsm::module(),
    }
}

pub(crate) fn initialize(label: &str) {
    let pins: [SecretString; 2] = [SO_PIN.into(), PIN.into()];
    Token::initialize(&module(), None, label, &pins[0], &pins[1]).unwrap();
}

pub(crate) fn settings(selector: TokenSelector) -> TokenSettings {
    settings_of(module(), selector)
}

/// As `settings`, of another module.
pub(crate) fn settings_of(module: PathBuf, selector: TokenSelector) -> TokenSettings {
    TokenSettings {
        module,
        init_arguments: None,
        selector,
        pin: PIN.into(),
        pin_refusal: None,
        workers: None,
        queue: NonZeroUsize::new(1024).unwrap(),
        max_queue_wait: Duration::from_mins(1),
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn budget() -> Budget {
    Budget::new(Duration::from_mins(1))
}

/// Runs a call job with a generous budget.
pub(crate) async fn run<T: Send + 'static>(
    token: &Token,
    job: impl FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    token.run(&budget(), job).await
}

/// Runs a change job with a generous budget.
pub(crate) async fn change<T: Send + 'static>(
    token: &Token,
    job: impl FnOnce(&mut Worker<'_>) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    token.change(&budget(), job).await
}

pub(crate) fn name() -> ObjectName {
    ObjectName {
        owner: ObjectOwner::Key(KeyId::random()),
        number: 1,
        version: KeyVersionId::random(),
    }
}

/// Makes a key of this spec, with the spec's first usage.
pub(crate) async fn key(token: &Token, spec: KeySpec) -> KeyIdentity {
    let name = name();
    change(token, move |worker| worker.generate(&name, spec, spec.usages()[0])).await.unwrap();
    KeyIdentity { name, class: KeyClass::of(spec) }
}

/// A secret key by its name.
pub(crate) const fn secret(name: ObjectName) -> KeyIdentity {
    KeyIdentity { name, class: KeyClass::Secret }
}

/// A key pair by its name.
pub(crate) const fn pair(name: ObjectName) -> KeyIdentity {
    KeyIdentity { name, class: KeyClass::Pair }
}

/// A second way into the same module, past the gateway: the test's own session, logged in.
pub(crate) fn direct_session() -> (cryptoki::context::Pkcs11, cryptoki::session::Session) {
    let pkcs11 = cryptoki::context::Pkcs11::new(module()).unwrap();
    let slots = pkcs11.get_slots_with_initialized_token().unwrap();
    let session = pkcs11.open_rw_session(slots[0]).unwrap();
    (pkcs11, session)
}

/// Where the token of this process lives.
pub(crate) fn token_directory() -> PathBuf {
    let configuration = PathBuf::from(env::var("SOFTHSM2_CONF").unwrap());
    configuration.with_file_name("tokens")
}
