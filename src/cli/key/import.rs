//! `hsmgate key import|import-parameters`: material that was made elsewhere (BYOK).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{KeyArgs, key_id, show};
use crate::cli::client::CallError;
use crate::cli::connection::Remote;
use crate::cli::exit::CliError;
use crate::cli::{output, private_files, response};
use crate::model::Time;

/// The key that wraps material.
pub(in crate::cli) const WRAPPING_KEY_SPEC: &str = "RSA_2048";
/// RSAES-OAEP (RFC 8017) with the name of the API, the better first. SoftHSM2 has only SHA-1.
pub(in crate::cli) const OAEP: [(&str, &OaepAlgorithm); 2] =
    [("RSAES_OAEP_SHA_256", &OAEP_SHA256_MGF1SHA256), ("RSAES_OAEP_SHA_1", &OAEP_SHA1_MGF1SHA1)];

/// Wraps the material of a symmetric key for the token and imports it, or imports material that was wrapped
/// elsewhere with the files of `hsmgate key import-parameters`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file with the bytes of the key, such as 32 for Aliyun_AES_256
    #[arg(long, value_name = "FILE", required_unless_present = "wrapped")]
    material: Option<PathBuf>,
    /// The file with the wrapped material
    #[arg(long, value_name = "FILE", conflicts_with = "material", requires = "token")]
    wrapped: Option<PathBuf>,
    /// The import token of `hsmgate key import-parameters`
    #[arg(long, value_name = "FILE", requires = "wrapped")]
    token: Option<PathBuf>,
    /// When the material is deleted from the token, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<Time>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Writes `public-key.der` and `import-token`. Wrap the material with the public key, for instance with
/// `openssl pkeyutl -encrypt`, and run `hsmgate key import --wrapped FILE --token FILE`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportParameters {
    /// How the material will be wrapped: RSAES_OAEP_SHA_256, RSAES_OAEP_SHA_1, or for the private keys of key
    /// pairs RSAES_OAEP_SHA_256_AES_256_KWP
    #[arg(long, value_name = "NAME", default_value = "RSAES_OAEP_SHA_256")]
    algorithm: String,
    /// The directory of the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

impl Import {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let (wrapped, token) = match (&self.material, &self.wrapped, &self.token) {
            (Some(file), _, _) => {
                let material = Zeroizing::new(read(file)?);
                wrap_for_token(&remote, &id, &material)?
            }
            (None, Some(wrapped), Some(token)) => {
                let token =
                    String::from_utf8(read(token)?).context("the import token is not a text")?;
                (read(wrapped)?, token.trim().to_owned())
            }
            _ => {
                return Err(
                    CliError::usage("--material, or --wrapped and --token, is required").into()
                );
            }
        };
        let wrapped = STANDARD.encode(wrapped);
        let expires = self.expires.map_or(0, Time::unix).to_string();
        let params = [
            ("KeyId", &*id),
            ("EncryptedKeyMaterial", &*wrapped),
            ("ImportToken", &*token),
            ("KeyMaterialExpireUnix", &*expires),
        ];
        remote.call("ImportKeyMaterial", &params)?;
        show(&remote, &id, self.key.json)
    }
}

impl ImportParameters {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let remote = self.key.connection.open()?;
        let id = key_id(&remote, &self.key.key)?;
        let (public_key, token) = parameters(&remote, &id, &self.algorithm)?;
        private_files::create_directory(&self.out)?;
        let files = ["public-key.der", "import-token"].map(|name| self.out.join(name));
        for (path, content) in files.iter().zip([&*public_key, token.as_bytes()]) {
            private_files::write(path, content)?;
        }
        let [public_key, token] = files.map(|path| path.display().to_string());
        let object =
            json!({"key_id": id, "public_key_file": public_key, "import_token_file": token});
        Ok(output::change(&object, &format!("{public_key}\n{token}"), self.key.json)?)
    }
}

/// Wraps the material with the first algorithm that the token has. Returns it with the import token.
fn wrap_for_token(remote: &Remote, id: &str, material: &[u8]) -> anyhow::Result<(Vec<u8>, String)> {
    let mut refused = None;
    for (name, algorithm) in OAEP {
        match parameters(remote, id, name) {
            Ok((public_key, token)) => return Ok((wrap(&public_key, material, algorithm)?, token)),
            Err(error) if is_unsupported(&error) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| anyhow::anyhow!("no algorithm")))
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref();
    matches!(error, Some(CallError::Refused { code, .. }) if code == "UnsupportedOperation")
}

/// The public key (SubjectPublicKeyInfo as DER) and the import token.
fn parameters(remote: &Remote, id: &str, algorithm: &str) -> anyhow::Result<(Vec<u8>, String)> {
    let params =
        [("KeyId", id), ("WrappingKeySpec", WRAPPING_KEY_SPEC), ("WrappingAlgorithm", algorithm)];
    let answer: Value = remote.call("GetParametersForImport", &params)?;
    let public_key = STANDARD.decode(response::text(&answer, &["PublicKey"])?);
    let token = response::text(&answer, &["ImportToken"])?.to_owned();
    Ok((public_key.context("the public key is not Base64")?, token))
}

/// Wraps material with a public key (SubjectPublicKeyInfo as DER).
///
/// # Errors
/// When the key is unusable, or the material is too long.
pub(in crate::cli) fn wrap(
    public_key: &[u8],
    material: &[u8],
    algorithm: &'static OaepAlgorithm,
) -> anyhow::Result<Vec<u8>> {
    let refused = |_unspecified| anyhow::anyhow!("the public key of the token cannot be used");
    let key = PublicEncryptingKey::from_der(public_key).map_err(|error| anyhow::anyhow!(error))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(refused)?;
    if material.is_empty() || material.len() > key.max_plaintext_size(algorithm) {
        return Err(CliError::usage("the material has the length of no symmetric key").into());
    }
    let mut wrapped = vec![0; key.ciphertext_size()];
    let wrapped = key.encrypt(algorithm, material, &mut wrapped, None).map_err(refused)?;
    Ok(wrapped.to_vec())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
