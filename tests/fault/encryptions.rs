//! Ciphertexts that do not decrypt are never returned where encryptions are verified.

use fault_token::{Fault, Rule, When};
use hsmgate::cli::client::Client;
use tempfile::TempDir;

use crate::setup::{FaultToken, count};
use crate::support::gateway::text;
use crate::support::installation::{Installation, Server};
use crate::support::process::until;
use crate::support::softhsm::scratch;

const TEXT: &str = "SGVsbG8=";

struct Verified {
    _dir: TempDir,
    token: FaultToken,
    _installation: Installation,
    server: Server,
    client: Client,
    key: String,
}

/// A gateway with this share of its encryptions verified.
async fn with_share(share: &str) -> Verified {
    let dir = TempDir::new_in(scratch()).unwrap();
    let token = FaultToken::new(dir.path());
    let (installation, user) = token.installation(|text| {
        let line = format!("\n[crypto]\nverify_encryptions = \"{share}\"\n");
        text.push_str(&line);
    });
    let server = installation.serve();
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
    Verified { _dir: dir, token, _installation: installation, server, client, key }
}

impl Verified {
    async fn encrypt(&self) -> Option<String> {
        let params = [("KeyId", self.key.as_str()), ("Plaintext", TEXT)];
        let encrypted = self.client.call("Encrypt", &params).await.ok()?;
        Some(text(&encrypted["CiphertextBlob"]).to_owned())
    }

    async fn decrypts(&self, blob: &str) -> bool {
        let decrypted = self.client.call("Decrypt", &[("CiphertextBlob", blob)]).await;
        decrypted.is_ok_and(|decrypted| decrypted["Plaintext"] == TEXT)
    }
}

#[tokio::test]
async fn a_verified_encryption_gives_no_ciphertext_that_does_not_decrypt() {
    let mut gateway = with_share("all").await;
    gateway.token.add(
        Rule::on(&["C_Encrypt"], Fault::FlipBit)
            .when(When::Random { per_million: 200_000, seed: 3 }),
    );
    let mut blobs = Vec::new();
    for _call in 0..100 {
        blobs.extend(gateway.encrypt().await);
    }
    gateway.token.clear();
    assert!(blobs.len() > 50, "{} of 100", blobs.len());
    for blob in &blobs {
        assert!(gateway.decrypts(blob).await);
    }
    until(|| gateway.server.has_logged("token.ciphertext_discarded")).await;
}

#[tokio::test]
async fn a_token_that_gives_bad_ciphertexts_only_answers_503() {
    let mut gateway = with_share("all").await;
    gateway.token.add(Rule::on(&["C_Encrypt"], Fault::FlipBit));
    let params = [("KeyId", gateway.key.as_str()), ("Plaintext", TEXT)];
    let error = gateway.client.call("Encrypt", &params).await.unwrap_err().to_string();
    assert!(error.contains("ServiceUnavailableTemporary"), "{error}");
}

#[tokio::test]
async fn of_a_share_every_so_many_th_encryption_is_decrypted_again() {
    let gateway = with_share("1/4").await;
    gateway.token.calls();
    for _call in 0..16 {
        gateway.encrypt().await.unwrap();
    }
    let calls = gateway.token.calls();
    assert_eq!(count(&calls, "C_DecryptInit"), 4);
    assert_eq!(count(&calls, "C_EncryptInit"), 16);
}
