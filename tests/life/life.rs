//! A gateway on a token, and what it has made until now.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::Client;
use serde_json::Value;

use crate::record::{Record, Step, StepError, check};
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, LABEL, Outcome, Server, run};
use crate::support::object_listing;

/// The plaintext of most ciphertexts.
pub(crate) const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const KEY_VERSION_ID_BYTES: usize = 36;
const TAG_BYTES: usize = 16;

/// How much a life does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// Without what takes seconds of the processor: large RSA keys, much load.
    Short,
}

pub(crate) struct Life {
    pub(crate) extent: Extent,
    pub(crate) installation: Installation,
    pub(crate) user: AccessKey,
    server: Option<Server>,
    pub(crate) record: Record,
    /// Keys by their spec and usage.
    pub(crate) keys: Vec<Key>,
    /// Ciphertexts, each of [`PLAINTEXT`], which must decrypt until the end.
    pub(crate) blobs: Vec<String>,
}

pub(crate) struct Key {
    pub(crate) spec: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) id: String,
}

impl Life {
    /// Initializes an installation, and starts its gateway.
    pub(crate) fn begin(installation: Installation, extent: Extent) -> Self {
        let mut record = Record::default();
        let so_pin = installation.path("so-pin");
        let mut init = vec!["init", "--json"];
        if !installation.token.is_initialized {
            init.extend(["--so-pin-file", so_pin.to_str().unwrap()]);
        }
        let user = AccessKey::of(&installation.configured(&init).json());
        record.add("init, token info, serve", "init", Ok(()));
        let info = succeeded(&installation.configured(&["token", "info"]));
        record.add("init, token info, serve", "token info", info);
        let server = Some(installation.serve());
        record.add("init, token info, serve", "serve", Ok(()));
        let (keys, blobs) = (Vec::new(), Vec::new());
        Self { extent, installation, user, server, record, keys, blobs }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.as_ref().unwrap().client(&self.user)
    }

    pub(crate) fn start(&mut self) {
        self.server = Some(self.installation.serve());
    }

    /// Stops the gateway as an operator does.
    pub(crate) fn stop(&mut self) -> Step {
        let code = self.server.take().unwrap().stop();
        check(code == Some(0), "the gateway does not stop with success")
    }

    /// Kills the gateway.
    pub(crate) fn kill(&mut self) {
        drop(self.server.take());
    }

    /// The ids of the keys of a usage, with their specs.
    pub(crate) fn keys_for(&self, usage: &str) -> Vec<(&'static str, String)> {
        let keys = self.keys.iter().filter(|key| key.usage == usage);
        keys.map(|key| (key.spec, key.id.clone())).collect()
    }

    /// The length of the IV of its first ciphertext (docs/ciphertext.md).
    pub(crate) fn iv_bytes(&self) -> usize {
        let blob = STANDARD.decode(&self.blobs[0]).unwrap();
        blob.len() - KEY_VERSION_ID_BYTES - PLAINTEXT.len() - TAG_BYTES
    }

    /// Every ciphertext decrypts.
    pub(crate) async fn decrypt_all(&self) -> Step {
        let client = self.client();
        for blob in &self.blobs {
            decrypts(&client, &[("CiphertextBlob", blob)], PLAINTEXT).await?;
        }
        Ok(())
    }

    /// The objects of the token as pkcs11-tool lists them.
    pub(crate) fn objects(&self) -> Step<String> {
        let token = &self.installation.token;
        let outcome = run(token.object_listing(LABEL, self.installation.pin()), b"");
        succeeded(&outcome)?;
        Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
    }

    /// No key in the token is extractable, and none is not sensitive.
    pub(crate) fn look_from_outside(&mut self, step: &str) {
        let outcome = self.objects().and_then(|objects| {
            let outcome = object_listing::check_all_closed(&objects).map_err(StepError::new)?;
            check(outcome > 3, &format!("{outcome} keys in {objects}"))
        });
        self.record.add("pkcs11-tool: every key sensitive, none extractable", step, outcome);
    }
}

/// A command that must succeed.
pub(crate) fn succeeded(outcome: &Outcome) -> Step {
    check(outcome.code == Some(0), &format!("{:?}: {}", outcome.code, outcome.stderr.trim()))
}

/// A blob decrypts to a text.
pub(crate) async fn decrypts(client: &Client, params: &[(&str, &str)], expected: &str) -> Step {
    let answer = client.call("Decrypt", params).await?;
    check(answer["Plaintext"] == expected, "another plaintext")
}

/// A call is refused with this code.
pub(crate) async fn is_refused(
    client: &Client,
    action: &str,
    params: &[(&str, &str)],
    code: &str,
) -> Step {
    match client.call(action, params).await {
        Ok(_answer) => Err(StepError::new(format!("{action} was not refused"))),
        Err(error) => {
            let found = StepError::from(error);
            check(found == StepError::new(format!("400 {code}")), &format!("{found:?}"))
        }
    }
}

/// A text of a response.
pub(crate) fn field(answer: &Value, name: &str) -> String {
    text(&answer[name]).to_owned()
}

/// What pkcs11-tool prints of open keys is found.
#[test]
fn an_open_key_is_found() {
    let closed = "Secret Key Object; AES length 32\n  Access:     sensitive, never extractable\n";
    let public = "Public Key Object; RSA 2048 bits\n  Access:     local\n";
    let object =
        |access: &str| format!("Secret Key Object; AES length 32\n  Access:     {access}\n");
    let keys =
        |last: &str| object_listing::check_all_closed(&format!("{closed}{public}{closed}{last}"));
    assert_eq!(keys(""), Ok(2));
    for open in ["extractable, local", "sensitive, extractable", "local", "none"] {
        assert!(keys(&object(open)).is_err(), "{open}");
    }
    assert_eq!(object_listing::check_all_closed(""), Ok(0));
}
