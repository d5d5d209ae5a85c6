//! `hsmgate token info`. The command `hsmgate token change-pin` is in another file.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::change_pin::ChangePin;
use super::settings::{self, ConfigFile};
use super::{dev, output};
use crate::token::{
    self, Budget, Capability, CapabilityStatus, CapabilityTest, GcmForm, TestResult, TokenError,
    TokenGroupSettings, TokenInfo,
};

/// Timeout of a test. An RSA pair takes minutes on some tokens.
const TEST: Duration = Duration::from_mins(5);

commands! {
    pub(super) enum Token {
        /// Show identity and capabilities of the token
        Info(Info);
        /// Give the token another PIN, without a stop of the gateway
        ChangePin(ChangePin);
    }
}

/// Logs in to the token, tests it as a start does, and tries what its mechanism list promises with keys
/// that it destroys again. Works while the gateway runs.
#[derive(Debug, Args)]
pub(super) struct Info {
    #[command(flatten)]
    file: ConfigFile,
    /// The directory of a gateway for development, instead of a configuration
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// With --dir: its PKCS#11 module of SoftHSM2 [default: where distributions install it]
    // The variable must not conflict with --config.
    #[arg(long, env = "SOFTHSM2_MODULE", value_name = "PATH")]
    module: Option<PathBuf>,
    /// The name of one of several tokens (token.name)
    #[arg(long, value_name = "NAME", conflicts_with = "dir")]
    token: Option<String>,
    /// Show only what the mechanism list promises
    #[arg(long, conflicts_with = "deep")]
    listed: bool,
    /// Also generate RSA key pairs of 3,072 and 4,096 bits, which takes seconds
    #[arg(long)]
    deep: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct TokenReport<'a> {
    label: &'a str,
    serial: &'a str,
    manufacturer: &'a str,
    model: &'a str,
    firmware: &'a str,
    gcm: GcmReport,
    /// The maximum random bytes of one call, up to 4,096.
    random_draw_bytes: usize,
    /// The time of a call to the token.
    call_microseconds: f64,
    /// The number of threads that use keys.
    workers: usize,
    capabilities: Vec<CapabilityReport>,
}

/// The form of AES-GCM, as the self-test found it.
#[derive(Serialize)]
struct GcmReport {
    iv_from: String,
    iv_bytes: usize,
    encrypts_with: &'static str,
    decrypts_with: &'static str,
}

#[derive(Serialize)]
struct CapabilityReport {
    name: &'static str,
    serves: &'static str,
    is_listed: bool,
    is_tested: bool,
    /// Whether requests that need it are accepted.
    is_supported: bool,
    /// Why the token refuses it.
    #[serde(skip_serializing_if = "String::is_empty")]
    refusal: String,
}

impl Info {
    fn run(self) -> anyhow::Result<()> {
        let token = token::Token::open(self.settings()?)?;
        let tested = if self.listed {
            Ok(())
        } else {
            Runtime::new()?.block_on(try_capabilities(&token, self.deep))
        };
        // Also after a failed test: this token is the one to learn about.
        let shown = TokenReport::of(&token);
        let outcome = if self.json { output::json(&shown) } else { shown.write() };
        token.close();
        outcome?;
        Ok(tested?)
    }

    fn settings(&self) -> anyhow::Result<TokenGroupSettings> {
        if let Some(dir) = &self.dir {
            return dev::token_in(dir, self.module.as_deref());
        }
        let config = self.file.load()?;
        settings::check_token_permissions(&config.token, &config.state_directory)?;
        let token = settings::chosen_token(&config.token, self.token.as_deref())?.clone();
        Ok(settings::settings_of_one(token, &config.state_directory)?.into())
    }
}

impl GcmReport {
    fn of(form: GcmForm) -> Self {
        Self {
            iv_from: form.to_string(),
            iv_bytes: form.iv_length().bytes(),
            encrypts_with: form.encrypts_with(),
            decrypts_with: form.decrypts_with(),
        }
    }

    fn facts(&self) -> [(&'static str, String); 2] {
        [
            ("AES-GCM IV", format!("{} bytes from the {}", self.iv_bytes, self.iv_from)),
            ("AES-GCM calls", format!("{}, {}", self.encrypts_with, self.decrypts_with)),
        ]
    }
}

/// Makes every test; slow ones only if `is_deep`.
async fn try_capabilities(token: &token::Token, is_deep: bool) -> Result<(), TokenError> {
    for test in CapabilityTest::ALL.iter().copied().filter(|test| is_deep || !test.is_slow()) {
        token.change(&Budget::new(TEST), move |worker| worker.run_capability_test(test)).await?;
    }
    Ok(())
}

impl CapabilityReport {
    fn of(token: &token::Token, capability: Capability) -> Self {
        let CapabilityStatus { is_listed, result } = token.capability(capability);
        Self {
            name: capability.as_str(),
            serves: serves(capability),
            is_listed,
            is_tested: result != TestResult::Untested,
            is_supported: token.supports(capability),
            refusal: match result {
                TestResult::Refused(error) => error,
                TestResult::Untested | TestResult::Works => String::new(),
            },
        }
    }

    fn row(&self) -> (&'static str, String) {
        let listed = if self.is_listed { "yes" } else { "no " };
        let result = match (self.is_tested, self.is_supported) {
            (true, true) => "works    ",
            (true, false) => "refused  ",
            (false, _) => "not tried",
        };
        let refusal = if self.refusal.is_empty() { "" } else { ": " };
        (self.name, format!("{listed}     {result}  {}{refusal}{}", self.serves, self.refusal))
    }
}

impl<'a> TokenReport<'a> {
    fn of(token: &'a token::Token) -> Self {
        let info: &TokenInfo = token.info();
        let capability = |one: &Capability| CapabilityReport::of(token, *one);
        Self {
            label: &info.label,
            serial: &info.serial,
            manufacturer: &info.manufacturer,
            model: &info.model,
            firmware: &info.firmware,
            gcm: GcmReport::of(token.gcm_form()),
            random_draw_bytes: token.max_random_draw(),
            call_microseconds: microseconds(token.call_time()),
            workers: token.workers(),
            capabilities: Capability::ALL.iter().map(capability).collect(),
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let facts = [
            ("Label", self.label),
            ("Serial", self.serial),
            ("Manufacturer", self.manufacturer),
            ("Model", self.model),
            ("Firmware", self.firmware),
        ];
        let mut facts = facts.map(|(name, value)| (name, value.to_owned())).to_vec();
        facts.extend(self.gcm.facts());
        facts.push(("Random bytes", format!("{} in one call", self.random_draw_bytes)));
        facts.push(("Round trip", format!("{} µs for a call", self.call_microseconds)));
        facts.push(("Workers", self.workers.to_string()));
        output::columns(&facts)?;
        output::line("")?;
        let head = ("Capability", "listed  result     serves".to_owned());
        let rows = self.capabilities.iter().map(CapabilityReport::row);
        output::columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    }
}

/// Microseconds, with one decimal.
pub(super) fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// The operations of the API that need a capability.
pub(super) const fn serves(capability: Capability) -> &'static str {
    match capability {
        Capability::Aes128 => "Aliyun_AES_128: Encrypt, Decrypt, data keys",
        Capability::Aes192 => "Aliyun_AES_192: Encrypt, Decrypt, data keys",
        Capability::Aes256 => "Aliyun_AES_256: Encrypt, Decrypt, data keys",
        Capability::Rsa2048 => "RSA_2048, and the key pairs of imports",
        Capability::Rsa3072 => "RSA_3072",
        Capability::Rsa4096 => "RSA_4096",
        Capability::RsaOaepSha1 => "AsymmetricDecrypt with RSAES_OAEP_SHA_1",
        Capability::RsaOaepSha256 => "AsymmetricDecrypt with RSAES_OAEP_SHA_256",
        Capability::RsaPss => "AsymmetricSign with RSA_PSS_SHA_256",
        Capability::RsaPkcs1 => "AsymmetricSign with RSA_PKCS1_SHA_256",
        Capability::EcP256 => "EC_P256: AsymmetricSign, AsymmetricVerify",
        Capability::EcP256k => "EC_P256K: AsymmetricSign, AsymmetricVerify",
        Capability::HmacSha224 => "HMAC_SHA_224: GenerateMac, VerifyMac",
        Capability::HmacSha256 => "HMAC_SHA_256: GenerateMac, VerifyMac",
        Capability::HmacSha384 => "HMAC_SHA_384: GenerateMac, VerifyMac",
        Capability::HmacSha512 => "HMAC_SHA_512: GenerateMac, VerifyMac",
        Capability::UnwrapPkcs1 => "ImportKeyMaterial with RSAES_PKCS1_V1_5",
        Capability::UnwrapOaepSha1 => "ImportKeyMaterial with RSAES_OAEP_SHA_1",
        Capability::UnwrapOaepSha256 => "ImportKeyMaterial with RSAES_OAEP_SHA_256",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_capability_has_a_name_of_its_own() {
        let names: HashSet<_> = Capability::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(names.len(), Capability::ALL.len());
    }
}
