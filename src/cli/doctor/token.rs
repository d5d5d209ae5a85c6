//! Checks the token: access, and a test of each capability.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::system::chain;
use super::{Check, access};
use crate::cli::settings;
use crate::cli::token::{microseconds, serves};
use crate::config::Config;
use crate::token::{
    Budget, Capability, CapabilityStatus, CapabilityTest, ErrorClass, TestResult, Token, TokenError,
};

/// Timeout for opening a token.
const OPENING: Duration = Duration::from_secs(30);
/// Timeout for generating a key and using it.
const TEST: Duration = Duration::from_secs(30);
/// The same for an RSA key pair, which takes minutes on some tokens.
const RSA_TEST: Duration = Duration::from_mins(5);

const NAME: &str = "token";
/// The default paths of the SoftHSM2 configuration, without `SOFTHSM2_CONF`.
const SOFTHSM_CONFIGURATIONS: &[&str] =
    &["/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf", "/usr/local/etc/softhsm2.conf"];

/// Opens the token as a gateway does: module, slot, login, self-test. The error is the failed check.
pub(super) async fn open(config: &Config) -> Result<Token, Check> {
    let settings = settings::token_settings(config.token.clone(), &config.state_directory)
        .map_err(|error| Check::not_checked(NAME, &error.to_string()))?;
    let opening = tokio::task::spawn_blocking(move || Token::open(settings));
    let failed = |found, remedy| Check::failed(NAME, found, remedy);
    match tokio::time::timeout(OPENING, opening).await {
        Ok(Ok(opened)) => opened.map_err(|error| {
            let denied = denied(&error, &config.token.first.module);
            failed(chain(&error), denied.unwrap_or_else(|| remedy(&error).to_owned()))
        }),
        Ok(Err(_)) => Err(failed(
            "the module panicked".to_owned(),
            "Contact the vendor of the module.".to_owned(),
        )),
        Err(_) => Err(failed(
            format!("the module does not respond within {} s", OPENING.as_secs()),
            "Check whether the HSM responds to its own tools.".to_owned(),
        )),
    }
}

/// The check of a token that was opened.
pub(super) fn identity(token: &Token) -> Check {
    let info = token.info();
    let (call, workers) = (microseconds(token.call_time()), token.workers());
    let found = format!("{:?}, serial {}, {}", info.label, info.serial, info.manufacturer);
    Check::ok(NAME, format!("{found}; a call takes {call} µs, workers: {workers}"))
}

/// The tokens of several that are not used.
pub(super) fn left_out(token: &Token) -> impl Iterator<Item = Check> {
    token.left_out().into_iter().map(|(name, error)| {
        Check::warning(
            &format!("token {name}"),
            chain(&error),
            "Check whether the HSM responds to its own tools; see docs/tokens.md.",
        )
    })
}

/// Whether the configuration accepts the IV of a caller on a token that takes none.
pub(super) fn caller_iv(config: &Config, token: &Token) -> Option<Check> {
    (config.compatibility.caller_iv && token.gcm_form().token_makes_iv()).then(|| {
        let found =
            "crypto.accept_caller_iv is true, and the token makes every IV of AES-GCM itself";
        Check::failed(NAME, found.to_owned(), "Remove crypto.accept_caller_iv.".to_owned())
    })
}

/// How to give this process access to the module, or to the files of a software token, if it has none:
/// without these files the module does not show the token.
fn denied(error: &TokenError, module: &Path) -> Option<String> {
    match error {
        TokenError::Module { .. } => access::remedy_to_read(module),
        _ if error.class() == ErrorClass::Pin => None,
        _ if module.to_string_lossy().contains("softhsm") => denied_of_softhsm(),
        _ => None,
    }
}

/// As [`denied`], for the configuration of SoftHSM2 and the directory of its tokens.
fn denied_of_softhsm() -> Option<String> {
    let named = std::env::var_os("SOFTHSM2_CONF").map(PathBuf::from);
    let usual = SOFTHSM_CONFIGURATIONS.iter().map(PathBuf::from).find(|path| path.exists());
    let configuration = named.or(usual)?;
    if let Some(remedy) = access::remedy_to_read(&configuration) {
        return Some(remedy);
    }
    let text = std::fs::read_to_string(configuration).ok()?;
    let directory = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "directories.tokendir").then(|| PathBuf::from(value.trim()))
    })?;
    let tokens = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    std::iter::once(directory.clone())
        .chain(tokens.map(|token| token.path()))
        .find_map(|path| access::remedy(&path))
}

fn remedy(error: &TokenError) -> &'static str {
    match (error, error.class()) {
        (TokenError::Module { .. }, _) => "Install the module, or set token.module to its path.",
        (TokenError::Selection { .. }, _) => {
            "Set token.label or token.serial to that of the token; hsmgate init creates a new one."
        }
        (TokenError::InitArguments, _) => {
            "Set token.init_arguments as the documentation of the module describes, or remove it."
        }
        (_, ErrorClass::Pin) => {
            "Write the right PIN to its file, which is then tried again. A refused PIN is not tried \
             again."
        }
        (TokenError::Untrusted(_) | TokenError::Unsupported(_), _) => {
            "This token is not supported: AES-GCM as in PKCS#11 2.40 is required."
        }
        _ => "Check whether the HSM is on, connected, and responds to its own tools.",
    }
}

/// Tries every capability with session keys. Returns `false` if the token did not respond in time: then
/// it is not used further.
pub(super) async fn capability_tests(
    token: &Token,
    is_deep: bool,
    checks: &mut Vec<Check>,
) -> bool {
    for test in CapabilityTest::ALL.iter().copied() {
        let capabilities = test.capabilities();
        if test.is_slow() && !is_deep {
            let check =
                |one: &Capability| Check::not_checked(&name(*one), "takes seconds: use --deep");
            checks.extend(capabilities.iter().map(check));
            continue;
        }
        let budget = Budget::new(if matches!(test, CapabilityTest::Key(_)) && !test.is_slow() {
            TEST
        } else {
            RSA_TEST
        });
        match token.change(&budget, move |worker| worker.run_capability_test(test)).await {
            Ok(()) => {
                let ms = budget.spent().as_millis();
                checks.extend(capabilities.iter().map(|one| result(token, *one, ms)));
            }
            Err(error) => {
                let remedy = "The token failed in this test. See the log of the HSM.";
                let name = capabilities.first().map(|one| name(*one)).unwrap_or_default();
                checks.push(Check::failed(&name, chain(&error), remedy));
                if matches!(error, TokenError::Deadline | TokenError::Unavailable(_)) {
                    return false;
                }
            }
        }
    }
    true
}

fn name(capability: Capability) -> String {
    format!("capability {capability}")
}

/// The result of a test. A capability that the token does not have is no fault: requests that need it
/// are refused.
fn result(token: &Token, capability: Capability, ms: u128) -> Check {
    let (name, serves) = (name(capability), serves(capability));
    let remedy = "Only these operations need it; they are refused.";
    let CapabilityStatus { is_listed, result } = token.capability(capability);
    match result {
        TestResult::Works if is_listed => Check::ok(&name, format!("listed, works: {ms} ms")),
        TestResult::Works => Check::ok(&name, format!("not listed, works: {ms} ms")),
        TestResult::Refused(error) => {
            let listed = if is_listed { "listed" } else { "not listed" };
            Check::warning(&name, format!("{listed}, refused ({error}): {serves}"), remedy)
        }
        TestResult::Untested if is_listed => {
            Check::warning(&name, format!("listed, could not be tried: {serves}"), "")
        }
        TestResult::Untested => Check::warning(&name, format!("not listed: {serves}"), remedy),
    }
}

/// Ends the use of the token, unless its module hangs.
pub(super) async fn close(token: Token) {
    // A check does not depend on an orderly end.
    let _ = tokio::task::spawn_blocking(move || token.close()).await;
}
