//! A gateway on a token, and what it has made until now.

use hsmgate::cli::client::Client;
use serde_json::Value;

use crate::record::{Record, Step, StepError, check};
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Outcome, Server, run};
use crate::support::tokens::{PIN, Product};

/// The plaintext of most ciphertexts.
pub(crate) const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

pub(crate) struct Life {
    pub(crate) product: Product,
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
    pub(crate) fn begin(product: Product) -> Self {
        let installation = Installation::on(product);
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
        Self { product, installation, user, server, record, keys: Vec::new(), blobs: Vec::new() }
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
        let mut command = self.installation.token.pkcs11_tool();
        command
            .args(["--token-label", "production", "--login", "--list-objects"])
            .args(["--pin", self.pin()]);
        let outcome = run(command, b"");
        succeeded(&outcome)?;
        Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
    }

    fn pin(&self) -> &'static str {
        if self.product == Product::SoftHsm { "user-pin-8163" } else { PIN }
    }

    /// No key in the token is extractable, and none is not sensitive.
    pub(crate) fn look_from_outside(&mut self, step: &str) {
        let outcome = self.objects().and_then(|objects| all_are_closed(&objects));
        self.record.add("pkcs11-tool: every key sensitive, none extractable", step, outcome);
    }
}

/// Each private and secret key has a line of its access.
fn all_are_closed(objects: &str) -> Step {
    let mut keys = 0;
    for object in
        objects.split("Private Key Object").flat_map(|part| part.split("Secret Key Object")).skip(1)
    {
        // A public key may follow.
        let object = object.split("Public Key Object").next().unwrap_or_default();
        let access = object.split_once("Access:").map_or("", |(_before, access)| access);
        let words: Vec<_> =
            access.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        check(words.contains(&"sensitive") && !words.contains(&"extractable"), object)?;
        keys += 1;
    }
    check(keys > 3, &format!("{keys} keys in {objects}"))
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
    let listing = |last: &str| format!("{}{public}{last}", closed.repeat(4));
    assert_eq!(all_are_closed(&listing("")), Ok(()));
    for open in ["extractable, local", "sensitive, extractable", "local", "none"] {
        assert!(all_are_closed(&listing(&object(open))).is_err(), "{open}");
    }
    assert!(all_are_closed("").is_err(), "no key is there");
}
