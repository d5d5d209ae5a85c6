//! `hsmgate token info`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::exit::CliError;
use super::settings::{self, ConfigFile};
use super::{dev, output};
use crate::token::{self, Capability, GcmForm, TokenInfo, TokenSettings};

commands! {
    pub(super) enum Token {
        /// Show identity and capabilities of the token
        Info(Info);
    }
}

/// Logs in to the token, tests it as a start does, and changes nothing. Works while the gateway runs.
#[derive(Debug, Args)]
pub(super) struct Info {
    #[command(flatten)]
    file: Option<ConfigFile>,
    /// The directory of a gateway for development, instead of a configuration
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// With --dir: its PKCS#11 module of SoftHSM2 [default: where distributions install it]
    // The variable must not conflict with --config.
    #[arg(long, env = "SOFTHSM2_MODULE", value_name = "PATH")]
    module: Option<PathBuf>,
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
    gcm: Option<GcmReport>,
    /// The maximum random bytes of one call, up to 4,096.
    random_draw_bytes: usize,
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
    is_supported: bool,
}

impl Info {
    fn run(self) -> anyhow::Result<()> {
        let token = token::Token::open(self.settings()?)?;
        let gcm = token.gcm_form().map(GcmReport::of);
        let supports = |capability| token.supports(capability);
        let shown = TokenReport::of(token.info(), gcm, token.max_random_draw(), supports);
        let outcome = if self.json { output::json(&shown) } else { shown.write() };
        token.close();
        Ok(outcome?)
    }

    fn settings(&self) -> anyhow::Result<TokenSettings> {
        match (&self.file, &self.dir) {
            (Some(file), _) => {
                let config = file.load()?;
                settings::token_settings(config.token, &config.state_directory)
            }
            (None, Some(dir)) => dev::token_in(dir, self.module.as_deref()),
            (None, None) => Err(CliError::usage("--config or --dir is required").into()),
        }
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

impl<'a> TokenReport<'a> {
    fn of(
        info: &'a TokenInfo,
        gcm: Option<GcmReport>,
        random_draw_bytes: usize,
        supports: impl Fn(Capability) -> bool,
    ) -> Self {
        let capability = |one: &Capability| {
            let (name, serves) = (one.as_str(), serves(*one));
            CapabilityReport { name, serves, is_supported: supports(*one) }
        };
        Self {
            label: &info.label,
            serial: &info.serial,
            manufacturer: &info.manufacturer,
            model: &info.model,
            firmware: &info.firmware,
            gcm,
            random_draw_bytes,
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
        facts.extend(self.gcm.iter().flat_map(GcmReport::facts));
        facts.push(("Random bytes", format!("{} in one call", self.random_draw_bytes)));
        output::columns(&facts)?;
        output::line("")?;
        let row = |one: &CapabilityReport| {
            let verdict = if one.is_supported { "yes" } else { "no " };
            (one.name, format!("{verdict}  {}", one.serves))
        };
        output::columns(&self.capabilities.iter().map(row).collect::<Vec<_>>())
    }
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
