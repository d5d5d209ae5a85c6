//! `hsmgate encrypt`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use zeroize::Zeroizing;

use super::data::DataArgs;
use super::response;
use crate::model::bytes::MAX_PLAINTEXT_BYTES;

/// Encrypts data with a key, and prints the ciphertext blob.
#[derive(Debug, Args)]
pub(super) struct Encrypt {
    /// The key: its id, an alias (alias/...) or an ARN
    key: String,
    #[command(flatten)]
    data: DataArgs,
}

impl Encrypt {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let context = self.data.context_json()?;
        let plaintext = Zeroizing::new(STANDARD.encode(self.data.read(MAX_PLAINTEXT_BYTES)?));
        let mut params = vec![("KeyId", self.key.as_str()), ("Plaintext", plaintext.as_str())];
        params.extend(context.as_deref().map(|context| ("EncryptionContext", context)));
        let answer = self.data.connection.open()?.call("Encrypt", &params)?;
        let blob = response::text(&answer, &["CiphertextBlob"])?;
        let text = || Ok(Zeroizing::new(format!("{blob}\n").into_bytes()));
        self.data.respond(&answer, text)
    }
}
