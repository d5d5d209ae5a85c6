//! One process and one token for each test.

use std::env;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use fault_token::{MANNERS_VARIABLE, MODULE_VARIABLE, Manner, Settings};
use hsmgate::model::{IvLength, KeyId, KeySpec, KeyVersionId};
use hsmgate::token::{
    Budget, KeyClass, KeyIdentity, ObjectName, ObjectOwner, Token, TokenError, TokenSelector,
    TokenSettings, Worker,
};
use secrecy::SecretString;

use crate::softhsm::{self, scratch};
pub(crate) use crate::tokens::{PIN, SO_PIN};
use crate::tokens::{Product, TestToken};

/// Names the test that this process was started for.
const INNER: &str = "HSMGATE_TOKEN_TEST";
/// The name of the product of its token.
const PRODUCT: &str = "HSMGATE_TOKEN_PRODUCT";
/// The module, its argument for C_Initialize, and whether its token is initialized.
const MODULE: &str = "HSMGATE_TOKEN_MODULE";
const INIT_ARGUMENTS: &str = "HSMGATE_TOKEN_INIT_ARGUMENTS";
const IS_INITIALIZED: &str = "HSMGATE_TOKEN_IS_INITIALIZED";
pub(crate) const LABEL: &str = "hsmgate test";

/// Runs `test` in a process of its own with a fresh token directory of SoftHSM2. `name` is the test's
/// path.
pub(crate) fn in_own_process(name: &str, test: impl FnOnce()) {
    in_own_process_with(name, &[], test);
}

/// As `in_own_process`, on a token with these manners.
pub(crate) fn in_own_process_with(name: &str, manners: &[Manner], test: impl FnOnce()) {
    in_own_processes(name, &[Product::SoftHsm], manners, test);
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
    with_tokens(name, &[Product::SoftHsm], manners, test);
}

/// As `with_token`, on one token after the other.
pub(crate) fn with_every_token<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Token) -> F) {
    with_tokens(name, &Product::ALL, &[], test);
}

/// As `with_token`, on the token of one product.
pub(crate) fn with_product<F: Future<Output = ()>>(
    name: &str,
    product: Product,
    test: impl FnOnce(Token) -> F,
) {
    with_tokens(name, &[product], &[], test);
}

/// As `with_every_token`, except for some products, for a reason that the test gives.
pub(crate) fn with_every_token_but<F: Future<Output = ()>>(
    name: &str,
    exceptions: &[Product],
    test: impl FnOnce(Token) -> F,
) {
    let products = Product::ALL.into_iter().filter(|product| !exceptions.contains(product));
    with_tokens(name, &products.collect::<Vec<_>>(), &[], test);
}

fn with_tokens<F: Future<Output = ()>>(
    name: &str,
    products: &[Product],
    manners: &[Manner],
    test: impl FnOnce(Token) -> F,
) {
    in_own_processes(name, products, manners, || {
        if env::var_os(IS_INITIALIZED).is_none() {
            initialize(LABEL);
        }
        let token = Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap();
        runtime().block_on(test(token.clone()));
        token.close();
    });
}

fn in_own_processes(name: &str, products: &[Product], manners: &[Manner], test: impl FnOnce()) {
    match env::var(INNER) {
        Ok(inner) if inner == name => test(),
        _ => products
            .iter()
            // Manners are played before SoftHSM2 alone.
            .filter(|product| inherited_manners().is_empty() || **product == Product::SoftHsm)
            .filter(|product| product.is_installed())
            .for_each(|product| spawn(name, *product, manners)),
    }
}

/// The manners that a variable gives to every test that names none.
fn inherited_manners() -> String {
    env::var(MANNERS_VARIABLE).unwrap_or_default()
}

/// The manners are played by the fault token before SoftHSM2.
fn spawn(name: &str, product: Product, manners: &[Manner]) {
    let manners: Vec<_> = manners.iter().map(ToString::to_string).collect();
    let manners = if manners.is_empty() { inherited_manners() } else { manners.join(",") };
    let plays_manners = product == Product::SoftHsm && !manners.is_empty();
    let directory = tempfile::TempDir::new_in(scratch()).unwrap();
    let token = TestToken::new(product, directory.path(), LABEL);
    let module = if plays_manners { fault_token::library() } else { token.module.clone() };
    let output = token
        .command(env::current_exe().unwrap())
        .envs(token.environment())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INNER, name)
        .env(PRODUCT, product.name())
        .env(MODULE, module)
        .env(MANNERS_VARIABLE, manners)
        .envs(token.init_arguments.as_ref().map(|arguments| (INIT_ARGUMENTS, arguments)))
        .envs(plays_manners.then(|| (MODULE_VARIABLE, softhsm::module())))
        .envs(token.is_initialized.then_some((IS_INITIALIZED, "1")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let product = product.name();
    assert!(output.status.success(), "{name} failed in its own process on {product}:\n{text}");
    print!("{text}");
    // A name that matches no test would pass as well.
    assert!(text.contains("1 passed"), "{name} names no test:\n{text}");
}

/// The product whose token the test has.
pub(crate) fn product() -> Product {
    let name = env::var(PRODUCT).unwrap();
    Product::ALL.into_iter().find(|product| product.name() == name).unwrap()
}

/// The module of this process: its product's, or the fault token before SoftHSM2's.
pub(crate) fn module() -> PathBuf {
    env::var_os(MODULE).unwrap().into()
}

fn init_arguments() -> Option<String> {
    env::var(INIT_ARGUMENTS).ok()
}

/// As `with_token`, behind a fault token, with other settings.
pub(crate) fn with_fault_token<F: Future<Output = ()>>(
    name: &str,
    change: impl FnOnce(TokenSettings) -> TokenSettings,
    test: impl FnOnce(Token, FaultToken) -> F,
) {
    in_own_process(name, || {
        let files = FaultToken::new("fault", Vec::new());
        let token = Token::open(change(files.settings())).unwrap();
        runtime().block_on(test(token.clone(), files));
        token.close();
    });
}

pub(crate) fn initialize(label: &str) {
    let pins: [SecretString; 2] = [SO_PIN.into(), PIN.into()];
    Token::initialize(&module(), init_arguments().as_deref(), label, &pins[0], &pins[1]).unwrap();
}

pub(crate) fn settings(selector: TokenSelector) -> TokenSettings {
    TokenSettings { init_arguments: init_arguments(), ..settings_of(module(), selector) }
}

/// The settings for another module than the one of this process.
fn settings_of(module: PathBuf, selector: TokenSelector) -> TokenSettings {
    let max_queue_wait = Duration::from_mins(1);
    TokenSettings { max_queue_wait, ..TokenSettings::new(module, selector, PIN.into()) }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn budget() -> Budget {
    Budget::new(Duration::from_mins(1))
}

/// The products that have no secp256k1.
pub(crate) const WITHOUT_SECP256K1: [Product; 2] = [Product::Kryoptic, Product::Nss];
/// The products that do not unwrap with RSAES-OAEP and SHA-256.
pub(crate) const WITHOUT_OAEP_SHA256: [Product; 2] = [Product::SoftHsm, Product::Remote];

/// The products whose module keeps a state for each caller that loads it, so that [`direct_session`]
/// neither sees the session objects of the gateway nor logs it out.
pub(crate) const SEPARATE_CALLERS: [Product; 1] = [Product::Remote];

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
        iv_length: IvLength::default(),
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
pub(crate) fn direct_session() -> (Pkcs11, Session) {
    let pkcs11 = Pkcs11::new(module()).unwrap();
    let is_separate = SEPARATE_CALLERS.contains(&product());
    if is_separate {
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    }
    let is_ours = |slot: &Slot| {
        pkcs11.get_token_info(*slot).is_ok_and(|info| info.label().trim_end_matches('\0') == LABEL)
    };
    let slot = pkcs11.get_slots_with_token().unwrap().into_iter().find(is_ours).unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    if is_separate {
        session.login(UserType::User, Some(&PIN.into())).unwrap();
    }
    (pkcs11, session)
}

/// The token objects of a key.
pub(crate) fn objects_of(session: &Session, key: KeyIdentity) -> Vec<ObjectHandle> {
    let id = Attribute::Id(key.id().as_bytes().to_vec());
    session.find_objects(&[Attribute::Token(true), id]).unwrap()
}

/// A copy of the fault token before a new SoftHSM2 directory with an initialized token, for processes
/// with more than one token or with rules.
pub(crate) struct FaultToken {
    /// The module to load.
    pub(crate) module: PathBuf,
    /// The file of its rules.
    pub(crate) control: PathBuf,
    pub(crate) log: PathBuf,
}

impl FaultToken {
    /// In a directory of this name, which must be new in this process.
    pub(crate) fn new(name: &str, manners: Vec<Manner>) -> Self {
        let directory = token_directory().with_file_name(name);
        fs::create_dir(&directory).unwrap();
        let (control, log) = (directory.join("control"), directory.join("log"));
        let settings = Settings {
            module: softhsm::module(),
            environment: [("SOFTHSM2_CONF".to_owned(), softhsm::configure(&directory))].into(),
            control: Some(control.clone()),
            log: Some(log.clone()),
            manners,
        };
        let module = settings.install(&directory);
        Token::initialize(&module, None, LABEL, &SO_PIN.into(), &PIN.into()).unwrap();
        Self { module, control, log }
    }

    pub(crate) fn settings(&self) -> TokenSettings {
        settings_of(self.module.clone(), TokenSelector::Label(LABEL.into()))
    }
}

/// Where the token of this process lives.
pub(crate) fn token_directory() -> PathBuf {
    let configuration = PathBuf::from(env::var("SOFTHSM2_CONF").unwrap());
    configuration.with_file_name("tokens")
}
