//! `hsmgate decrypt`.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use zeroize::Zeroizing;

use super::data::DataArgs;
use super::exit::CliError;
use super::response;

/// Maximum bytes of Base64 input, more than any blob has.
const MAX_BLOB_TEXT_BYTES: usize = 64 * 1024;

/// Reads a ciphertext blob in Base64, as `hsmgate encrypt` prints it, and writes the data.
#[derive(Debug, Args)]
pub(super) struct Decrypt {
    #[command(flatten)]
    data: DataArgs,
}

impl Decrypt {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let context = self.data.context_json()?;
        let input = self.data.read(MAX_BLOB_TEXT_BYTES)?;
        let blob = std::str::from_utf8(&input)
            .map_err(|_source| CliError::usage("the input is not a ciphertext blob in Base64"))?;
        let mut params = vec![("CiphertextBlob", blob.trim())];
        params.extend(context.as_deref().map(|context| ("EncryptionContext", context)));
        let answer = self.data.connection.open()?.call("Decrypt", &params)?;
        let plaintext = response::text(&answer, &["Plaintext"])?;
        self.data.respond(&answer, || {
            STANDARD.decode(plaintext).map(Zeroizing::new).context(
                "the plaintext is not Base64 (some clients encrypt other text): --json shows it",
            )
        })
    }
}
